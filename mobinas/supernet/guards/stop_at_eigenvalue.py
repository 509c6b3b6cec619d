"""Early stopping when the loss becomes sharp in the architecture (Zela et al., 2020)."""

from collections.abc import Sequence

from mobinas.arch.probabilities import Probabilities
from mobinas.supernet.guard import Guard
from mobinas.supernet.history import EpochRecord

# https://arxiv.org/abs/1909.09656, section 4.2: means of 5 epochs, 5 epochs apart, of a ratio below 0.75.
_EPOCHS = 5
_RATIO = 0.75


def _stop(history: Sequence[EpochRecord], found: Sequence[Probabilities]) -> tuple[int, str] | None:
    values = [record.eigenvalue for record in history if record.eigenvalue is not None]
    if len(values) < 2 * _EPOCHS:
        return None
    before, now = (sum(part) / _EPOCHS for part in (values[-2 * _EPOCHS : -_EPOCHS], values[-_EPOCHS:]))
    if now <= 0 or before / now >= _RATIO:
        return None
    reason = f"the dominant eigenvalue grew from {before:.3g} to {now:.3g} within {_EPOCHS} epochs"
    return len(found) - _EPOCHS, reason


GUARD = Guard(
    name="stop_at_eigenvalue",
    summary="stops when the dominant eigenvalue of the loss in the alphas grows fast, and goes back 5 epochs",
    stop=_stop,
    eigenvalue=True,
)
