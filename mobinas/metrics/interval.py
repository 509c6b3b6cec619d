"""The interval of a proportion."""

import math

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
    if not 0 <= successes <= n or n < 1:
        raise SearchError(f"{successes} of {n} is no proportion")
    share, z2 = successes / n, _Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)
