"""Parts of a search, between which its network is rebuilt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of a search; learning rates, warm-up and what decays along a search start anew in each.

    Attributes:
        deepening: Where the depth lies between that of the search network (0) and the space's largest (1).
        partial: K, where 1/K of the channels enter the mixed ops.
        kept_ops: Share of the ops that are left on each edge, the likeliest; below 1 only for methods whose
            relaxation can `narrow`.
        anew: Whether the network starts with weights of its own instead of those of the stage before; it must
            where the depth changes.
    """

    deepening: float = 0.0
    partial: int = 1
    kept_ops: float = 1.0
    anew: bool = False

    def depth(self, shallow: int, deepest: int) -> int:
        """Cells of the stage's network."""
        return shallow + round(self.deepening * max(0, deepest - shallow))

    def left_of(self, ops: int) -> int:
        """How many of so many ops an edge keeps."""
        return max(1, round(self.kept_ops * ops))


def stage_starts(epochs: int, stages: int) -> tuple[int, ...]:
    """First epoch of each of equally long stages; of more stages than epochs, some are empty."""
    return tuple(round(k * epochs / stages) for k in range(stages))


def in_words(stages: Sequence[Stage], epochs: int, depths: tuple[int, int], ops: int) -> Iterator[str]:
    """What each of several stages was, for the report.

    Args:
        stages: Of the search.
        epochs: Of the search.
        depths: Of the search network at first, and the largest of the space.
        ops: Of an edge at first.
    """
    for number, (stage, start) in enumerate(zip(stages, stage_starts(epochs, len(stages)), strict=True), 1):
        if len(stages) > 1:
            mixed = f", 1/{stage.partial} of the channels mixed" if stage.partial > 1 else ""
            yield (
                f"stage {number}, from epoch {start + 1}: {stage.depth(*depths)} cells, "
                f"{stage.left_of(ops)} of {ops} ops an edge{mixed}"
            )
