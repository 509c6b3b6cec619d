"""Operation-level dropout on skip connections (P-DARTS, Chen et al., 2019, section 3.2.2)."""

from collections.abc import Sequence

import torch

from mobinas.supernet.guard import Guard
from mobinas.supernet.relaxation import Mixture, drop_skips

# https://arxiv.org/abs/1904.12760; it decays to 0, so that skips compete fairly at the end.
_FIRST_RATE = 0.3


def _mix(mixture: Mixture, ops: Sequence[str], share: float, generator: torch.Generator) -> Mixture:
    return drop_skips(mixture, ops, _FIRST_RATE * (1 - share), generator)


GUARD = Guard(
    name="skip_dropout",
    summary="drops skip connections in weight steps, often at first and never at the end",
    mix=_mix,
)
