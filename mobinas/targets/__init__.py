"""Targets (the settings of a device) and measurements (what was seen on one); standard library only."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

FAKE_PROVIDER = "fake"


def block_statistic(block: Sequence[float], statistic: str) -> float:
    """What stands for a block of samples: its ``median``, or its ``minimum``."""
    return min(block) if statistic == "minimum" else statistics.median(block)
