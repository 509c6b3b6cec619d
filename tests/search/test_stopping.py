"""The stopping rule."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mobinas.errors import SearchError
from mobinas.metrics.convergence import expected_improvement
from mobinas.metrics.objective import Objective
from mobinas.search.choice_space import ChoiceSpace
from mobinas.search.stopping import WINDOW
from mobinas.search.study import pareto_search

AXES = (Objective("gain", "maximize"), Objective("price", "minimize"))
SPACE = ChoiceSpace({f"x{i}": tuple(range(8)) for i in range(4)})


def evaluate(choices: Mapping[str, Any]) -> dict[str, float]:
    values = [choices[f"x{i}"] for i in range(4)]
    return {"gain": sum(values), "price": values[0] ** 2 + 3 * values[1]}


def plateau(choices: Mapping[str, Any]) -> dict[str, float]:
    """Almost everything is dominated: what is found early is all there is."""
    return {"gain": min(choices["x0"], 1), "price": min(choices["x1"], 1) + 0.001 * choices["x2"]}


def search(function: Any, **more: Any) -> Any:
    return pareto_search(SPACE, function, AXES, n_trials=120, sampler="random", n_start=10, **more)


def test_it_stops_where_nothing_is_to_be_gained() -> None:
    result = search(plateau, stop_below=0.01)
    assert result.converged and not result.exhausted
    assert 10 + WINDOW <= len(result.history) < 120
    corner = {"gain": -1.0, "price": 2.0}
    assert result.hypervolume(corner) > 0.99 * search(plateau).hypervolume(corner)


def test_it_stops_at_the_first_moment_that_the_rule_holds() -> None:
    whole = search(evaluate).history
    first = next(
        n for n in range(10 + WINDOW, len(whole) + 1) if expected_improvement(whole[:n], AXES, WINDOW) < 0.004
    )
    assert first < 120
    assert search(evaluate, stop_below=0.004).history == whole[:first]


def test_a_tiny_share_never_stops_early() -> None:
    result = search(evaluate, stop_below=1e-9)
    assert len(result.history) >= 60


def test_it_may_change_on_a_storage_and_ends_alike(tmp_path: Path) -> None:
    first = search(evaluate, storage=tmp_path / "s", stop_below=0.004)
    again = search(evaluate, storage=tmp_path / "s", stop_below=0.004)
    assert again.history == first.history and again.converged
    assert len(search(evaluate, storage=tmp_path / "s").history) == 120


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_beyond_reason_is_refused(share: float) -> None:
    with pytest.raises(SearchError, match="give a share between 0 and 1"):
        search(evaluate, stop_below=share)
