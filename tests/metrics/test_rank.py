"""Rank correlation and its interval."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from mobinas.metrics.rank import kendall_tau, tau_interval


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
def test_tau_against_scipy(pairs: list[tuple[int, int]]) -> None:
    a, b = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    ours = kendall_tau(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(kendalltau(a, b).statistic)


def test_the_interval_holds_tau_and_narrows() -> None:
    rng = random.Random(1)
    a = [rng.gauss(0, 1) for _ in range(80)]
    b = [x + rng.gauss(0, 1) for x in a]
    few, many = tau_interval(a[:12], b[:12]), tau_interval(a, b)
    assert few[0] < kendall_tau(a[:12], b[:12]) < few[1]
    assert many[0] < kendall_tau(a, b) < many[1]
    assert many[1] - many[0] < 0.6 * (few[1] - few[0])
    assert tau_interval(a, b) == many
    assert all(map(math.isnan, tau_interval([1, 1, 1], [1, 2, 3])))
