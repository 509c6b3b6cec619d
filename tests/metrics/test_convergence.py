"""Hypervolume over evaluations, against closed forms and exhaustive means."""

import itertools
import random
import statistics
from dataclasses import dataclass

import numpy as np
import pytest

from mobinas.errors import SearchError
from mobinas.metrics.convergence import expected_improvement, hypervolume_band, hypervolume_curve
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.hypervolume import hypervolume
from mobinas.metrics.objective import Objective

AXES = (Objective("gain", "maximize"), Objective("price", "minimize"))


@dataclass(frozen=True)
class Thing:
    digest: str
    name: str = "thing"


def seen(i: int, gain: float, price: float, feasible: bool = True) -> Evaluation[Thing]:
    return Evaluation(Thing(str(i)), {"gain": Value(gain), "price": Value(price)}, feasible)


def drawn(n: int, seed: int) -> list[Evaluation[Thing]]:
    rng = random.Random(seed)
    return [seen(i, rng.random(), rng.random()) for i in range(n)]


def test_the_curve_ends_at_the_hypervolume_and_never_falls() -> None:
    history = [*drawn(20, 0), seen(20, 99.0, -99.0, feasible=False)]
    curve = hypervolume_curve(history, AXES, (0.0, 1.0))
    assert list(curve) == sorted(curve) and len(curve) == 21
    points = [e.losses(AXES) for e in history[:-1]]
    assert curve[-1] == pytest.approx(hypervolume(points, (0.0, 1.0)))


def test_the_band_is_around_the_median_of_all_orders() -> None:
    history = drawn(5, 1)
    curves = [hypervolume_curve(order, AXES, (0.0, 1.0)) for order in itertools.permutations(history)]
    band = hypervolume_band(history, AXES, (0.0, 1.0), orders=4000)
    for k in range(5):
        exact = sorted(curve[k] for curve in curves)
        assert band.low[k] <= band.middle[k] <= band.high[k]
        assert band.middle[k] == pytest.approx(statistics.median(exact), abs=0.06)
    assert band.middle[-1] == pytest.approx(curves[0][-1])


def test_the_band_is_as_wide_as_other_seeds_differ() -> None:
    n = 40
    real = [hypervolume_curve(drawn(n, seed), AXES, (0.0, 1.0)) for seed in range(300)]
    bands = [hypervolume_band(drawn(n, 1000 + k), AXES, (0.0, 1.0)) for k in range(20)]
    for k in (5, 20, n):
        low, high = np.quantile([curve[k - 1] for curve in real], (0.05, 0.95))
        width = statistics.fmean(band.high[k - 1] - band.low[k - 1] for band in bands)
        assert 0.6 < width / (high - low) < 1.2


def test_a_band_of_nothing_is_refused() -> None:
    with pytest.raises(SearchError, match="evaluate at least one"):
        hypervolume_band([], AXES, (0.0, 1.0))


def test_the_expected_improvement_is_that_of_one_more_draw() -> None:
    """Oracle: the mean over histories of what the last of 20 draws really added, relative to the volume."""
    estimated, real = [], []
    for seed in range(400):
        history = drawn(20, seed)
        points = [e.losses(AXES) for e in history]
        corner = tuple(max(column) for column in zip(*points, strict=True))
        whole = hypervolume(points, corner)
        real.append((whole - hypervolume(points[:-1], corner)) / whole)
        estimated.append(expected_improvement(history, AXES, 20))
    error = statistics.stdev(real) / 20
    assert statistics.fmean(estimated) == pytest.approx(statistics.fmean(real), abs=3 * error)
    assert statistics.stdev(estimated) < statistics.stdev(real) / 2


def test_nothing_is_expected_of_what_only_repeats() -> None:
    front = [seen(i, i / 10, i / 10) for i in range(10)]
    beaten = [seen(10 + i, 0.0, 0.9) for i in range(12)]
    assert expected_improvement([*front, *beaten], AXES, 12) == 0
    assert expected_improvement([*front, *beaten], AXES, 22) > 0


def test_too_little_is_known_at_first() -> None:
    assert expected_improvement(drawn(5, 0), AXES, 6) == float("inf")
    assert expected_improvement([], AXES, 1) == float("inf")
    assert expected_improvement([seen(0, 0.5, 0.5)] * 3, AXES, 2) == float("inf")
