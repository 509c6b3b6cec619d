"""What one candidate's evaluation answers never ends a search: it is that candidate's failure, and said."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from small_search import AXES, SAMPLERS, SMALL, answer

from mobinas.errors import SearchError
from mobinas.metrics.evaluation import Value
from mobinas.metrics.result import SearchResult
from mobinas.search.choice_space import Choices
from mobinas.search.rungs import Rung, climb
from mobinas.search.study import pareto_search

NAN, INF = float("nan"), float("inf")


def one_bad(told: Any) -> Callable[[Choices], Any]:
    """A function that answers this for one option of a choice, as it is or as the accuracy."""

    def evaluate(choices: Choices) -> Any:
        if choices["c"] == "y" and choices["a"] == 2:
            return told if told is None or isinstance(told, tuple) else {**answer(choices), "accuracy": told}
        return answer(choices)

    return evaluate


def reasons(found: SearchResult[Any]) -> set[str]:
    return {e.reason for e in found.history if e.error}


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (NAN, "'accuracy' is nan; it must be a finite number"),
        (-INF, "'accuracy' is -inf; it must be a finite number"),
        (10**400, "'accuracy' is 1000"),
        (1 + 0j, "'accuracy' is (1+0j); it must be a finite number"),
        (np.complex64(1 + 1j), "'accuracy' is np.complex64(1+1j)"),
        ("0.5", "'accuracy' is '0.5'; it must be a finite number"),
        (b"0.5", "'accuracy' is b'0.5'; it must be a finite number"),
        ([0.5], "'accuracy' is [0.5]; it must be a finite number"),
        (np.array([0.5, 0.6]), "'accuracy' is array([0.5, 0.6])"),
        (torch.tensor([0.5, 0.6]), "'accuracy' is tensor([0.5000, 0.6000])"),
        (np.float32("nan"), "'accuracy' is np.float32(nan)"),
        (np.ma.masked, "'accuracy' is masked; it must be a finite number"),
        (None, "evaluate returned None; return a mapping like {'accuracy': ..., 'latency_s': ...}"),
        ((0.5, 0.1), "evaluate returned (0.5, 0.1); return a mapping"),
    ],
)
def test_it_has_failed_and_the_search_goes_on(told: Any, text: str) -> None:
    found = pareto_search(SMALL, one_bad(told), AXES, n_trials=24, sampler="random")
    failed = [e for e in found.history if e.error]
    assert len(found.history) == 24 and {e.candidate["a"] for e in failed} == {2} and len(failed) == 3
    assert all(e.reason.startswith(text) and "\n" not in e.error for e in failed)
    assert all(e.candidate.digest not in {f.candidate.digest for f in failed} for e in found.front)


@pytest.mark.parametrize(
    "told",
    [
        np.float32(0.5),
        np.float16(0.5),
        np.int64(1),
        np.bool_(True),
        np.array(0.5),
        np.array([[0.5]]),
        torch.tensor(0.5, dtype=torch.bfloat16),
        torch.tensor(0.5, requires_grad=True),
        Decimal("0.5"),
        Fraction(1, 2),
        True,
        Value(np.float32(0.5), std=np.float32(0.1)),  # type: ignore[arg-type]
    ],
)
def test_whatever_is_one_real_number_is_one(told: Any, tmp_path: Path) -> None:
    def evaluate(choices: Choices) -> dict[str, Any]:
        return {**answer(choices), "accuracy": told}

    for _ in range(2):
        found = pareto_search(SMALL, evaluate, AXES, n_trials=3, storage=tmp_path / "s")
        assert {e["accuracy"] for e in found.history} <= {0.5, 1.0} and not reasons(found)
        assert all(type(e["accuracy"]) is float for e in found.history)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"accuracy": 1.0}, "evaluate returned no 'latency_s'; return every objective"),
        (
            {"accuracy": 1.0, "latency_s": 1.0, "latncy": 1.0},
            "unknown objective 'latncy'; did you mean 'latency_s'",
        ),
        ({}, "evaluate returned no 'accuracy'"),
        ({"accuracy": 1.0, 3: 1.0}, "unknown objective '3'"),
    ],
)
def test_missing_and_unknown_objectives_are_failures_too(told: Any, text: str) -> None:
    found = pareto_search(
        SMALL, lambda c: told if c["a"] == 1 else answer(c), AXES, n_trials=12, sampler="random"
    )
    assert len(reasons(found)) == 1 and text in reasons(found).pop()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_continues_as_if_it_had_not_been_stopped(sampler: str, tmp_path: Path) -> None:
    def search(n: int, storage: Path | None) -> SearchResult[Any]:
        return pareto_search(
            SMALL,
            one_bad(NAN),
            AXES,
            n_trials=n,
            sampler=sampler,
            n_start=4,
            constraints={"accuracy": ">= 0.1", "latency_s": "<= 0.0045"},
            storage=storage,
        )

    search(7, tmp_path / "s")
    continued, whole = search(14, tmp_path / "s"), search(14, None)
    assert [e.candidate.digest for e in continued.history] == [e.candidate.digest for e in whole.history]
    assert continued.front == whole.front and reasons(continued) == reasons(whole)


def test_five_in_a_row_end_it_and_the_same_call_continues_when_it_is_mended(tmp_path: Path) -> None:
    def search(evaluate: Any) -> SearchResult[Any]:
        return pareto_search(SMALL, evaluate, AXES, n_trials=12, storage=tmp_path / "s")

    with pytest.raises(
        SearchError, match=r"5 evaluations in a row failed, .* with 'latency_s' is inf"
    ) as error:
        search(lambda c: {**answer(c), "latency_s": INF})
    assert error.value.result is not None and len(error.value.result.history) == 5
    assert len(search(answer).history) == 12


def test_plain_optuna_reads_what_is_kept(tmp_path: Path) -> None:
    pareto_search(SMALL, one_bad(NAN), AXES, n_trials=24, storage=tmp_path / "s")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "s")))
    study = optuna.load_study(study_name=None, storage=storage)
    states = [trial.state.name for trial in study.trials]
    assert states.count("FAIL") == 3 and states.count("COMPLETE") == 21
    told = [t.user_attrs["mobinas:error"] for t in study.trials if t.state.name == "FAIL"]
    assert told == ["'accuracy' is nan; it must be a finite number"] * 3
    assert study.best_trials


@pytest.mark.parametrize("workers", [None, 1])
@pytest.mark.parametrize("told", [NAN, None])
def test_what_is_told_beforehand_of_one_candidate_may_fail(
    told: Any, workers: int | None, tmp_path: Path
) -> None:
    def size(choices: Choices) -> dict[str, Any]:
        return {"size": told if choices["a"] == 0 and choices["b"] == 0.0 else choices["a"]}

    for _ in range(2):
        found = pareto_search(
            SMALL,
            "small_search:answer",
            AXES,
            n_trials=24,
            sampler="random",
            prefilter=size,
            constraints={"size": "<= 2"},
            storage=tmp_path / "s",
            workers=workers,
        )
        assert reasons(found) <= {f"'size' of {e.candidate.name}" for e in found.history} | reasons(found)
        failed = [e for e in found.history if e.error]
        assert all("'size' of" in e.error and e.candidate["a"] == 0 for e in failed)
        assert len(found.history) - len(failed) == 16


def test_a_climber_that_fails_goes_no_further() -> None:
    many = [Choices({"i": i}) for i in range(30)]

    def low(choices: Choices) -> dict[str, Any]:
        if choices["i"] == 3:
            raise ValueError("no such layer")
        return {"accuracy": NAN if choices["i"] == 5 else choices["i"], "latency_s": 1.0 + choices["i"]}

    def high(choices: Choices) -> dict[str, Any]:
        return {"accuracy": None if choices["i"] == 29 else choices["i"], "latency_s": 1.0 + choices["i"]}

    found = climb(many, (Rung("low", 1, low), Rung("high", 5, high)), AXES)
    said = {e.candidate["i"]: e.reason for e in found.failed}
    assert said[3] == "ValueError: no such layer"
    assert said[5] == "'accuracy' is nan; it must be a finite number"
    assert said.get(29, "'accuracy' is None; it must be a finite number").startswith("'accuracy' is None")
    assert not {e.candidate["i"] for e in found.front} & said.keys() and len(found.front)
    with pytest.raises(SearchError, match=r"5 evaluations in a row failed.*rung 'low' tells no 'accuracy'"):
        climb(many, (Rung("low", 1, lambda _: {}), Rung("high", 5, high)), AXES)
    with pytest.raises(SearchError, match="'size' is 0; it must be positive"):
        climb(
            many,
            (Rung("low", 1, lambda c: {**high(c), "size": 0}), Rung("high", 5, high)),
            AXES,
            also=("size",),
        )
