"""How far two orders of the same things agree."""

import math
from collections.abc import Sequence

import numpy as np

_RESAMPLES = 1000


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau-b of two rankings: 1 equal, -1 opposite; NaN if one of them has no order at all.

    With s = sign of all differences in a ranking, tau-b = sum(s_a s_b) / sqrt(sum(s_a^2) sum(s_b^2))
    (Kendall, 1945; doi:10.1093/biomet/33.3.239).

    Args:
        a: [n].
        b: [n], of the same things.
    """
    signs_a, signs_b = (np.sign(np.subtract.outer(np.asarray(x), np.asarray(x))) for x in (a, b))
    scale = float((signs_a**2).sum()) * float((signs_b**2).sum())
    return float((signs_a * signs_b).sum()) / math.sqrt(scale) if scale else math.nan


def tau_interval(a: Sequence[float], b: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of `kendall_tau`, from resampling the things; NaN if no resample has an order.

    Args:
        a: [n].
        b: [n], of the same things.
        seed: Of the resamples.
    """
    xs, ys, n = np.asarray(a), np.asarray(b), len(a)
    draws = np.random.default_rng(seed).integers(0, n, (_RESAMPLES, n))
    taus = np.array([kendall_tau(xs[draw], ys[draw]) for draw in draws])
    taus = taus[np.isfinite(taus)]
    if not len(taus):
        return math.nan, math.nan
    low, high = np.quantile(taus, (0.025, 0.975)).tolist()
    return low, high
