import numpy as np
import pytest

from predictors.choice import least_certain
from predictors.kernels import Kernel
from predictors.models.kernel_sum import KernelSum, network_covariance
from predictors.models.kernel_times import KernelTimes


def kernel(kind: str, size: int) -> Kernel:
    return Kernel(kind, 1000 * size, 100 * size, 10 * size, 100 * size, size, size, 64)


SMALL, LARGE = kernel("pointwise", 8), kernel("pointwise", 64)
POOL, STRANGE = kernel("max_pool", 16), kernel("transpose", 500)
MEASURED = [[SMALL] * k + [LARGE] * (10 - k) for k in range(10)]


def fitted() -> KernelSum:
    times = KernelTimes.fit([[(k, 1e-5) for k in network] for network in MEASURED])
    latencies_s = np.array([1e-5 * len(network) for network in MEASURED]) * np.linspace(1.0, 1.1, 10)
    return KernelSum.fit(times, MEASURED, latencies_s, np.ones(10))


def test_what_was_never_seen_is_chosen_first() -> None:
    candidates = [[SMALL] * 5 + [LARGE] * 5, [STRANGE] * 10, [SMALL] * 10, [POOL] * 5 + [LARGE] * 5]
    assert set(least_certain(fitted(), MEASURED, candidates, 2)) == {1, 3}


def test_a_twin_of_what_was_chosen_waits() -> None:
    candidates = [[STRANGE] * 10, [STRANGE] * 10, [POOL] * 10]
    assert set(least_certain(fitted(), MEASURED, candidates, 2)) in ({0, 2}, {1, 2})


def test_no_more_than_there_are() -> None:
    assert sorted(least_certain(fitted(), MEASURED, [[POOL], [SMALL]], 5)) == [0, 1]


def test_the_first_choice_has_the_largest_conditional_variance() -> None:
    rng = np.random.default_rng(0)
    kernels = [SMALL, LARGE, POOL, STRANGE]
    candidates = [[kernels[i] for i in rng.integers(0, 4, 8)] for _ in range(20)]
    fit = fitted()
    covariance = network_covariance(fit, [*MEASURED, *candidates])
    known, rest = slice(0, 10), slice(10, None)
    noisy = covariance[known, known] + fit.noise**2 * np.eye(10)
    variance = np.diag(covariance[rest, rest]) - np.einsum(
        "ij,jk,ik->i", covariance[rest, known], np.linalg.inv(noisy), covariance[rest, known]
    )
    (first,) = least_certain(fit, MEASURED, candidates, 1)
    assert variance[first] == pytest.approx(variance.max())
