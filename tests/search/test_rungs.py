"""Climbing rungs on problems whose top is known."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from mobinas.errors import Infeasible, SearchError
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.objective import Objective
from mobinas.search.choice_space import Choices
from mobinas.search.regression import lower_ends
from mobinas.search.rungs import Rung, climb

AXES = (Objective("accuracy", "maximize"), Objective("latency_s", "minimize", "s"))
CORNER = {"accuracy": 0.0, "latency_s": 1.0}


def candidates(n: int, seed: int) -> list[Choices]:
    rng = random.Random(seed)
    return [Choices({"i": i, "size": rng.random(), "luck": rng.random()}) for i in range(n)]


def truth(choices: Mapping[str, Any]) -> dict[str, float]:
    return {
        "accuracy": 0.5 * choices["size"] ** 0.5 + 0.4 * choices["luck"],
        "latency_s": choices["size"],
    }


def noisy(std: float) -> Callable[[Choices], dict[str, float]]:
    def evaluate(choices: Choices) -> dict[str, float]:
        told = truth(choices)
        rng = random.Random(f"{choices['i']} {std}")
        # A lower rung is off by more than noise: its accuracies are low, and closer to each other.
        return {**told, "accuracy": 0.1 + 0.5 * told["accuracy"] + rng.gauss(0, std)}

    return evaluate


def ladder(*stds: float) -> list[Rung[Choices]]:
    lower = [Rung(f"rung {std}", 5.0**k, noisy(std)) for k, std in enumerate(stds)]
    return [*lower, Rung("top", 5.0 ** len(stds), truth)]


def true_front(many: list[Choices]) -> ParetoFront[Choices]:
    return ParetoFront.of([Evaluation(c, {k: Value(x) for k, x in truth(c).items()}) for c in many], AXES)


@pytest.mark.parametrize("stds", [(0.02,), (0.04, 0.01)])
def test_it_reaches_the_front_for_a_fraction_of_the_cost(stds: tuple[float, ...]) -> None:
    shares, costs, equal = [], [], []
    for seed in range(3):
        many, rungs = candidates(150, seed), ladder(*stds)
        found = climb(many, rungs, AXES, seed=seed)
        best = true_front(many).hypervolume(CORNER)
        shares.append(found.front.hypervolume(CORNER) / best)
        costs.append(found.cost / (150 * rungs[-1].cost))
        same = random.Random(seed).sample(many, round(found.cost / rungs[-1].cost))
        equal.append(true_front(same).hypervolume(CORNER) / best)
        assert found.finished
        assert found.cost == sum(len(r) * rung.cost for r, rung in zip(found.reached, rungs, strict=True))
    print(f"{stds}: hypervolume {np.mean(shares):.4f}, cost {np.mean(costs):.3f}, equal {np.mean(equal):.4f}")
    assert min(shares) > 0.98 and np.mean(shares) > 0.995
    assert np.mean(costs) < 0.5
    assert np.mean(shares) > np.mean(equal) + 0.01


def test_a_rung_that_tells_all_lets_only_the_front_pass() -> None:
    many = candidates(120, 3)
    rungs = [Rung("same", 1.0, truth), Rung("top", 10.0, truth)]
    found = climb(many, rungs, AXES)
    assert {e.candidate for e in found.front} == {e.candidate for e in true_front(many)}
    assert len(found.reached[1]) <= len(found.front) + 8
    assert [a.tau for a in found.agreements] == pytest.approx([1.0, 1.0])
    assert {a.n for a in found.agreements} == {len(found.reached[1])}


def test_a_rung_that_tells_nothing_holds_almost_nobody_back() -> None:
    def blind(choices: Choices) -> dict[str, float]:
        return {
            "accuracy": random.Random(choices["i"]).random(),
            "latency_s": random.Random(-choices["i"]).random(),
        }

    def flat(choices: Choices) -> dict[str, float]:
        return {"accuracy": choices["luck"], "latency_s": 1 - choices["size"]}

    many = candidates(60, 5)
    found = climb(many, [Rung("blind", 1.0, blind), Rung("top", 10.0, flat)], AXES)
    assert len(found.reached[1]) >= 55
    (accuracy, latency) = found.agreements
    assert accuracy.low < 0 < accuracy.high and latency.low < 0.2 and latency.high > -0.2


def test_the_budget_is_kept() -> None:
    found = climb(candidates(50, 0), ladder(0.02), AXES, budget=90.0)
    assert found.cost <= 90 and not found.finished
    assert len(found.reached[0]) == 50 and len(found.reached[1]) == 8


@pytest.mark.parametrize("largest", [0.5, 0.05])
def test_what_is_infeasible_on_a_rung_does_not_climb(largest: float) -> None:
    def top(choices: Choices) -> dict[str, float]:
        if choices["size"] > largest:
            raise Infeasible("too large")
        return truth(choices)

    many = candidates(60, 1)
    found = climb(many, [Rung("low", 1.0, noisy(0.02)), Rung("top", 5.0, top)], AXES)
    assert found.finished
    assert bool(found.front) == any(c["size"] <= largest for c in many)
    assert all(e.candidate["size"] <= largest for e in found.reached[1])


@pytest.mark.parametrize("variables", [1, 2])
def test_prediction_intervals_cover_as_often_as_they_say(variables: int) -> None:
    rng, below = np.random.default_rng(0), 0
    slopes = np.array([2.0, -3.0][:variables])
    for _ in range(2000):
        x, new = rng.normal(size=(7, variables)), rng.normal(size=(1, variables))
        y = x @ slopes + 1 + rng.normal(size=7)
        below += bool(new @ slopes + 1 + rng.normal() < lower_ends(x, y, new, 0.9))
    assert below / 2000 == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rungs": ladder()}, "at least two"),
        ({"first": 3}, "first is 3"),
        ({"confidence": 1.0}, "confidence 1.0"),
        ({"rungs": ladder(0.1)[::-1]}, "from the cheapest"),
        ({"pioneers": candidates(30, 0)[25:]}, "not among the candidates"),
        ({"also": ["params"]}, "tells no 'params'"),
        ({"candidates": candidates(1, 0) * 2}, "each once"),
        (
            {"rungs": [Rung("a", 1.0, lambda _: {"accuracy": 1.0}), *ladder(0.1)]},
            "rung 'a' tells no 'latency_s'",
        ),
    ],
)
def test_bad_input(change: dict[str, Any], text: str) -> None:
    settings: dict[str, Any] = {"candidates": candidates(20, 0), "rungs": ladder(0.1), "objectives": AXES}
    with pytest.raises(SearchError, match=text):
        climb(**{**settings, **change})
    with pytest.raises(SearchError, match="costs -1"):
        Rung("x", -1, truth)
