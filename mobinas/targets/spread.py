"""What blocks of samples say: the latency, and how far it can be trusted. Standard library, Python 3.9."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from functools import lru_cache

from mobinas.targets import block_statistic

Block = tuple[float, ...]

# Below this, a process that waits for a CPU only meets the system's own work. Networks larger than the cache
# took up to twice as long for minutes where two programs shared a core, which no interval foresees.
TRUSTED_WAIT = 0.05

_RESAMPLES = 1000
_INTERVAL = 0.95
# Fewer blocks than this say nothing about how blocks differ.
_MIN_BLOCKS_TO_RESAMPLE = 3


def block_values(
    blocks_s: Sequence[Block], references_s: Sequence[Block], level_s: float | None, statistic: str
) -> tuple[float, ...]:
    """Each block's statistic in seconds, corrected for the machine's speed at that moment.

    With a reference, a block counts as the ratio of its fastest sample to the reference's fastest one, times
    the reference level: disturbances only add time, so the fastest samples tell the ratio best. Between two
    measurements of 120 networks on a machine with three times more work than cores, raw medians differed by
    25 % (standard deviation), medians of paired ratios by 12 %, these by 8 %.
    """
    if not references_s or level_s is None:
        return tuple(block_statistic(block, statistic) for block in blocks_s)
    return tuple(level_s * min(block) / min(reference) for block, reference in zip(blocks_s, references_s))


@lru_cache(maxsize=4096)
def interval(values: tuple[float, ...], per_process: tuple[int, ...] = ()) -> tuple[float, float] | None:
    """95 % interval of the median of block values, from resampling with a fixed seed.

    Blocks of one process share its layout of memory, so whole processes are drawn first, then blocks within
    each. What k processes show is stretched by sqrt(2 (k + 1) / (k - 1)), so that the interval holds a
    repeat, which scatters as well, though few processes tell little of how they scatter: with processes that
    scatter as blocks do, it held 90 % of simulated repeats for k from 2 to 6.

    Args:
        values: One per block, in the order of time.
        per_process: How many of them come from each process; empty for one process.

    Returns:
        None for fewer than three blocks of a single process.
    """
    rng = random.Random(0)
    if len(per_process) < 2:
        if len(values) < _MIN_BLOCKS_TO_RESAMPLE:
            return None
        return _middle([statistics.median(rng.choices(values, k=len(values))) for _ in range(2 * _RESAMPLES)])
    ends = [sum(per_process[: i + 1]) for i in range(len(per_process))]
    processes = [values[end - count : end] for end, count in zip(ends, per_process)]
    medians = [
        statistics.median(
            value
            for one in rng.choices(processes, k=len(processes))
            for value in rng.choices(one, k=len(one))
        )
        for _ in range(_RESAMPLES)
    ]
    low, high = _middle(medians)
    median, k = statistics.median(values), len(processes)
    stretch = math.sqrt(2 * (k + 1) / (k - 1))
    # Ratios are alike above and below, and a latency stays above 0.
    return median * min(1.0, low / median) ** stretch, median * max(1.0, high / median) ** stretch


def half_width(median: float, ends: tuple[float, float]) -> float:
    """Half of an interval's width, relative to the median."""
    return (ends[1] - ends[0]) / 2 / median


def _middle(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    tail = round((1 - _INTERVAL) / 2 * len(ordered))
    return ordered[tail], ordered[-1 - tail]
