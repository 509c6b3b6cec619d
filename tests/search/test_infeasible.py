"""What a search does with candidates that are infeasible, known before or found out."""

from typing import Any

import pytest
from small_search import AXES, SMALL, answer, everything, refuse

from mobinas.errors import Infeasible
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.objective import Objective
from mobinas.search.choice_space import Choices, ChoiceSpace
from mobinas.search.study import pareto_search


def test_constraints_known_beforehand_spare_the_evaluation() -> None:
    evaluated: list[float] = []

    def prefilter(choices: Choices) -> dict[str, float]:
        return {"latency_s": answer(choices)["latency_s"], "params": 10.0 * choices["a"]}

    def evaluate(choices: Choices) -> dict[str, float]:
        evaluated.append(answer(choices)["latency_s"])
        return {"accuracy": answer(choices)["accuracy"]}

    result = pareto_search(
        SMALL,
        evaluate,
        AXES,
        n_trials=50,
        prefilter=prefilter,
        n_start=4,
        constraints={"latency_s": "<= 0.0025", "params": (">=", 5)},
    )
    assert max(evaluated) <= 0.0025
    allowed = [e for e in everything() if e["latency_s"] <= 0.0025 and e.candidate["a"] >= 1]
    assert {e.candidate.digest for e in result.history} == {e.candidate.digest for e in allowed}
    assert [e.candidate for e in result.members] == [e.candidate for e in ParetoFront.of(allowed, AXES)]
    assert all(e["params"] >= 5 for e in result.members)
    assert result.rejected
    assert all(not e.feasible and "breaks" in e.error for e in result.rejected)


@pytest.mark.parametrize("sampler", ["random", "nsga2"])
def test_a_large_space_of_which_little_is_feasible_is_searched_to_the_end(sampler: str) -> None:
    space = ChoiceSpace({f"x{i}": (0, 1, 2) for i in range(10)})
    assert space.size() > 20_000, "too large to be looked at whole"

    def price(choices: Choices) -> dict[str, float]:
        return {"price": sum((x - 1) ** 2 * (1 + i % 3) for i, x in enumerate(choices.values()))}

    result = pareto_search(
        space,
        lambda c: {"sum": sum(c.values())},
        (Objective("sum", "maximize"),),
        n_trials=60,
        sampler=sampler,
        prefilter=price,
        constraints={"price": "<= 2"},
    )
    feasible = 1 + 2 * 4 + 4 * 4 * 3 // 2 + 2 * 3
    assert result.exhausted and len(result.history) == feasible == 39


def test_constraints_known_afterwards_keep_off_the_front() -> None:
    result = pareto_search(
        SMALL, answer, AXES, n_trials=24, constraints={"latency_s": "<= 0.0025"}, n_start=4
    )
    assert all(e["latency_s"] <= 0.0025 for e in result.members)
    assert any(not e.feasible for e in result.history)
    assert not result.rejected


@pytest.mark.parametrize("bounds", [{}, {"latency_s": "<= 0.0025"}])
@pytest.mark.parametrize("sampler", ["auto", "nsga2", "random"])
def test_a_prefilter_may_find_candidates_infeasible(sampler: str, bounds: dict[str, str]) -> None:
    def prefilter(choices: Choices) -> dict[str, float]:
        if choices["c"] == "x":
            raise Infeasible("x does not fit")
        return {"latency_s": answer(choices)["latency_s"]}

    def evaluate(choices: Choices) -> dict[str, float]:
        return {"accuracy": answer(choices)["accuracy"]}

    asked: dict[str, Any] = {"n_trials": 24, "n_start": 4, "sampler": sampler, "constraints": bounds}
    result = pareto_search(SMALL, evaluate, AXES, prefilter=prefilter, **asked)
    fits = [e for e in everything() if e.candidate["c"] == "y"]
    allowed = [e for e in fits if not bounds or e["latency_s"] <= 0.0025]
    assert {e.candidate.digest for e in result.history} == {e.candidate.digest for e in allowed}
    assert [e.candidate for e in result.members] == [e.candidate for e in ParetoFront.of(allowed, AXES)]
    assert {e.error for e in result.rejected if e.candidate["c"] == "x"} == {"x does not fit"}


@pytest.mark.parametrize("bounds", [{}, {"latency_s": "<= 0.0025"}])
@pytest.mark.parametrize("who", ["prefilter", "evaluate"])
def test_where_all_is_found_infeasible_the_last_reason_is_told(who: str, bounds: dict[str, str]) -> None:
    asked: dict[str, Any] = {"evaluate": answer, who: lambda _: refuse()}
    with pytest.raises(Infeasible, match=r"^none of \d+ candidates is feasible, the last: too big$"):
        pareto_search(SMALL, objectives=AXES, n_trials=5, n_start=4, constraints=bounds, **asked)


def test_a_prefilter_that_leaves_little_stops_no_search_that_can_succeed() -> None:
    """Draws find nothing that is not refused, but what is given to begin with is fine."""
    space = ChoiceSpace({f"x{i}": tuple(range(6)) for i in range(12)})

    def prefilter(choices: Choices) -> dict[str, float]:
        if sum(choices.values()) > 4:
            raise Infeasible("too large")
        return {"latency_s": float(sum(choices.values()))}

    result = pareto_search(
        space,
        lambda choices: {"accuracy": float(choices["x0"])},
        AXES,
        n_trials=3,
        sampler="random",
        start=lambda _rng: [Choices({x: int(x == f"x{k}") for x in space.choices}) for k in range(3)],
        prefilter=prefilter,
        constraints={"latency_s": "<= 5"},
    )
    assert len(result.history) == 3 and all(e.feasible for e in result.history)


@pytest.mark.parametrize("early", [True, False])
def test_an_impossible_constraint_names_the_nearest_value(early: bool) -> None:
    with pytest.raises(Infeasible, match=r"latency_s <= 0\.0005 \(nearest: 0\.001\)"):
        pareto_search(
            SMALL,
            answer,
            AXES,
            n_trials=50,
            n_start=4,
            constraints={"latency_s": "<= 0.0005"},
            prefilter=answer if early else None,
        )


def test_constraints_that_exclude_each_other_name_the_nearest_candidate() -> None:
    text = (
        r"^none of 24 candidates meets latency_s <= 0.002 and accuracy >= 0.4 at once \(nearest: latency_s "
    )
    bounds = {"latency_s": "<= 0.002", "accuracy": ">= 0.4"}
    with pytest.raises(Infeasible, match=text + r"0\.002 with accuracy 0\.3\)"):
        pareto_search(SMALL, answer, AXES, n_trials=24, n_start=4, sampler="random", constraints=bounds)


# The second bound is told by evaluations alone.
@pytest.mark.parametrize("bounds", [{"latency_s": "<= 0.002"}, {"latency_s": "<= 1", "accuracy": ">= 0"}])
def test_a_bound_that_something_meets_is_not_to_blame(bounds: dict[str, str]) -> None:
    with pytest.raises(Infeasible, match=r"^none of 5 candidates is feasible, the last: too big$"):
        pareto_search(
            SMALL,
            lambda _: refuse(),
            AXES,
            n_trials=5,
            sampler="random",
            constraints=bounds,
            prefilter=lambda c: {"latency_s": answer(c)["latency_s"]},
        )


def test_an_evaluation_may_find_its_candidate_infeasible() -> None:
    def evaluate(choices: Choices) -> dict[str, float]:
        if choices["a"] == 3:
            raise Infeasible("too much memory")
        return answer(choices)

    result = pareto_search(SMALL, evaluate, AXES, n_trials=24, n_start=4)
    assert {e.error for e in result.history if not e.feasible} == {"too much memory"}
    assert all(e.candidate["a"] < 3 for e in result.members)
