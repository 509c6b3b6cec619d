"""Operation-level dropout on skip connections (P-DARTS, Chen et al., 2019, section 3.2.2)."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from mobinas.supernet.guard import Guard
from mobinas.supernet.relaxation import CellWeights, Mixture

# https://arxiv.org/abs/1904.12760; it decays to 0, so that skips compete fairly at the end.
_FIRST_RATE = 0.3


def _mix(mixture: Mixture, ops: Sequence[str], share: float, generator: torch.Generator) -> Mixture:
    rate = _FIRST_RATE * (1 - share)
    if "skip_connect" not in ops or rate <= 0:
        return mixture
    column = ops.index("skip_connect")

    def dropped(weights: CellWeights) -> CellWeights:
        kept = torch.rand(len(weights.ops), generator=generator).to(weights.ops) >= rate
        factors = torch.ones_like(weights.ops)
        factors[:, column] = kept.to(factors) / (1 - rate)
        return replace(weights, ops=weights.ops * factors)

    return Mixture(dropped(mixture.normal), dropped(mixture.reduction))


GUARD = Guard(
    name="skip_dropout",
    summary="drops skip connections in weight steps, often at first and never at the end",
    mix=_mix,
)
