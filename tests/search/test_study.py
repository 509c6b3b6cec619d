"""The front search on problems whose answer is known."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_search import AXES, SMALL, answer, everything

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.space import SearchSpace
from mobinas.errors import SearchError
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.metrics.evaluation import Value
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.objective import Objective
from mobinas.metrics.result import SearchResult
from mobinas.search.choice_space import Choices
from mobinas.search.record import FAILURES_IN_A_ROW
from mobinas.search.samplers import sampler_names
from mobinas.search.study import pareto_search


def trace(result: SearchResult[Any]) -> list[tuple[str, bool, dict[str, Value]]]:
    runs = (*result.history, None, *result.rejected)
    return [(e.candidate.digest, e.feasible, dict(e.values)) for e in runs if e is not None]


@pytest.mark.parametrize(
    "sampler",
    [pytest.param(n, marks=[pytest.mark.slow] if n in ("gp", "tpe") else []) for n in sampler_names()],
)
def test_an_exhausted_space_gives_the_true_front(sampler: str) -> None:
    asked: Counter[str] = Counter()

    def evaluate(choices: Choices) -> dict[str, float]:
        asked[choices.digest] += 1
        return answer(choices)

    result = pareto_search(SMALL, evaluate, AXES, n_trials=100, sampler=sampler, n_start=6)
    assert result.exhausted
    assert set(asked.values()) == {1}
    assert len(result.history) == len(asked) == SMALL.size()
    assert result.front == ParetoFront.of(everything(), AXES)


def test_the_budget_counts_distinct_evaluations() -> None:
    result = pareto_search(SMALL, answer, AXES, n_trials=9, n_start=3)
    assert len({e.candidate.digest for e in result.history}) == len(result.history) == 9
    assert not result.exhausted


def test_isomorphic_architectures_are_evaluated_once() -> None:
    space = SearchSpace(Task(2, 1), (4,), (2,), (2,), (("skip_connect", "conv_3x3"),), nodes=2)
    seen: list[str] = []

    def evaluate(architecture: Architecture) -> dict[str, float]:
        seen.append(architecture.digest)
        return {"macs": cost(lower(architecture)).macs}

    result = pareto_search(space, evaluate, (Objective("macs", "minimize"),), n_trials=60, sampler="random")
    assert len(set(seen)) == len(seen) == 60
    assert len(result.history) == 60


def test_a_failing_evaluation_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    def evaluate(choices: Choices) -> dict[str, float]:
        if choices["a"] == 3 and choices["c"] == "x":
            raise RuntimeError("boom")
        return answer(choices)

    for _ in range(2):  # the second time from the storage
        result = pareto_search(SMALL, evaluate, AXES, n_trials=24, n_start=4, storage=tmp_path / "study")
        failed = [e for e in result.history if e.error]
        assert len(failed) == 3
        assert all("RuntimeError: boom" in e.error for e in failed)


def test_failures_in_a_row_end_the_search() -> None:
    calls = []

    def evaluate(choices: Choices) -> dict[str, float]:
        calls.append(choices)
        raise RuntimeError("boom\n  and more")

    with pytest.raises(
        SearchError, match=r"^5 evaluations in a row failed, the last of .* \(a=.*\) with RuntimeError: boom$"
    ):
        pareto_search(SMALL, evaluate, AXES, n_trials=24)
    assert len(calls) == FAILURES_IN_A_ROW


def test_an_evaluation_that_exits_has_failed() -> None:
    def evaluate(choices: Choices) -> dict[str, float]:
        if choices["a"] == 2 and choices["c"] == "x":
            sys.exit("no more")
        return answer(choices)

    result = pareto_search(SMALL, evaluate, AXES, n_trials=24, n_start=4)
    assert [e.reason for e in result.history if e.error] == ["SystemExit: no more"] * 3
    assert len(result.history) == 24


def test_start_draws_the_first_candidates() -> None:
    def start(rng: Any) -> Iterator[Choices]:
        yield Choices({"a": 1, "b": 0.0, "c": "x", "d": "only"})
        while True:
            yield Choices({"a": 3, "b": rng.choice((0.0, 0.5)), "c": "y", "d": "only"})

    result = pareto_search(SMALL, answer, AXES, n_trials=8, start=start, n_start=3)
    assert [e.candidate["a"] for e in result.history[:3]] == [1, 3, 3]
    assert len(result.history) == 8


def test_values_keep_their_source(tmp_path: Path) -> None:
    def evaluate(choices: Choices) -> dict[str, Value | float]:
        return {**answer(choices), "latency_s": Value(0.25, "s", 0.5, "predicted")}

    for _ in range(2):
        result = pareto_search(SMALL, evaluate, AXES, n_trials=3, storage=tmp_path / "study")
        assert {e.values["latency_s"] for e in result.history} == {Value(0.25, "s", 0.5, "predicted")}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"objectives": (AXES[0], AXES[0])}, "two objectives are named 'accuracy'"),
        ({"objectives": ()}, "at least one objective"),
        ({"constraints": {"latency": "<= 1"}}, "unknown objective 'latency'; did you mean 'latency_s'"),
        (
            {"constraints": {"latency": "<= 1"}, "prefilter": lambda _: {"params": 1}},
            "neither objectives nor",
        ),
        ({"constraints": {"latency_s": "< 1"}}, "write it like '<= 0.008'"),
        ({"constraints": {"latency_s": "<= nan"}}, "write it like"),
        ({"constraints": {"latency_s": ("<=", "x")}}, "write it like"),
        ({"sampler": "nsg2"}, "unknown sampler 'nsg2'; did you mean 'nsga2'"),
        ({"n_trials": 0}, "n_trials is 0"),
        ({"evaluate": lambda c: {**answer(c), "accuracy": float("nan")}}, "5 .* in a row failed.* is nan"),
        (
            {"evaluate": lambda c: {**answer(c), "accuracy": float("nan")}},
            r"\(a=\d, b=[\d.]+, c='[xy]', d='only'\)",
        ),
        ({"prefilter": lambda _: {"params": float("inf")}}, "'params' of .* is inf"),
        ({"prefilter": lambda _: None}, "prefilter returned None; return a mapping"),
        ({"prefilter": lambda _: {}["x"]}, r"prefilter failed for \w+ \(a=.*\) with KeyError: 'x'"),
        ({"constraints": {"latency_s": 0.008}}, "'latency_s' is 0.008; write it like"),
        ({"constraints": {"latency_s": None}}, "'latency_s' is None; write it like"),
        ({"constraints": {"latency_s": ("<=", 1, 2)}}, "write it like"),
        ({"constraints": ["latency_s <= 0.008"]}, "write them like {'latency_s': '<= 0.008'}"),
        ({"objectives": (("accuracy", "maximize"),)}, "must be like Objective"),
        ({"objectives": ("accuracy",)}, "objective 'accuracy' must be like Objective"),
        ({"n_trials": "12"}, "n_trials is '12'; it must be a whole number"),
        ({"n_trials": 2.5}, "n_trials is 2.5; it must be a whole number"),
    ],
)
def test_bad_input_is_one_line(change: dict[str, Any], text: str) -> None:
    settings: dict[str, Any] = {"evaluate": answer, "objectives": AXES, "n_trials": 5}
    with pytest.raises(SearchError, match=text) as error:
        pareto_search(SMALL, **{**settings, **change})
    assert "\n" not in str(error.value)


def test_a_timeout_ends_with_what_there_is() -> None:
    result = pareto_search(SMALL, answer, AXES, n_trials=24, timeout_s=0.0)
    assert result.history == ()
    assert not result.exhausted


def test_ctrl_c_ends_with_what_there_is(tmp_path: Path) -> None:
    def evaluate(choices: Choices) -> dict[str, float]:
        if len(told) == 6:
            raise KeyboardInterrupt
        told.append(choices.digest)
        return answer(choices)

    options: dict[str, Any] = {"n_start": 4, "n_trials": 9}
    for storage in (None, tmp_path / "s"):
        told: list[str] = []
        stopped = pareto_search(SMALL, evaluate, AXES, **options, storage=storage)
        assert stopped.interrupted and not stopped.exhausted
        assert [e.candidate.digest for e in stopped.history] == told
        assert stopped.front == ParetoFront.of(stopped.history, AXES)
    whole = pareto_search(SMALL, answer, AXES, **options)
    continued = pareto_search(SMALL, answer, AXES, **options, storage=tmp_path / "s")
    assert trace(continued) == trace(whole)
    assert not continued.interrupted


def test_ctrl_c_before_anything_feasible_is_no_verdict() -> None:
    def evaluate(_: Choices) -> dict[str, float]:
        raise KeyboardInterrupt

    bounds = {"accuracy": ">= 9"}
    result = pareto_search(SMALL, evaluate, AXES, n_trials=9, constraints=bounds, n_start=4)
    assert result.interrupted and result.history == ()


@pytest.mark.parametrize(
    ("late", "constraints", "n"),
    [
        ({"accuracy": float("nan")}, {}, 6 + FAILURES_IN_A_ROW),
        (None, {}, 6 + FAILURES_IN_A_ROW),
        ({}, {"accuracy": ">= 9"}, 24),
    ],
)
def test_an_error_keeps_what_was_found(late: Any, constraints: dict[str, str], n: int) -> None:
    told: list[Choices] = []

    def evaluate(choices: Choices) -> dict[str, float]:
        told.append(choices)
        return answer(choices) if len(told) <= 6 else {**answer(choices), **late}

    with pytest.raises(SearchError) as error:
        pareto_search(SMALL, evaluate, AXES, n_trials=24, constraints=constraints, n_start=4)
    assert error.value.result is not None
    history = error.value.result.history
    assert [e.candidate for e in history] == told[:n]


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    pareto_search(SMALL, answer, AXES, n_trials=5, progress=lambda done, total, _: told.append((done, total)))
    assert told == [(i, 5) for i in range(1, 6)]
