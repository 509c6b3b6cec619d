"""What is special about single samplers, and what they learn with; the contracts hold for all of them."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobinas.errors import Infeasible
from mobinas.metrics.hypervolume import hypervolume
from mobinas.metrics.objective import Objective
from mobinas.metrics.score import score
from mobinas.search.choice_space import Choices, ChoiceSpace
from mobinas.search.improvement import expected_hypervolume_improvement
from mobinas.search.journal import new_study
from mobinas.search.samplers import auto, evolution, gp, local, make_sampler, qmc, reinforce
from mobinas.search.seen import ABSENT, Floats, Foretold, Ints, Seen
from mobinas.search.study import pareto_search
from mobinas.search.surrogate import Encoder, Surrogate

AXES = (Objective("accuracy", "maximize"), Objective("latency_s", "minimize", "s"))
SIZES = (3, 2, 4, 3)


def seen_of(points: Any, losses: Any, violations: Any = None, metrics: tuple[str, ...] = ()) -> Seen:
    rows = np.array(points, dtype=np.int64)
    options: dict[str, tuple[Any, ...]] = {f"c{k}": tuple(range(size)) for k, size in enumerate(SIZES)}
    beyond = np.zeros((len(rows), 0)) if violations is None else np.array(violations, dtype=float)
    asked = frozenset(row.tobytes() for row in rows)
    bounds = tuple(f"bound{k}" for k in range(beyond.shape[1]))
    return Seen(options, rows, np.array(losses, dtype=float), beyond, asked, metrics, bounds=bounds)


def some_points(n: int, seed: int = 0) -> Ints:
    return np.random.default_rng(seed).integers(0, SIZES, (n, len(SIZES)))


def conditional(choose: Any) -> Choices:
    """A choice that exists only beside another's option, and one that exists only beside that."""
    chosen: dict[str, Any] = {"kind": choose("kind", ("leaf", "branch", "tree"))}
    if chosen["kind"] != "leaf":
        chosen["depth"] = choose("depth", (1, 2, 3))
        if chosen["depth"] == 3:
            chosen["crown"] = choose("crown", ("a", "b"))
    chosen["size"] = choose("size", (1, 2, 3, 4))
    return Choices(chosen)


class Conditional:
    def build(self, choose: Any) -> Choices:
        return conditional(choose)

    def encode(self, candidate: Choices) -> dict[str, Any]:
        return dict(candidate)


def study_of(n: int, seed: int = 0) -> optuna.Study:
    rng, study = random.Random(seed), new_study(AXES)
    for _ in range(n):
        distributions: dict[str, Any] = {}

        def choose(name: str, options: Any, known: dict[str, Any] = distributions) -> Any:
            known[name] = optuna.distributions.CategoricalDistribution(options)
            return rng.choice(options)

        params = dict(conditional(choose))
        values = [rng.random(), rng.random()]
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, values=values))
    return study


def test_what_is_seen_is_what_was_told() -> None:
    study = study_of(60)
    seen = Seen.of(study)
    assert set(seen.options) == {"kind", "depth", "crown", "size"}
    assert [seen.params(point) for point in seen.points] == [trial.params for trial in study.trials]
    assert np.array_equal(seen.losses, [(-t.values[0], t.values[1]) for t in study.trials])
    assert len(seen.unseen(seen.points)) == 0


def test_points_have_the_choices_that_exist_beside_the_others() -> None:
    seen, rng = Seen.of(study_of(60)), np.random.default_rng(0)
    drawn = seen.random(300, rng)
    changed = seen.mutated(drawn, 2, rng)
    assert (changed != drawn).any(axis=1).all()
    for point in np.concatenate([drawn, changed]):
        params = seen.params(point)
        assert params == dict(conditional(lambda name, options, params=params: params.get(name)))


@pytest.mark.parametrize("sampler", ["auto", "evolution", "local", "qmc", "reinforce"])
def test_choices_that_depend_on_others_are_searched_to_the_end(sampler: str) -> None:
    def evaluate(choices: Choices) -> dict[str, float]:
        depth = float(choices.get("depth") or 0)
        size = float(choices["size"] or 0)
        return {"accuracy": depth + size + (choices.get("crown") == "b"), "latency_s": 1 + depth * size}

    result = pareto_search(Conditional(), evaluate, AXES, n_trials=60, sampler=sampler, n_start=6)
    assert len(result.history) == 4 + 2 * 4 * (1 + 1 + 2)
    assert result.exhausted


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


def test_aging_forgets_the_best() -> None:
    """A point that dominates all others has children while it lives, and none when it is too old."""
    n = evolution.POPULATION
    losses = np.concatenate([[[0.0, 0.0]], np.random.default_rng(0).uniform(1, 2, (n, 2))])
    best = [2, 1, 3, 2]
    points = np.concatenate([[best], np.zeros((n, 4), dtype=np.int64)])

    def of_the_best(seen: Seen) -> int:
        children = [evolution.propose(seen, np.random.default_rng(seed))[0] for seed in range(40)]
        return sum(int((child != best).sum()) == 1 for child in children)

    assert of_the_best(seen_of(points[:n], losses[:n])) > 0
    assert of_the_best(seen_of(points, losses)) == 0


def test_tournaments_go_to_the_feasible_then_the_front_then_the_lonely() -> None:
    losses = [(1, 4), (2, 2), (2.1, 1.9), (4, 1), (0, 0), (3, 3)]
    broken = [[-1], [-1], [-1], [-1], [2], [-1]]
    seen = seen_of(some_points(6), losses, broken)
    assert evolution.winner(seen, np.array([4, 5])) == 1
    assert evolution.winner(seen, np.array([5, 1])) == 1
    assert evolution.winner(seen, np.array([1, 2, 3, 0])) in (2, 3)
    assert evolution.winner(seen_of(some_points(2), losses[:2], [[3], [2]]), np.array([0, 1])) == 1


def test_local_search_proposes_unseen_neighbours_of_the_front_in_turn() -> None:
    points = some_points(12, 3)
    seen = seen_of(points, np.random.default_rng(0).random((12, 2)))
    front = points[seen.front()]
    for seed in range(30):
        proposed = local.propose(seen, np.random.default_rng(seed))[0]
        assert ((front != proposed).sum(axis=1) == 1).any()
        assert len(seen.unseen(proposed[None])) == 1
    whole = local.neighbours(seen, points[0], np.random.default_rng(0))
    assert len(np.unique(whole, axis=0)) == sum(SIZES) - len(SIZES)
    assert ((whole != points[0]).sum(axis=1) == 1).all()


def test_rewards_are_scores_where_the_objectives_have_their_names() -> None:
    losses = [(-0.9, 1e-3), (-0.8, 5e-4), (-0.7, 1e-4), (-0.1, 1e-5)]
    seen = seen_of(some_points(4), losses, [[-1], [-1], [-1], [1]], ("accuracy", "latency_s"))
    rewards = reinforce.rewards(seen)
    scores = [score(-a, b) for a, b in losses[:3]]
    assert np.corrcoef(rewards[:3], scores)[0, 1] == pytest.approx(1)
    assert rewards[3] == min(rewards)
    other = reinforce.rewards(seen_of(some_points(3), [(0, 9), (1, 1), (3, 8)]))
    assert np.argmax(other) == 1


def test_the_policy_turns_to_what_is_rewarded() -> None:
    points = some_points(200)
    seen = seen_of(points, np.zeros((200, 2)))
    policy = reinforce.policy(seen, (points[:, 2] == 3) - 0.5)
    assert policy.sum(axis=1) == pytest.approx(np.ones(4))
    assert policy[1, 2:].sum() == 0
    assert np.argmax(policy[2]) == 3 and policy[2, 3] > 0.6


def test_the_policy_follows_the_gradient() -> None:
    """One trial: d log p / d logit is the indicator minus the probability."""
    seen = seen_of([[1, 0, 2, 1], [1, 0, 2, 1]], np.zeros((2, 2)))
    logits = np.log(reinforce.policy(seen, np.array([0.0, 1.0]))[0, :3])
    step = reinforce.LEARNING_RATE
    assert logits - logits[0] == pytest.approx([0, step, 0])


def test_a_sobol_sequence_is_even() -> None:
    points = some_points(1)
    while len(points) < 24:
        seen = seen_of(points, np.zeros((len(points), 2)))
        points = np.vstack([points, qmc.propose(seen, np.random.default_rng(0))])
    counts = [np.bincount(points[:, k], minlength=size) for k, size in enumerate(SIZES)]
    assert all(column.max() - column.min() <= 6 for column in counts)


@pytest.mark.parametrize("sampler", ["auto", "evolution", "local", "reinforce"])
def test_they_learn(sampler: str) -> None:
    """In the mean over seeds, more volume than random draws after as many evaluations."""
    space = ChoiceSpace({f"c{k}": tuple(range(4)) for k in range(8)})

    def evaluate(choices: Choices) -> dict[str, float]:
        numbers = [float(x or 0) for x in choices.values()]
        return {
            "accuracy": sum(numbers[:4]) / 12 - 0.01 * sum(numbers[4:]),
            "latency_s": (1 + sum(k * x for k, x in enumerate(numbers))) / 100,
        }

    def volume(name: str) -> float:
        results = [
            pareto_search(space, evaluate, AXES, n_trials=60, sampler=name, seed=s, n_start=10)
            for s in (0, 1)
        ]
        return float(np.mean([r.front.hypervolume((0.0, 1.0)) for r in results]))

    assert volume(sampler) > volume("random")


def test_gp_learns_the_unknown_of_infeasible_trials_as_nothing_special() -> None:
    study = new_study(AXES)
    told = [({"accuracy": 0.25, "latency_s": 2.0}, {}), ({"accuracy": 0.75, "latency_s": 4.0}, {"x": 0.5})]
    unknown: list[tuple[dict[str, float], dict[str, float]]] = [({"latency_s": 9.0}, {"y": 1.0})]
    for values, constraints in told + unknown:
        study.add_trial(
            optuna.create_trial(
                values=[values.get("accuracy", 0.0), values["latency_s"]],
                user_attrs={"mobinas:values": values},
                constraints=constraints,
            )
        )
    learnt = gp.completed(study)
    assert [t.values for t in learnt] == [[0.25, 2.0], [0.75, 4.0], [0.5, 9.0]]
    assert [t.constraints for t in learnt] == [{"x": -1, "y": -1}, {"x": 0.5, "y": -1}, {"x": -1, "y": 1}]


@pytest.mark.parametrize("early", [True, False])
def test_gp_goes_on_where_constraints_differ(early: bool) -> None:
    def evaluate(choices: Choices) -> dict[str, float]:
        if not early and choices["a"] == 2:
            raise Infeasible("does not fit")
        accuracy = choices["a"] + 0.1 * choices["b"]
        return {"accuracy": accuracy} if early else {"accuracy": accuracy, "latency_s": accuracy**2}

    result = pareto_search(
        ChoiceSpace({"a": (0, 1, 2), "b": (0, 1, 2, 3, 4, 5)}),
        evaluate,
        AXES,
        n_trials=12,
        n_start=10,
        sampler="gp",
        prefilter=(lambda c: {"latency_s": float(c["a"] ** 2)}) if early else None,
        constraints={"latency_s": "<= 3", "accuracy": ">= 0.05"} if early else None,
    )
    assert len(result.history) == 12
    assert result.rejected if early else not all(e.feasible for e in result.history)


def test_making_one_says_nothing() -> None:
    """Warnings are errors here."""
    assert all(make_sampler(name, 0) for name in ("gp", "nsga3"))
