"""The interval of a proportion, and of a mean of proportions."""

import math
from collections.abc import Sequence

from mobinas.errors import SearchError

_Z_95 = 1.959963984540054


def proportion_interval(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval (Wilson, 1927; doi:10.1080/01621459.1927.10502953).

    Args:
        successes: Number of right answers.
        n: Number of answers, at least 1.

    Returns:
        (low, high) within [0, 1].

    Raises:
        SearchError: Numbers that are no proportion.
    """
    _checked([(successes, n)])
    share, z2 = successes / n, _Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends the bound is exact; rounding would leave the share itself outside.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return low, 1.0 if successes == n else min(1.0, centre + half)


def mean_interval(proportions: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """The 95 % interval of the unweighted mean of independent proportions, such as recalls of classes.

    Wilson's intervals of the proportions are combined by the recovery of variances (Zou, Huang and Zhang,
    2009, "A note on confidence interval estimation for a linear function of binomial proportions",
    Computational Statistics & Data Analysis 53, 1080-1085). Of one proportion it is Wilson's own.

    Args:
        proportions: (successes, n) of each, n at least 1.

    Returns:
        (low, high) within [0, 1].

    Raises:
        SearchError: None, or numbers that are no proportion.
    """
    ends = [(successes / n, *proportion_interval(successes, n)) for successes, n in _checked(proportions)]
    mean = sum(share for share, _, _ in ends) / len(ends)
    below = math.hypot(*(share - low for share, low, _ in ends)) / len(ends)
    above = math.hypot(*(high - share for share, _, high in ends)) / len(ends)
    return max(0.0, mean - below), min(1.0, mean + above)


def mean_std(proportions: Sequence[tuple[int, int]]) -> float:
    """The standard deviation of that mean: of the mean of independent Beta posteriors, uniform before.

    Of Brodersen et al., 2010, "The balanced accuracy and its posterior distribution"
    (doi:10.1109/ICPR.2010.764). With many of each it is the stratified ``sqrt(sum p (1 - p) / n) / k``, which
    alone would call a class of one image certain.

    Args:
        proportions: (successes, n) of each, n at least 1.

    Raises:
        SearchError: None, or numbers that are no proportion.
    """
    pairs = _checked(proportions)
    variances = [(k + 1) * (n - k + 1) / ((n + 2) ** 2 * (n + 3)) for k, n in pairs]
    return math.sqrt(sum(variances)) / len(pairs)


def _checked(proportions: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    if not proportions:
        raise SearchError("the mean of no proportions is unknown; give at least one")
    for successes, n in proportions:
        if not 0 <= successes <= n or n < 1:
            raise SearchError(f"{successes} of {n} is no proportion")
    return proportions
