"""What all trainings share: which parameters decay, and how learning rates move."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: weights of convolutions and linear layers decay, nothing else does."""
    parameters = list(parameters)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def half_cosine(start: float, end: float, step: float, steps: float) -> float:
    """From `start` at step 0 to `end` at step `steps`, as in https://arxiv.org/abs/1608.03983."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(max(step / max(steps, 1), 0.0), 1.0)))


def one_cycle(peak: float, warmup: float, step: int, steps: int) -> float:
    """Linear up to the peak, then half a cosine down to almost 0 (https://arxiv.org/abs/1708.07120).

    Args:
        peak: The largest learning rate.
        warmup: Share of the steps that lead up to it.
        step: From 0 to `steps` - 1.
        steps: Of the whole training.
    """
    rising = warmup * steps
    if step + 1 < rising:
        return peak * (step + 1) / rising
    return half_cosine(peak, 0.0, step + 1 - rising, steps + 1 - rising)


def shorten(gradients: Sequence[Tensor], norm: float) -> None:
    """Scales gradients in place so that all together they have at most this norm."""
    length = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    factor = (norm / (length + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor)


def apply_gradients(
    optimiser: torch.optim.Optimizer, moved: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]
) -> None:
    """One step of an optimiser along given gradients, which are not kept."""
    for parameter, gradient in zip(moved, gradients, strict=True):
        parameter.grad = gradient
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
