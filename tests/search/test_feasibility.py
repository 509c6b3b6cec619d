"""What constraints leave of a space, against spaces small enough to count."""

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.space import SearchSpace
from mobinas.errors import Infeasible, SearchError
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.metrics.evaluation import Value
from mobinas.metrics.objective import Objective
from mobinas.search.choice_space import Choices, ChoiceSpace
from mobinas.search.feasibility import feasibility
from mobinas.search.study import pareto_search

SMALL = ChoiceSpace({"a": (0, 1, 2, 3), "b": (0.0, 0.5, 1.0)})
# A draw meets sum == 0 once in 4^10.
LARGE = ChoiceSpace({f"x{i}": (3, 1, 0, 2) for i in range(10)})


def total(many: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    return [{"total": sum(one.values()), "half": Value(sum(one.values()) / 2).x} for one in many]


def test_a_small_space_is_counted() -> None:
    found = feasibility(SMALL, total, {"total": "<= 1"})
    sums = [a + b for a, b in itertools.product(*SMALL.choices.values())]
    assert found.exact and found.n == 12
    assert found.share == sum(s <= 1 for s in sums) / 12
    assert found.share_bounds == (found.share, found.share)
    assert (found.ranges["half"].low, found.ranges["half"].high) == (0, 2)
    assert found.ranges["half"].allowed == (0, 0.5)
    assert dict(found.ranges["total"].lowest) == {"a": 0, "b": 0.0}
    assert found.lines() == (
        "33.3% of the space meets total <= 1",
        "total can be 0 to 4; within the constraints 0 to 1",
        "half can be 0 to 2; within the constraints 0 to 0.5",
    )


def test_the_ends_of_a_large_space_are_found_though_never_drawn() -> None:
    found = feasibility(LARGE, total, {"total": "<= 15"}, draws=200)
    assert not found.exact and found.n == 200
    assert (found.ranges["total"].low, found.ranges["total"].high) == (0, 30)
    low, high = found.share_bounds
    rng = random.Random(1)
    truth = sum(sum(rng.choice(range(4)) for _ in range(10)) <= 15 for _ in range(20_000)) / 20_000
    assert low < truth < high
    assert "95 %" in found.lines()[0]


def test_what_is_rare_is_not_called_impossible() -> None:
    found = feasibility(LARGE, total, {"total": "<= 0"}, draws=50, ends=False)
    assert found.met == 0 and found.feasible
    found.check()


@pytest.mark.parametrize(("space", "bound"), [(SMALL, ">= 4.5"), (LARGE, ">= 30.5")])
def test_the_impossible_names_the_nearest(space: ChoiceSpace, bound: str) -> None:
    highest = 4 if space is SMALL else 30
    with pytest.raises(Infeasible, match=rf"total {bound} \(nearest: {highest}\); loosen"):
        feasibility(space, total, {"total": bound}, draws=50).check()


def test_two_constraints_that_exclude_each_other() -> None:
    found = feasibility(LARGE, total, {"total": "<= 3", "half": ">= 2"}, draws=50)
    assert found.nearest == {"total <= 3": 0, "half >= 2": 15}
    assert not found.feasible and found.ranges["total"].allowed is None
    with pytest.raises(
        Infeasible, match=r"total <= 3 and half >= 2 at once \(nearest: total \d with half \d"
    ):
        found.check()


def test_extremes_count_for_ranges_but_not_for_shares() -> None:
    space = SearchSpace(Task(2, 1), (8, 12), (2, 3), (4, 8), (("skip_connect", "conv_3x3"),), nodes=2)

    def known(many: Sequence[Architecture]) -> list[dict[str, float]]:
        return [{"macs": cost(lower(one)).macs} for one in many]

    smallest = min(known(space.single_op_architectures()), key=lambda v: v["macs"])["macs"]
    found = feasibility(
        space, known, {"macs": f"<= {smallest}"}, draws=30, extremes=space.single_op_architectures()
    )
    assert found.n == 30
    assert found.ranges["macs"].low <= smallest
    assert found.feasible


def test_bad_input() -> None:
    with pytest.raises(SearchError, match="unknown 'totl'; did you mean 'total'"):
        feasibility(SMALL, total, {"totl": "<= 1"})


def test_without_a_constraint_only_the_ranges_are_told() -> None:
    found = feasibility(LARGE, total, {})
    assert found.share == 1.0 and found.feasible
    assert found.lines() == ("total can be 0 to 30", "half can be 0 to 15")


def test_a_search_stops_before_its_first_evaluation() -> None:
    def evaluate(_: Choices) -> dict[str, float]:
        raise AssertionError("nothing is to be evaluated")

    with pytest.raises(Infeasible, match=r"total <= -1 \(nearest: 0\)"):
        pareto_search(
            LARGE,
            evaluate,
            [Objective("gain", "maximize")],
            constraints={"total": "<= -1"},
            prefilter=lambda choices: total([choices])[0],
            n_trials=5,
        )
