"""The model-assisted sampler, and what it is made of."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seen_points import AXES, SIZES, Conditional, seen_of, some_points

from mobinas.errors import Infeasible
from mobinas.metrics.hypervolume import hypervolume
from mobinas.search.choice_space import Choices, ChoiceSpace
from mobinas.search.improvement import expected_hypervolume_improvement
from mobinas.search.samplers import auto
from mobinas.search.seen import ABSENT, Floats, Foretold, Ints
from mobinas.search.study import pareto_search
from mobinas.search.surrogate import Encoder, Surrogate


@given(st.integers(0, 10**6), st.integers(0, 6))
@settings(deadline=None, max_examples=15)
def test_expected_improvement_of_two_losses_is_the_mean_of_improvements(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    front, mean, std = rng.random((n, 2)), rng.random((1, 2)), rng.uniform(0.05, 0.5, (1, 2))
    reference = np.ones(2)
    before = hypervolume(front, reference)
    draws = mean + std * rng.standard_normal((3000, 2))
    gains = [hypervolume(np.vstack([front, draw]), reference) - before for draw in draws]
    error = np.std(gains) / np.sqrt(len(gains))
    exact = expected_hypervolume_improvement(lambda normal: mean + std * normal, front, reference)
    assert exact[0] == pytest.approx(np.mean(gains), abs=4.5 * error + 1e-4)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_a_certain_point_adds_its_own_volume(m: int) -> None:
    rng = np.random.default_rng(m)
    front, points = rng.uniform(0.3, 1, (5, m)), rng.random((40, m))
    reference = np.ones(m)
    gains = expected_hypervolume_improvement(lambda normal: points + 1e-9 * normal, front, reference)
    exact = np.array([hypervolume(np.vstack([front, p]), reference) for p in points])
    exact -= hypervolume(front, reference)
    if m < 3:
        assert gains == pytest.approx(exact, abs=1e-6)
    else:
        assert np.corrcoef(gains, exact)[0, 1] > 0.97


def test_the_surrogate_is_a_posterior() -> None:
    """It knows what it saw, doubts what it did not, and orders unseen points of an additive function."""

    def truth(points: Ints) -> Floats:
        result: Floats = points @ np.array([1.0, 5.0, 0.5, 0.0]) + (points[:, 0] == 2) * points[:, 1]
        return result

    encoder = Encoder([tuple(range(3)), (0, 1), tuple(range(4)), ("x", "y", "z")])
    everything = np.stack(np.meshgrid(*map(np.arange, SIZES), indexing="ij"), axis=-1).reshape(-1, 4)
    order = np.random.default_rng(0).permutation(len(everything))
    known, new = everything[order[:30]], everything[order[30:]]
    model = Surrogate.fit(encoder(known), encoder.owners, truth(known), np.random.default_rng(0))
    mean, std = model.predict(encoder(known))
    assert np.abs(mean - truth(known)).max() < 0.1 * truth(known).std()
    mean_new, std_new = model.predict(encoder(new))
    assert np.corrcoef(mean_new, truth(new))[0, 1] > 0.97
    assert std.mean() < std_new.mean()


def test_numbers_are_near_their_neighbours_and_words_are_not() -> None:
    encoder = Encoder([(1, 4, 6), ("a", "b", "c")])
    rows = encoder(np.array([[0, 0], [1, 0], [2, 0], [0, 1], [0, 2], [ABSENT, 0]]))
    distances = ((rows - rows[0]) ** 2).sum(axis=1)
    assert distances == pytest.approx([0, 0.5, 1, 1, 1, 0.5])


def test_auto_keeps_to_what_is_feasible() -> None:
    space = ChoiceSpace({f"c{k}": tuple(range(4)) for k in range(6)})

    def evaluate(choices: Choices) -> dict[str, float]:
        numbers = [float(x or 0) for x in choices.values()]
        return {"accuracy": sum(numbers) + numbers[0] * numbers[1], "latency_s": 1 + sum(numbers[2:])}

    result = pareto_search(
        space, evaluate, AXES, n_trials=50, sampler="auto", n_start=20, constraints={"latency_s": "<= 5"}
    )
    assert sum(not e.feasible for e in result.history[25:]) <= 3
    assert max(e["accuracy"] for e in result.members) >= 18


@pytest.mark.parametrize("refuses", [False, True])
def test_auto_chooses_by_what_is_known_without_an_evaluation(refuses: bool) -> None:
    """No model learns a parity, and nothing infeasible is proposed where it is told beforehand."""
    space = ChoiceSpace({f"c{k}": tuple(range(4)) for k in range(6)})

    def evaluate(choices: Choices) -> dict[str, float]:
        return {"accuracy": sum(float(x or 0) for x in choices.values())}

    def prefilter(choices: Choices) -> dict[str, float]:
        total = sum(int(x or 0) for x in choices.values())
        if refuses and total % 2:
            raise Infeasible("odd")
        return {"latency_s": 1.0 + total, "parity": total % 2}

    asked: dict[str, Any] = {"n_trials": 40, "n_start": 10, "prefilter": prefilter}
    asked |= {} if refuses else {"constraints": {"parity": "<= 0"}}
    assert not pareto_search(space, evaluate, AXES, sampler="auto", **asked).rejected
    assert len(pareto_search(space, evaluate, AXES, sampler="local", **asked).rejected) > 20


def test_auto_heeds_a_bound_that_nothing_told_has_broken() -> None:
    """The prefilter keeps what breaks the bound out of the record, and the pool within it all the same."""
    space = ChoiceSpace({f"c{k}": tuple(range(6)) for k in range(12)})
    asked: list[int] = []

    def prefilter(choices: Choices) -> dict[str, float]:
        asked.append(sum(int(x or 0) for x in choices.values()))
        return {"latency_s": 1.0 + asked[-1]}

    result = pareto_search(
        space,
        lambda choices: {"accuracy": float(sum(int(x or 0) ** 0.5 for x in choices.values()))},
        AXES,
        n_trials=40,
        sampler="auto",
        prefilter=prefilter,
        constraints={"latency_s": "<= 26"},
        progress=lambda done, _total, _name: asked.clear() if done == 24 else None,
    )
    assert not result.rejected
    assert len(asked) < 16 * 3 * auto.FORETOLD, "the first few of a pool are mostly within the bound"


def test_told_losses_decide_among_proposals() -> None:
    """Latencies that follow from nothing: of sixteen that are told, the least is far below the median."""
    space = ChoiceSpace({f"c{k}": tuple(range(4)) for k in range(8)})

    def latency_s(choices: Choices) -> float:
        return 1.0 + int(choices.digest[:8], 16) / 2**32

    result = pareto_search(
        space,
        lambda _: {"accuracy": 0.5},
        AXES,
        n_trials=40,
        sampler="auto",
        n_start=10,
        prefilter=lambda choices: {"latency_s": latency_s(choices)},
    )
    assert np.mean([e["latency_s"] for e in result.history[10:]]) < 1.25


def test_auto_with_a_prefilter_continues_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    def prefilter(choices: Any) -> dict[str, float]:
        if choices["kind"] == "leaf" and choices["size"] > 2:
            raise Infeasible("a large leaf")
        return {"latency_s": float(choices["size"] + choices.get("depth", 0))}

    def search(n_trials: int, **options: Any) -> list[str]:
        found = pareto_search(
            Conditional(),
            lambda choices: {"accuracy": float(len(choices) * choices["size"])},
            AXES,
            n_trials=n_trials,
            n_start=3,
            sampler="auto",
            prefilter=prefilter,
            constraints={"latency_s": "<= 6"},
            **options,
        )
        return [e.candidate.digest for e in (*found.history, *found.rejected)]

    for n in (4, 7, 12):
        stopped = search(n, storage=tmp_path / "study")
    assert stopped == search(12)


def test_gains_of_points_whose_losses_are_known_are_exact() -> None:
    rng = np.random.default_rng(0)
    seen = seen_of(some_points(30), rng.random((30, 2)), np.full((30, 1), -1.0))
    pool, losses = some_points(50, seed=1), rng.random((50, 2)) / 4
    gain = auto.Gain(seen, seen.front(), rng)
    gains = gain(pool, Foretold(losses, np.full((50, 1), np.nan), np.arange(50) >= 25))
    front, reference = (
        seen.losses[seen.front()],
        1.1 * seen.losses.max(axis=0) - 0.1 * seen.losses.min(axis=0),
    )
    before = hypervolume(front, reference)
    exact = [hypervolume(np.vstack([front, row]), reference) - before for row in losses]
    assert gains[:25] == pytest.approx(np.array(exact[:25]))
    assert (gains[25:] == auto.IMPOSSIBLE).all()


def test_what_is_told_of_one_point_counts_though_others_are_untold() -> None:
    rng = np.random.default_rng(0)
    points = some_points(40)
    violations = points.sum(axis=1)[:, None] - 3.5
    seen = seen_of(points, rng.random((40, 2)), violations)
    gain = auto.Gain(seen, seen.front(), rng)
    pool = some_points(30, seed=1)
    told = np.where(np.arange(30) % 2, np.nan, -1.0)[:, None]
    unknown = np.full((30, 2), np.nan)
    gains = gain(pool, Foretold(unknown, told, np.zeros(30, dtype=bool)))
    assert (gains[::2] >= 0).all(), "told to be within the bound"
    np.testing.assert_array_equal(gains[1::2], gain(pool)[1::2])


def test_what_is_foretold_is_an_array_by_name() -> None:
    points = some_points(3)
    told = iter([({"loss": 2.0}, {"b": 1.0}), ({}, {"a": -1.0, "c": 3.0}), ({"other": 1.0, "loss": 4.0}, {})])
    seen = seen_of(points, np.zeros((3, 2)), metrics=("other", "loss"))
    found = replace(seen, bounds=("a", "b"), foretell=lambda _: next(told)).foretold(points)
    nan = np.nan
    np.testing.assert_array_equal(found.losses, [[nan, 2.0], [nan, nan], [1.0, 4.0]])
    np.testing.assert_array_equal(found.violations, [[nan, 1.0], [-1.0, nan], [nan, nan]])
    np.testing.assert_array_equal(found.infeasible, [True, True, False])


def test_auto_aims_further_inside_where_the_latest_broke_a_bound() -> None:
    """The same evaluations in another order: fewer points are sure enough where the broken ones came last."""
    rng = np.random.default_rng(0)
    points = np.unique(some_points(60), axis=0)
    violations = points.sum(axis=1)[:, None] - 4.5 + rng.normal(0, 0.5, (len(points), 1))
    order = np.argsort(violations[:, 0])
    pool = seen_of(points, np.zeros((len(points), 2))).random(200, rng)

    def sure(rows: Ints) -> set[int]:
        seen = seen_of(points[rows], rng.random((len(rows), 2)), violations[rows])
        gains = auto.Gain(seen, seen.front(), np.random.default_rng(1))(pool)
        return set(np.flatnonzero(gains >= 0).tolist())

    broken_last, broken_first = sure(order), sure(order[::-1])
    assert broken_last < broken_first


@pytest.mark.parametrize(
    ("violations", "expected"), [([], 0.0), ([-1.0] * 5, 0.0), ([2.0] * 90 + [-1.0] * 10 + [1.0] * 10, 0.4)]
)
def test_the_margin_is_the_share_of_the_latest_beyond_what_is_allowed(
    violations: list[float], expected: float
) -> None:
    assert auto.margin(np.array(violations)) == pytest.approx(expected * auto.CAUTION)


def test_auto_learns_from_the_front_and_from_the_latest() -> None:
    n = 3 * auto.MAX_LEARNT
    seen = seen_of(some_points(n), np.random.default_rng(1).random((n, 2)))
    rows = auto.learnt(np.arange(n), seen.front(), np.random.default_rng(0))
    assert len(set(rows.tolist())) == len(rows) == auto.MAX_LEARNT
    assert {n - 1, *seen.front().tolist()} <= set(rows.tolist())
