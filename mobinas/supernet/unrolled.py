"""The second-order architecture gradient: through one step of the weights.

Liu et al., 2019, eq. 6 to 8. With w' = w - rate * (momentum * v + grad_w train(w, a) + decay * w), the
gradient of val(w', a) in a is ``grad_a val(w', a) - rate * d/da <grad_w train(w, a), d>`` with
d = grad_w' val(w', a). The second term is the difference of two gradients of the training loss, at weights
moved by +-e along d.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mobinas.train import parallel

# The authors' e = 0.01 / |d|.
_DISTANCE = 0.01


def unrolled_gradients(
    alphas: Sequence[nn.Parameter],
    weights: Sequence[nn.Parameter],
    *,
    weight_loss: Callable[[], Tensor],
    alpha_loss: Callable[[], Tensor],
    rate: float,
    optimiser: torch.optim.SGD,
) -> list[Tensor]:
    """Gradients of the loss on the alphas part after a virtual step of the weights.

    Args:
        alphas: Architecture parameters.
        weights: Of the network; moved in between, and exactly as before at the end.
        weight_loss: The loss on a batch of the weights part, of the parameters as they are when called.
        alpha_loss: The same on a batch of the alphas part.
        rate: Learning rate of the virtual step.
        optimiser: Of the weights; gives momentum, its buffers and weight decay.

    Returns:
        One per alpha; zeros where it has no influence.
    """
    settings: dict[str, Any] = optimiser.param_groups[0]
    before = [w.detach().clone() for w in weights]
    steps = gradients_of(weight_loss(), weights)
    for step, weight, old in zip(steps, weights, before, strict=True):
        step.add_(old, alpha=settings["weight_decay"])
        state: Mapping[str, Any] = optimiser.state.get(weight, {})
        if state.get("momentum_buffer") is not None:
            step.add_(state["momentum_buffer"], alpha=settings["momentum"])
    place(weights, before, steps, -rate)
    every = gradients_of(alpha_loss(), [*alphas, *weights])
    direct, directions = every[: len(alphas)], every[len(alphas) :]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(d) for d in directions]))
    distance = _DISTANCE / max(float(norm), 1e-12)
    sides = []
    for sign in (1, -1):
        place(weights, before, directions, sign * distance)
        sides.append(gradients_of(weight_loss(), alphas))
    place(weights, before)
    return [
        own - rate * (above - below) / (2 * distance)
        for own, above, below in zip(direct, *sides, strict=True)
    ]


def gradients_of(loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """`parallel.gradients` of a loss, zeros where it does not depend on a parameter."""
    found = parallel.gradients(loss, parameters)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]


def place(
    parameters: Sequence[nn.Parameter],
    start: Sequence[Tensor],
    direction: Sequence[Tensor] | None = None,
    factor: float = 0.0,
) -> None:
    """Sets parameters to ``start + factor * direction``; without a direction, to the start exactly."""
    with torch.no_grad():
        for k, (parameter, old) in enumerate(zip(parameters, start, strict=True)):
            parameter.copy_(old)
            if direction is not None:
                parameter.add_(direction[k], alpha=factor)
