import random
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr

from mobinas.arch.architecture import Task
from mobinas.arch.space import SearchSpace
from mobinas.errors import PredictorError
from mobinas.graph.lowering import lower
from predictors.models.transfer import MIN_PAIRS, Transfer, Views, most_informative
from predictors.steps import KINDS, Program, program_of
from predictors.structure import structure_of

Floats = npt.NDArray[np.float64]

OPS = ("none", "skip_connect", "max_pool_3x3", "conv_3x3", "sep_conv_3x3", "avg_pool_3x3")
SPACE = SearchSpace(Task(10, 3), (16, 24), (3, 5), (8, 16), (OPS,))
GRAPHS = [lower(SPACE.sample(random.Random(seed))) for seed in range(120)]
PROGRAMS = [program_of(graph) for graph in GRAPHS]
# Not what a simulated device of the prior does: a kernel takes the longer of computing and moving data, pools
# are slow, and there are two workers rather than any number.
NS_PER_WORK = dict(zip(KINDS, (0.1, 0.3, 0.4, 0.5, 1.5, 0.4, 0.1, 0.8, 1.0), strict=True))
LAUNCH_S = 2e-5


@cache
def views() -> Views:
    """This machine charges 50 ps for any work and 1 us for a kernel."""
    terms_s = np.zeros((len(PROGRAMS), len(KINDS)))
    for i, program in enumerate(PROGRAMS):
        for step in program.steps[1:]:
            terms_s[i, KINDS.index(step.kind)] += 1e-6 + 5e-11 * step.work
    return Views(terms_s.sum(axis=1), terms_s, structure_of(GRAPHS))


def serial_s(program: Program) -> float:
    return sum(cost_s(step.kind, step.work) for step in program.steps[1:])


def two_workers_s(program: Program) -> float:
    free, ends = [0.0, 0.0], [0.0]
    for step in program.steps[1:]:
        worker = free.index(min(free))
        start = max(free[worker], *(ends[i] for i in step.inputs))
        free[worker] = start + cost_s(step.kind, step.work)
        ends.append(free[worker])
    return ends[-1]


def cost_s(kind: str, work: float) -> float:
    return max(NS_PER_WORK[kind] * 1e-9 * work, LAUNCH_S)


def device(latency_s: "npt.ArrayLike", noise: float, seed: int = 0) -> Floats:
    exact = np.asarray(latency_s, dtype=np.float64)
    return exact * np.exp(noise * np.random.default_rng(seed).standard_normal(len(exact)))


SERIAL_S = np.array([serial_s(program) for program in PROGRAMS])
PARALLEL_S = np.array([two_workers_s(program) for program in PROGRAMS])
KNOWN, NEW = np.arange(20), np.arange(20, 120)


@pytest.mark.parametrize("exact_s", [SERIAL_S, PARALLEL_S], ids=["serial", "two workers"])
def test_a_few_latencies_of_another_device_rank_the_rest(exact_s: Floats) -> None:
    latencies_s = device(exact_s, 0.02)
    mean_s, _ = Transfer.fit(views()[KNOWN], latencies_s[KNOWN]).predict(views()[NEW])
    adapted = spearmanr(mean_s, latencies_s[NEW]).statistic
    assert adapted > 0.97
    assert adapted > spearmanr(views().source_s[NEW], latencies_s[NEW]).statistic
    assert np.median(np.abs(mean_s / latencies_s[NEW] - 1)) < 0.08


def test_branches_that_run_at_the_same_time_are_noticed() -> None:
    assert Transfer.fit(views()[KNOWN], SERIAL_S[KNOWN]).schedules["parallel"] < 0.1
    critical_s = views().structure.simulated[KNOWN, 1, 7]
    shares = Transfer.fit(views()[KNOWN], critical_s).schedules
    assert shares["parallel"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)


def test_more_latencies_help() -> None:
    latencies_s = device(PARALLEL_S, 0.02)
    errors = []
    for n in (5, 20, 60):
        draws = [np.random.default_rng([n, k]).permutation(120) for k in range(6)]
        fits = [(Transfer.fit(views()[d[:n]], latencies_s[d[:n]]), d[60:]) for d in draws]
        means_s = [(fit.predict(views()[new])[0], latencies_s[new]) for fit, new in fits]
        errors.append(np.mean([np.abs(np.log(mean_s / truth)).mean() for mean_s, truth in means_s]))
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_the_interval_covers_new_measurements(noise: float) -> None:
    covered = []
    for seed, exact_s in enumerate((SERIAL_S, PARALLEL_S, views().source_s, 3 * views().source_s + 1e-3)):
        latencies_s = device(exact_s, noise, seed)
        mean_s, std_s = Transfer.fit(views()[KNOWN], latencies_s[KNOWN]).predict(views()[NEW])
        covered.append(np.mean(np.abs(latencies_s[NEW] - mean_s) <= 1.645 * std_s))
    assert 0.84 <= np.mean(covered) <= 0.98


def test_the_unit_of_time_does_not_matter() -> None:
    a_s, std_s = Transfer.fit(views()[KNOWN], SERIAL_S[KNOWN]).predict(views()[NEW])
    b_s, other_s = Transfer.fit(views()[KNOWN], 1e3 * SERIAL_S[KNOWN]).predict(views()[NEW])
    np.testing.assert_allclose(1e3 * a_s, b_s, rtol=1e-6)
    np.testing.assert_allclose(1e3 * std_s, other_s, rtol=1e-6)
    assert (a_s > 0).all()
    assert (std_s > 0).all()


def test_arrays_make_an_equal_predictor() -> None:
    fitted = Transfer.fit(views()[KNOWN], SERIAL_S[KNOWN])
    arrays = fitted.to_arrays()
    again = Transfer.from_arrays({name: array.copy() for name, array in arrays.items()})
    for a, b in zip(fitted.predict(views()[NEW]), again.predict(views()[NEW]), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(PredictorError, match="lacks 'live'"):
        Transfer.from_arrays({name: array for name, array in arrays.items() if name != "live"})
    with pytest.raises(PredictorError, match="another version"):
        Transfer.from_arrays({**arrays, "simulated": arrays["simulated"][:, :2]})


def test_nothing_to_predict() -> None:
    mean_s, std_s = Transfer.fit(views()[KNOWN], SERIAL_S[KNOWN]).predict(views()[KNOWN[:0]])
    assert mean_s.shape == std_s.shape == (0,)


def test_unusable_material_is_refused() -> None:
    few = np.arange(MIN_PAIRS - 1)
    with pytest.raises(PredictorError, match="4 latencies are too few to adapt to; measure at least 5"):
        Transfer.fit(views()[few], SERIAL_S[few])
    with pytest.raises(PredictorError, match="20 networks but 19 latencies"):
        Transfer.fit(views()[KNOWN], SERIAL_S[:19])
    with pytest.raises(PredictorError, match="all 20 latencies equal"):
        Transfer.fit(views()[KNOWN], np.full(20, 1e-3))
    for wrong in (np.nan, np.inf, -1.0, 0.0):
        with pytest.raises(PredictorError, match="finite and above 0"):
            Transfer.fit(views()[KNOWN], [*SERIAL_S[:19], wrong])
    with pytest.raises(PredictorError, match="all must have 120"):
        replace(views(), terms_s=views().terms_s[:5])
    with pytest.raises(PredictorError, match="terms must be finite"):
        replace(views(), terms_s=np.zeros((120, 2)))


def test_informative_networks_differ_and_do_not_repeat() -> None:
    places = most_informative(views(), 10)
    assert len(set(places.tolist())) == 10
    np.testing.assert_array_equal(places, most_informative(views(), 10))
    with pytest.raises(PredictorError, match="121 of 120"):
        most_informative(views(), 121)
