"""Kernels that take longer in networks that write more."""

import numpy as np
import pytest

from predictors.kernels import Kernel
from predictors.models.fit import Fit, Network, grows_with_traffic
from predictors.models.kernel_times import KernelTimes, traffic_of

SLOPE = 0.3


def kernel(work: int, written: int) -> Kernel:
    return Kernel("pointwise", work, 1000, 100, written, 8, 8, 64)


def networks(slope: float, n: int = 60) -> list[Network]:
    """Kernels of random work among others that write little or much, and take time by what all write."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(n):
        written = int(10 ** rng.uniform(3, 6))
        plain = [kernel(int(10 ** rng.uniform(4, 7)), written) for _ in range(8)]
        growth = np.exp(slope * (traffic_of(plain) - np.log(1e5)))
        made.append([(k, 1e-11 * k.work * growth + 1e-6) for k in plain])
    return made


def latencies_s(made: list[Network]) -> np.ndarray:
    return np.array([sum(s for _, s in network) for network in made])


def beside_a_loud_kernel(n: int = 60) -> list[Network]:
    """What each kernel writes itself is constant, so that a network's traffic is one other kernel's."""
    rng = np.random.default_rng(1)
    made: list[Network] = []
    for _ in range(n):
        loud = Kernel("binary", 10, 10, 0, int(10 ** rng.uniform(5, 8)), 1, 1, 1)
        own = [kernel(int(10 ** rng.uniform(5, 7)), 1000) for _ in range(5)]
        growth = np.exp(SLOPE * (traffic_of([loud, *own]) - np.log(1e6)))
        made.append([(loud, 1e-6), *((k, 1e-10 * k.work * growth) for k in own)])
    return made


def test_a_slope_is_found_again() -> None:
    made = beside_a_loud_kernel()
    times = KernelTimes.fit(made, by_traffic=True)
    assert times.slopes([kernel(10**6, 1000)]) == pytest.approx([SLOPE], abs=0.05)
    assert KernelTimes.fit(made).slopes([kernel(10**6, 1000)]) == pytest.approx([0.0])


def test_growth_that_carries_on_is_learnt() -> None:
    made = beside_a_loud_kernel()
    assert grows_with_traffic(made, latencies_s(made), np.ones(len(made)))


def test_sums_by_columns_are_those_kernel_by_kernel() -> None:
    made = networks(SLOPE)
    fit = Fit.of(made, latencies_s(made), np.ones(len(made)), by_traffic=True)
    plain = [[k for k, _ in network] for network in made]
    seconds = fit.seconds_of(fit.sums_of(plain))
    times = fit.kernels.times
    above = times.above_typical(np.array([traffic_of(network) for network in plain]))
    exact = [
        (fit.kernels.kernel_times_s(network)[0] * np.exp(x * times.slopes(network))).sum()
        for network, x in zip(plain, above, strict=True)
    ]
    np.testing.assert_allclose(seconds.sum(axis=1), exact, rtol=1e-3)


def test_beyond_what_was_seen_times_grow_no_further() -> None:
    times = KernelTimes.fit(networks(SLOPE), by_traffic=True)
    least, typical, most = times.known_traffic
    beyond = times.above_typical(np.array([least - 5, typical, most + 5]))
    assert beyond == pytest.approx([least - typical, 0.0, most - typical])


def test_growth_is_not_asked_where_nothing_can_tell() -> None:
    made = beside_a_loud_kernel()
    assert not grows_with_traffic(made[:30], latencies_s(made[:30]), np.ones(30)), "too few networks"
    untimed = [[(k, float("nan")) for k, _ in network] for network in made]
    assert not grows_with_traffic(untimed, latencies_s(made), np.ones(60)), "nobody timed the kernels"
