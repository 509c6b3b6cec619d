import pytest

from mobinas.errors import SearchError
from mobinas.metrics.interval import proportion_interval


def test_known_interval() -> None:
    # 81 of 263: Newcombe (1998), table I, method 3.
    low, high = proportion_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_ends_stay_proportions() -> None:
    assert proportion_interval(0, 10)[0] == 0.0
    assert proportion_interval(10, 10)[1] == pytest.approx(1.0)
    assert proportion_interval(0, 10)[1] == pytest.approx(1 - proportion_interval(10, 10)[0])


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_nonsense_is_refused(successes: int, n: int) -> None:
    with pytest.raises(SearchError, match="no proportion"):
        proportion_interval(successes, n)
