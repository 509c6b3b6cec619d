"""Parts of a search, between which its network is rebuilt."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of a search; learning rates, warm-up and what decays along a search start anew in each.

    Attributes:
        deepening: Where the depth lies between that of the search network (0) and the space's largest (1).
        partial: K, where 1/K of the channels enter the mixed ops.
        kept_ops: Share of the ops that are left on each edge, the likeliest; below 1 only for methods whose
            relaxation can `narrow`.
    """

    deepening: float = 0.0
    partial: int = 1
    kept_ops: float = 1.0

    def depth(self, shallow: int, deepest: int) -> int:
        """Cells of the stage's network."""
        return shallow + round(self.deepening * max(0, deepest - shallow))


def stage_starts(epochs: int, stages: int) -> tuple[int, ...]:
    """First epoch of each of equally long stages; of more stages than epochs, some are empty."""
    return tuple(round(k * epochs / stages) for k in range(stages))
