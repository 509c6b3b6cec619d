"""Whether a measurement can be trusted, and what to do where it cannot."""

import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from mobinas.targets.spread import TRUSTED_WAIT, half_width

if TYPE_CHECKING:
    from mobinas.targets.measurement import Measurement

Verdict = Literal["steady", "unstable", "throttling", "coarse_clock"]

# Half of the 95 % interval, relative to the median.
TRUSTED_HALF_WIDTH = 0.1
_TRUSTED_CLOCK_ERROR = 0.01
# The reference model is that much slower in the end, and later blocks are slower in most pairs of blocks: of
# eight blocks in random order, one in forty rises that consistently.
_THROTTLED_RISE, _THROTTLED_PAIRS = 0.15, 0.8
_MIN_TREND_BLOCKS = 5

REMEDIES: dict[Verdict, str] = {
    "steady": "",
    "unstable": "stop other programs, fix the CPU's frequency or affinity, and measure with more rounds",
    "throttling": "the device slowed down while it was measured: cool it, fix the CPU's frequency below its "
    "limit, or let it rest, and measure again",
    "coarse_clock": "the device's clock ticks too rarely for this model: measure with a larger batch, or on "
    "another device",
}


def verdict_of(measurement: "Measurement") -> Verdict:
    """The first of these that holds: a coarse clock, a busy CPU, throttling, a wide interval, steady."""
    if measurement.clock_error > _TRUSTED_CLOCK_ERROR:
        return "coarse_clock"
    if measurement.waited > TRUSTED_WAIT:
        return "unstable"
    rise, pairs = trend_of([min(block) for block in measurement.reference_blocks_s])
    if rise > _THROTTLED_RISE and pairs >= _THROTTLED_PAIRS:
        return "throttling"
    wide = half_width(measurement.median_s, measurement.interval_s) > TRUSTED_HALF_WIDTH
    return "unstable" if wide else "steady"


def trend_of(values: Sequence[float]) -> tuple[float, float]:
    """How much values rise from first to last, and how consistently.

    Args:
        values: In the order of time, above 0.

    Returns:
        The rise by the median slope over all pairs (Theil and Sen), relative to the median, and the share of
        pairs whose later value is larger; zeros for fewer than five values.
    """
    if len(values) < _MIN_TREND_BLOCKS:
        return 0.0, 0.0
    slopes = [(values[j] - values[i]) / (j - i) for i, j in combinations(range(len(values)), 2)]
    rise = statistics.median(slopes) * (len(values) - 1) / statistics.median(values)
    return rise, sum(slope > 0 for slope in slopes) / len(slopes)
