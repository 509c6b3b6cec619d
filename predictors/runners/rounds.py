"""The measuring protocol itself: rounds over models that take turns, with a reference that watches for drift.

A shared machine changes its speed by 10 to 20 % within minutes. Timing one model after the other would book
that change on the models; turns in a shuffled order spread it over all of them, and blocks that lie apart in
time show in the interval what remains. Standard library only, and the clock is behind `BlockTimer`.
"""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Block = tuple[float, ...]


class BlockTimer(Protocol):
    """Times one model."""

    def warm_up(self) -> int:
        """Runs until times are stationary; returns the number of inferences."""
        ...

    def block(self) -> Block:
        """Seconds per inference, for one block of samples."""
        ...


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of all models.

    Attributes:
        blocks: One block per model, in the models' order.
        before_s: Median of the reference model before the round.
        after_s: The same after it.
    """

    blocks: tuple[Block, ...]
    before_s: float
    after_s: float

    @property
    def drift(self) -> float:
        """Relative change of the reference across the round; 0 for none, the same for faster and slower."""
        return max(self.before_s, self.after_s) / min(self.before_s, self.after_s) - 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """The rounds that were kept, in the order of time.

    Attributes:
        rounds: As many as asked for.
        steady: Whether none of them drifted.
        repeated: Rounds that were thrown away.
    """

    rounds: tuple[Round, ...]
    steady: bool
    repeated: int


def run_rounds(
    timers: Sequence[BlockTimer],
    reference: BlockTimer,
    *,
    rounds: int,
    max_repeats: int,
    drift_tolerance: float,
    rng: random.Random,
    after_round: Callable[[int, float], None] = lambda done, drift: None,
) -> Outcome:
    """Gives every model one block a round until enough rounds did not drift, or no repeats are left.

    Args:
        timers: One per model, warmed up.
        reference: Timed before and after each round.
        rounds: How many to keep.
        max_repeats: How many more may be run in place of drifting ones.
        drift_tolerance: A round whose drift exceeds this is repeated.
        rng: Shuffles the order of models in each round.
        after_round: Told the number of good rounds so far, and the last one's drift.

    Returns:
        The rounds with the least drift; `steady` is False if one of those drifted, too.
    """
    done: list[Round] = []
    good = 0
    before_s = statistics.median(reference.block())
    while good < rounds and len(done) < rounds + max_repeats:
        order = list(range(len(timers)))
        rng.shuffle(order)
        blocks: dict[int, Block] = {i: timers[i].block() for i in order}
        after_s = statistics.median(reference.block())
        done.append(Round(tuple(blocks[i] for i in range(len(timers))), before_s, after_s))
        good += done[-1].drift <= drift_tolerance
        after_round(good, done[-1].drift)
        before_s = after_s
    kept = sorted(sorted(range(len(done)), key=lambda i: done[i].drift)[:rounds])
    chosen = tuple(done[i] for i in kept)
    return Outcome(chosen, good >= rounds, len(done) - len(chosen))
