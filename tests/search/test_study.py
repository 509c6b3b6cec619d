"""The front search on problems whose answer is known."""

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.space import SearchSpace
from mobinas.errors import Infeasible, SearchError
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.objective import Objective
from mobinas.metrics.result import SearchResult
from mobinas.search.choice_space import Choices, ChoiceSpace
from mobinas.search.journal import STUDY_NAME, file_lock
from mobinas.search.record import FAILURES_IN_A_ROW
from mobinas.search.samplers import sampler_names
from mobinas.search.study import pareto_search

AXES = (Objective("accuracy", "maximize"), Objective("latency_s", "minimize", "s"))
SMALL = ChoiceSpace({"a": (0, 1, 2, 3), "b": (0.0, 0.5, 1.0), "c": ("x", "y"), "d": ("only",)})
CELLS = SearchSpace(
    Task(10, 1), (8, 12, 16), (3, 4), (2, 4), (("skip_connect", "conv_3x3", "avg_pool_3x3"),), 2
)


def answer(choices: Mapping[str, Any]) -> dict[str, float]:
    cost_s = 0.001 * (1 + choices["a"] + choices["b"])
    return {
        "accuracy": 0.2 * choices["a"] + 0.1 * (choices["c"] == "y") - 0.05 * choices["b"],
        "latency_s": cost_s,
    }


def everything() -> list[Evaluation[Choices]]:
    rows = itertools.product(*SMALL.choices.values())
    found = [Choices(dict(zip(SMALL.choices, row, strict=True))) for row in rows]
    return [
        Evaluation(c, {k: Value(x, "s" * (k == "latency_s")) for k, x in answer(c).items()}) for c in found
    ]


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


def cells_answer(architecture: Architecture) -> dict[str, float]:
    counted = cost(lower(architecture))
    return {"accuracy": 1 - 1 / (1 + counted.params), "latency_s": counted.macs * 1e-9}


@pytest.mark.parametrize(("sampler", "n"), [("nsga2", 40), ("random", 12), ("tpe", 18)])
def test_a_resumed_search_ends_like_an_uninterrupted_one(tmp_path: Path, sampler: str, n: int) -> None:
    options: dict[str, Any] = {
        "sampler": sampler,
        "seed": 3,
        "n_start": 8,
        "constraints": {"latency_s": "<= 0.0006"},
    }
    whole = pareto_search(CELLS, cells_answer, AXES, n_trials=n, **options)
    for part in (1, 5, n // 2, n - 1, n, n):
        resumed = pareto_search(
            CELLS, cells_answer, AXES, n_trials=part, storage=tmp_path / "study", **options
        )
    assert trace(resumed) == trace(whole)
    assert resumed.front == whole.front


KILLED = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from mobinas.metrics.objective import Objective
    from mobinas.search.choice_space import ChoiceSpace
    from mobinas.search.study import pareto_search

    space = ChoiceSpace({f"x{i}": (0, 1, 2, 3) for i in range(6)})
    axes = (Objective("gain", "maximize"), Objective("price", "minimize"))
    storage, log, pause_s = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

    def evaluate(choices):
        time.sleep(pause_s)
        with log.open("a") as file:
            file.write(choices.digest + "\\n")
        return {"gain": sum(choices.values()), "price": sum(i * v for i, v in enumerate(choices.values()))}

    result = pareto_search(space, evaluate, axes, n_trials=45, n_start=10, storage=storage,
                           constraints={"price": "<= 30"})
    for e in result.history:
        print(e.candidate.digest, e["gain"], e["price"], e.feasible)
    """
)


def run_killed(storage: Path, log: Path, kill_at: int | None) -> str:
    command = [sys.executable, "-c", KILLED, str(storage), str(log), "0.02" if kill_at else "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while kill_at and process.poll() is None:
            if log.exists() and log.read_text().count("\n") >= kill_at:
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.002)
        return process.communicate()[0]


@pytest.mark.slow
def test_kill_9_and_resume_equals_an_uninterrupted_run(tmp_path: Path) -> None:
    expected = run_killed(tmp_path / "whole", tmp_path / "whole.log", None)
    storage, log = tmp_path / "killed", tmp_path / "killed.log"
    for kill_at in (4, 17, 30):
        assert run_killed(storage, log, kill_at) == ""
    assert run_killed(storage, log, None) == expected
    assert expected.count("\n") == 45
    again = Counter(log.read_text().split())
    assert sum(again.values()) <= 45 + 3, "only what was under way may be evaluated anew"


def test_a_torn_last_line_is_forgotten(tmp_path: Path) -> None:
    storage = tmp_path / "study"
    whole = pareto_search(SMALL, answer, AXES, n_trials=12, n_start=4)
    pareto_search(SMALL, answer, AXES, n_trials=8, n_start=4, storage=storage)
    storage.write_bytes(storage.read_bytes()[:-7])
    assert trace(pareto_search(SMALL, answer, AXES, n_trials=12, n_start=4, storage=storage)) == trace(whole)


def test_a_storage_is_searched_by_one_process_at_a_time(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"sampler": "random", "storage": tmp_path / "s"}
    told: list[str] = []

    def evaluate(choices: Choices) -> dict[str, float]:
        with pytest.raises(SearchError, match="is being run by another process") as refused:
            pareto_search(SMALL, answer, AXES, n_trials=5, **settings)
        told.append(str(refused.value))
        return answer(choices)

    first = pareto_search(SMALL, evaluate, AXES, n_trials=3, **settings)
    assert len(told) == len(first.history) == 3
    assert len(pareto_search(SMALL, answer, AXES, n_trials=5, **settings).history) == 5


def stored_in(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path), file_lock(path)))


def test_a_storage_that_holds_a_candidate_twice_is_refused(tmp_path: Path) -> None:
    pareto_search(SMALL, answer, AXES, n_trials=3, storage=tmp_path / "s")
    study = optuna.load_study(study_name=STUDY_NAME, storage=stored_in(tmp_path / "s"))
    study.add_trial(study.trials[1])
    with pytest.raises(SearchError, match="trial 3 of the stored study repeats"):
        pareto_search(SMALL, answer, AXES, n_trials=5, storage=tmp_path / "s")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 1}, "its seed is 0, not 1"),
        ({"sampler": "random"}, "its sampler is auto, not random"),
        (
            {"space": ChoiceSpace({"a": (0, 1), "b": (0.0, 1.0), "c": ("x",), "d": ("only",)})},
            "its space is another;",
        ),
        ({"objectives": AXES[::-1]}, "its objectives"),
        ({"constraints": {"latency_s": "<= 0.1"}}, "its constraints"),
    ],
)
def test_a_storage_of_another_search_is_refused(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    settings: dict[str, Any] = {"space": SMALL, "objectives": AXES, "n_trials": 3, "storage": tmp_path / "s"}
    pareto_search(evaluate=answer, **settings)
    with pytest.raises(SearchError, match=text):
        pareto_search(evaluate=answer, **{**settings, **change})


@pytest.mark.parametrize("directions", [["maximize", "minimize"], ["minimize"]])
def test_a_study_of_other_software_is_refused_and_left_alone(tmp_path: Path, directions: list[str]) -> None:
    study = optuna.create_study(
        study_name=STUDY_NAME, storage=stored_in(tmp_path / "s"), directions=directions
    )
    study.add_trial(optuna.create_trial(values=[1.0 for _ in directions]))
    for workers in (None, None, 0, 0):
        with pytest.raises(SearchError, match="was not begun by pareto_search"):
            pareto_search(
                SMALL, "worker_job:evaluate", AXES, n_trials=3, storage=tmp_path / "s", workers=workers
            )
    assert not optuna.load_study(study_name=STUDY_NAME, storage=stored_in(tmp_path / "s")).user_attrs


def test_a_folder_is_no_storage(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="is a folder; name a file in it"):
        pareto_search(SMALL, answer, AXES, n_trials=3, storage=tmp_path)
    assert not list(tmp_path.parent.glob(f"{tmp_path.name}.*"))


class OwnSpace:
    """Its fingerprint is that of every other of its class."""

    def __init__(self, *options: int) -> None:
        self.options = options

    def build(self, choose: Any) -> Choices:
        return Choices({name: choose(name, self.options) for name in "abcd"})

    def encode(self, candidate: Choices) -> Mapping[str, Any]:
        return candidate


@pytest.mark.parametrize("options", [(0, 1, 2, 3), (0, 2, 1), (0,)])
def test_a_storage_of_another_space_of_ones_own_is_refused(tmp_path: Path, options: tuple[int, ...]) -> None:
    def search(*options: int) -> SearchResult[Any]:
        own = OwnSpace(*options)
        return pareto_search(
            own, lambda c: {"sum": sum(c.values())}, (Objective("sum", "maximize"),), n_trials=6, **settings
        )

    settings: dict[str, Any] = {"sampler": "random", "storage": tmp_path / "s"}
    search(0, 1, 2)
    assert len(search(0, 1, 2).history) == 6
    with pytest.raises(SearchError, match=r"the stored study is of another space|not from this search"):
        search(*options)


@pytest.mark.parametrize("content", ["hello\n", "{}\n", json.dumps({"op_code": 99}) + "\n"])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "s").write_text(content)
    with pytest.raises(SearchError, match="not a readable Optuna journal"):
        pareto_search(SMALL, answer, AXES, n_trials=3, storage=tmp_path / "s")


def refuse() -> dict[str, float]:
    raise Infeasible("too big")


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
        ({"evaluate": lambda c: {**answer(c), "accuracy": float("nan")}}, "'accuracy' of .* is nan"),
        (
            {"evaluate": lambda c: {**answer(c), "accuracy": float("nan")}},
            r"\(a=\d, b=[\d.]+, c='[xy]', d='only'\)",
        ),
        ({"evaluate": lambda c: {**answer(c), "accuracy": None}}, "must be a finite number"),
        ({"evaluate": lambda _: {"accuracy": 1.0}}, "evaluate returned no 'latency_s'"),
        ({"evaluate": lambda c: {**answer(c), "latncy": 1.0}}, "unknown objective 'latncy'; did you mean"),
        ({"prefilter": lambda _: {"params": float("inf")}}, "'params' of .* is inf"),
        (
            {"evaluate": lambda _: None},
            "evaluate returned None; return a mapping like {'accuracy': ..., 'lat",
        ),
        ({"evaluate": lambda _: (1.0, 2.0)}, r"evaluate returned \(1.0, 2.0\); return a mapping"),
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
    settings: dict[str, Any] = {"evaluate": answer, "objectives": AXES, "n_trials": 3}
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
    [({"accuracy": float("nan")}, {}, 6), (None, {}, 6 + FAILURES_IN_A_ROW), ({}, {"accuracy": ">= 9"}, 24)],
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
