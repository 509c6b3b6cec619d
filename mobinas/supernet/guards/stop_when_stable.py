"""Early stopping when the ranking of the ops no longer changes (DARTS+, Liang et al., 2019)."""

from collections.abc import Sequence

from mobinas.arch.probabilities import Probabilities
from mobinas.supernet.guard import Guard
from mobinas.supernet.history import EpochRecord

# https://arxiv.org/abs/1909.06035, criterion 2.
_EPOCHS = 10


def _stop(history: Sequence[EpochRecord], found: Sequence[Probabilities]) -> tuple[int, str] | None:
    moved = [k for k, record in enumerate(history) if record.alpha_loss is not None]
    if len(moved) <= _EPOCHS:
        return None
    rankings = {_ranking(one) for one in found[-_EPOCHS - 1 :]}
    if len(rankings) > 1:
        return None
    return len(found), f"the best op of every edge was the same for {_EPOCHS} epochs"


def _ranking(probabilities: Probabilities) -> tuple[int, ...]:
    return tuple(row.index(max(row)) for row in probabilities.normal + probabilities.reduction)


GUARD = Guard(
    name="stop_when_stable",
    summary="stops when the best op of every edge was the same for 10 epochs",
    stop=_stop,
)
