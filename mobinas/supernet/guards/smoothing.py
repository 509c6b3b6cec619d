"""Random smoothing: weights are trained around the mixture (SDARTS-RS, Chen and Hsieh, 2020)."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from mobinas.supernet.guard import Guard
from mobinas.supernet.relaxation import CellWeights, Mixture

# https://arxiv.org/abs/2002.05283, section 4.1: the radius grows along the search.
_FIRST_RADIUS, _LAST_RADIUS = 0.03, 0.3


def _mix(mixture: Mixture, ops: Sequence[str], share: float, generator: torch.Generator) -> Mixture:
    radius = _FIRST_RADIUS + share * (_LAST_RADIUS - _FIRST_RADIUS)

    def moved(weights: CellWeights) -> CellWeights:
        noise = torch.rand(weights.ops.shape, generator=generator).to(weights.ops) * 2 - 1
        return replace(weights, ops=(weights.ops + radius * noise).clamp(min=0))

    return Mixture(moved(mixture.normal), moved(mixture.reduction))


GUARD = Guard(
    name="smoothing",
    summary="adds uniform noise to the op weights in weight steps, so that the loss stays flat in them",
    mix=_mix,
    mixed_only=True,
)
