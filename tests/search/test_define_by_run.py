"""Spaces from functions that ask as they go."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from mobinas.errors import Infeasible, SearchError
from mobinas.metrics.objective import Objective
from mobinas.search.choice_space import Choices, enumerate_space
from mobinas.search.define_by_run import POINTS, DefinedSpace, DefinedTrial, built
from mobinas.search.study import pareto_search


def build(trial: DefinedTrial) -> list[int]:
    """Choices that depend on choices."""
    widths = [trial.suggest_int(f"width {i}", 2, 6, step=2) for i in range(trial.suggest_int("depth", 1, 2))]
    if trial.suggest_categorical("wide", (False, True)):
        widths = [w * trial.suggest_categorical("factor", (10, 20)) for w in widths]
    return widths


def every() -> list[list[int]]:
    plain = [list(w) for n in (1, 2) for w in itertools.product((2, 4, 6), repeat=n)]
    return plain + [[w * f for w in widths] for widths in plain for f in (10, 20)]


def test_all_that_can_be_asked_is_the_space() -> None:
    found = [built(build, candidate) for candidate, _ in enumerate_space(DefinedSpace(build), 1000)]
    assert sorted(found) == sorted(every())


def test_a_search_of_it_finds_the_best_and_resumes(tmp_path: Path) -> None:
    axes = (Objective("sum", "maximize"), Objective("n", "minimize"))

    def evaluate(choices: Choices) -> dict[str, float]:
        return {"sum": sum(built(build, choices)), "n": len(built(build, choices))}

    def search(n: int, **more: Any) -> Any:
        return pareto_search(DefinedSpace(build), evaluate, axes, n_trials=n, n_start=5, **more)

    whole = search(100)
    assert len(whole.history) == len(every())
    assert [(e["sum"], e["n"]) for e in whole.front] == [(240, 2), (120, 1)]
    search(7, storage=tmp_path / "s")
    assert search(20, storage=tmp_path / "s").history == search(20).history


@pytest.mark.parametrize("sampler", ["random", "auto"])
def test_a_build_that_fails_is_a_failed_or_infeasible_candidate(sampler: str) -> None:
    def picky(trial: DefinedTrial) -> list[int]:
        width = trial.suggest_int("width", 1, 9)
        if width == 3:
            raise ValueError("3 does not work")
        if width == 4:
            raise Infeasible("too wide")
        return [width, trial.suggest_int("depth", 1, 2)]

    def evaluate(choices: Choices) -> dict[str, float]:
        return {"sum": sum(built(picky, choices))}

    axes = (Objective("sum", "maximize"),)
    result = pareto_search(DefinedSpace(picky), evaluate, axes, n_trials=99, n_start=5, sampler=sampler)
    assert len(result.history) == 7 * 2 + 2
    failed = {e.candidate["width"]: e for e in result.history if e.error}
    assert failed.keys() == {3, 4}
    assert "ValueError: 3 does not work" in failed[3].error and failed[3].feasible
    assert failed[4].error == "too wide" and not failed[4].feasible
    assert result.knee()["sum"] == 11


def test_a_build_that_asks_for_what_cannot_be_meant_ends_the_search() -> None:
    space = DefinedSpace(lambda trial: trial.suggest_int("width", 3, 1))
    with pytest.raises(SearchError, match="'width' goes from 3 to 1"):
        pareto_search(space, lambda _: {}, (Objective("sum", "maximize"),), n_trials=3)


def test_numbers_come_from_grids() -> None:
    offered: dict[str, tuple[Any, ...]] = {}

    def choose(name: str, options: Any, /) -> Any:
        offered[name] = options
        return options[-1]

    trial = DefinedTrial(choose)
    assert trial.suggest_float("drop", 0.0, 0.3, step=0.1) == pytest.approx(0.3)
    assert trial.suggest_float("rate", 1e-4, 1.0, log=True) == 1.0
    assert trial.suggest_int("width", 8, 512, log=True) == 512
    assert trial.suggest_float("share", 0.0, 1.0) == 1.0
    assert offered["drop"] == pytest.approx((0.0, 0.1, 0.2, 0.3))
    assert len(offered["rate"]) == len(offered["share"]) == POINTS
    assert offered["rate"][1] / offered["rate"][0] == pytest.approx(10 ** (4 / 16))
    assert offered["width"][0] == 8 and all(isinstance(w, int) for w in offered["width"])
    assert trial.suggest_int("width", 8, 512, log=True) == 512


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda t: t.suggest_categorical("a", ()), "'a' has options .*; give a sequence"),
        (lambda t: t.suggest_categorical("a", {1, 2}), "'a' has options {1, 2}; give a sequence"),
        (lambda t: t.suggest_int("a", 3, 2), "from 3 to 2; it needs low <= high"),
        (lambda t: t.suggest_int("a", 0, 2, log=True), "needs 0 < low"),
        (lambda t: t.suggest_int("a", 0, 2, step=0), "step 0"),
        (lambda t: t.suggest_float("a", 0.0, 2.0, step=-1.0), "step -1.0"),
        (lambda t: t.suggest_float("a", 0.0, float("nan")), "both finite"),
        (lambda t: t.suggest_int("a", 0, 2) + t.suggest_int("a", 0, 3), "two sets of options"),
    ],
)
def test_bad_input(ask: Any, text: str) -> None:
    with pytest.raises(SearchError, match=text):
        DefinedSpace(ask).build(lambda _name, options: options[0])


def test_a_function_that_depends_on_more_than_its_trial_is_told() -> None:
    with pytest.raises(SearchError, match="asks for 'width 0' from"):
        built(build, Choices({"depth": 1, "wide": False}))
