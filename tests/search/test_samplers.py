"""What is special about single samplers, and what they learn with; the contracts hold for all of them."""

import random
from typing import Any

import numpy as np
import optuna
import pytest
from seen_points import AXES, SIZES, Conditional, conditional, seen_of, some_points

from mobinas.errors import Infeasible
from mobinas.metrics.score import score
from mobinas.search.choice_space import Choices, ChoiceSpace
from mobinas.search.journal import new_study
from mobinas.search.samplers import evolution, gp, local, make_sampler, qmc, reinforce
from mobinas.search.seen import Seen
from mobinas.search.study import pareto_search


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
