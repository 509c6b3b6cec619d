"""Early stopping when skip connections take over (DARTS+, Liang et al., 2019)."""

from collections.abc import Sequence

from mobinas.arch.probabilities import Probabilities
from mobinas.supernet.guard import Guard
from mobinas.supernet.history import EpochRecord, skips

# https://arxiv.org/abs/1909.06035, criterion 1, for cells of 8 edges.
_MOST = 2


def _stop(history: Sequence[EpochRecord], found: Sequence[Probabilities]) -> tuple[int, str] | None:
    count = skips(found[-1].genotype())
    if count <= _MOST or len(found) < 2:
        return None
    return len(found) - 1, f"the normal cell would have {count} skip connections"


GUARD = Guard(
    name="stop_at_skips",
    summary="stops before the epoch in which the normal cell would get a third skip connection",
    stop=_stop,
)
