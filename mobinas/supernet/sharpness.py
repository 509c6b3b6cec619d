"""How sharp the loss is in the architecture parameters: the dominant eigenvalue of its Hessian."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mobinas.supernet.unrolled import gradients_of, place

# In lengths of the parameters; central differences in float32 are best near the cube root of 1e-7.
_DISTANCE = 1e-2
_ITERATIONS = 8


def dominant_eigenvalue(
    loss: Callable[[], Tensor], parameters: Sequence[nn.Parameter], generator: torch.Generator
) -> float:
    """The eigenvalue of largest magnitude, by power iteration.

    Products of Hessian and vector are differences of two gradients, (g(a + e v) - g(a - e v)) / 2e, since a
    second derivative through a supernet needs several times its memory.

    Args:
        loss: Of the parameters as they are when called; it must not vary otherwise.
        parameters: Moved in between, and exactly as before at the end.
        generator: Draws the first direction.
    """
    before = [p.detach().clone() for p in parameters]
    scale = _DISTANCE * max(1.0, _norm(before))
    direction = [torch.randn(p.shape, generator=generator).to(p) for p in parameters]
    value = 0.0
    for _ in range(_ITERATIONS):
        length = _norm(direction)
        if length == 0:
            break
        direction = [d / length for d in direction]
        sides = []
        for sign in (1, -1):
            place(parameters, before, direction, sign * scale)
            sides.append(gradients_of(loss(), parameters))
        product = [(above - below) / (2 * scale) for above, below in zip(*sides, strict=True)]
        value = float(sum((d * p).sum() for d, p in zip(direction, product, strict=True)))
        direction = product
    place(parameters, before)
    return value


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.cat([t.flatten() for t in tensors])))
