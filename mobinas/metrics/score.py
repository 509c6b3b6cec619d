"""The one number that ranks a front and names the default pick; it never replaces the front."""

from mobinas.errors import SearchError

EXPONENT = -0.07
DEFAULT_REFERENCE_S = 1e-3


def score(accuracy: float, latency_s: float, reference_s: float = DEFAULT_REFERENCE_S) -> float:
    """Soft reward accuracy * (latency / reference)^-0.07 (MnasNet, https://arxiv.org/abs/1807.11626, eq. 2).

    Args:
        accuracy: Share of right answers, or another such metric, in [0, 1].
        latency_s: Seconds per inference, positive.
        reference_s: The latency at which the score equals the accuracy, in seconds, positive.

    Returns:
        The score; twice the latency costs 4.7 % of it.

    Raises:
        SearchError: A number outside its range.
    """
    if not 0 <= accuracy <= 1:
        raise SearchError(f"accuracy is {accuracy}; give it as a share between 0 and 1")
    for name, value in (("latency_s", latency_s), ("reference_s", reference_s)):
        if not 0 < value < float("inf"):
            raise SearchError(f"{name} is {value}; a latency is positive and finite, in seconds")
    return float(accuracy * (latency_s / reference_s) ** EXPONENT)
