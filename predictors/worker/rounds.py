"""The measuring protocol itself: rounds over models that take turns, each sample paired with a reference.

A shared machine changes its speed by tens of per cent within seconds (a neighbour on the sibling of a core is
enough). Timing one model after the other would book that change on the models. Here every sample is followed
by one of a reference model, whose time tells the machine's speed at that moment; models take turns in a
shuffled order, and blocks that lie apart in time show in the interval what remains.

Ten cell networks of 0.1 to 1.2 ms, measured 73 times while other programs kept both cores busy, came within
5 / 10 % of their own median in 35 / 60 % of cases by raw medians, in 96 / 99 % by ratios of block minima.

Standard library only; the clock is behind `PairTimer`.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Block = tuple[float, ...]


class PairTimer(Protocol):
    """Times one model and, in turns with it, the reference model."""

    def warm_up(self) -> int:
        """Runs until times are stationary; returns the number of inferences."""
        ...

    def block(self) -> tuple[Block, Block]:
        """Seconds per inference of the model and of the reference, sample by sample."""
        ...


@dataclass(frozen=True)
class Round:
    """One turn of all models.

    Attributes:
        blocks: One block per model, in the models' order.
        references: The reference model's samples that pair with them.
        drift: Relative change of the reference from the first to the second half of the round; the same for
            faster and slower, 0 for none.
    """

    blocks: tuple[Block, ...]
    references: tuple[Block, ...]
    drift: float


@dataclass(frozen=True)
class Outcome:
    """The rounds that were kept, in the order of time.

    Attributes:
        rounds: As many as asked for.
        repeated: Rounds that were thrown away.
    """

    rounds: tuple[Round, ...]
    repeated: int


def run_rounds(
    timers: Sequence[PairTimer],
    *,
    rounds: int,
    max_repeats: int,
    drift_tolerance: float,
    rng: random.Random,
    after_round: Callable[[int, float], None] = lambda good, drift: None,
) -> Outcome:
    """Gives every model one block a round until enough rounds did not drift, or no repeats are left.

    Whether a round drifted is judged by the reference alone: choosing rounds by the models' own times would
    make their intervals look narrower than they are.

    Args:
        timers: One per model, warmed up.
        rounds: How many to keep.
        max_repeats: How many more may be run in place of drifting ones.
        drift_tolerance: A round whose drift exceeds this is repeated.
        rng: Shuffles the order of models in each round.
        after_round: Told the number of good rounds so far, and the last one's drift.

    Returns:
        The rounds with the least drift.
    """
    done: list[Round] = []
    good = 0
    while good < rounds and len(done) < rounds + max_repeats:
        done.append(_run_round(timers, rng))
        good += done[-1].drift <= drift_tolerance
        after_round(good, done[-1].drift)
    kept = sorted(sorted(range(len(done)), key=lambda i: done[i].drift)[:rounds])
    return Outcome(tuple(done[i] for i in kept), len(done) - len(kept))


def _run_round(timers: Sequence[PairTimer], rng: random.Random) -> Round:
    order = list(range(len(timers)))
    rng.shuffle(order)
    taken = {i: timers[i].block() for i in order}
    in_time = [seconds for i in order for seconds in taken[i][1]]
    places = range(len(timers))
    return Round(tuple(taken[i][0] for i in places), tuple(taken[i][1] for i in places), drift_of(in_time))


def drift_of(samples_s: Sequence[float]) -> float:
    """Relative change of the median from the first to the second half; 0 for fewer than two samples."""
    half = len(samples_s) // 2
    if half == 0:
        return 0.0
    first, second = statistics.median(samples_s[:half]), statistics.median(samples_s[half:])
    return max(first, second) / min(first, second) - 1
