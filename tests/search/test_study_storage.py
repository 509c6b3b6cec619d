"""Searches that are stopped, killed and continued, and storages that are not theirs."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from small_search import AXES, SMALL, answer

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.space import SearchSpace
from mobinas.errors import SearchError
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.metrics.evaluation import Value
from mobinas.metrics.objective import Objective
from mobinas.metrics.result import SearchResult
from mobinas.search.choice_space import Choices, ChoiceSpace
from mobinas.search.journal import STUDY_NAME, file_lock
from mobinas.search.study import pareto_search

CELLS = SearchSpace(
    Task(10, 1), (8, 12, 16), (3, 4), (2, 4), (("skip_connect", "conv_3x3", "avg_pool_3x3"),), 2
)


def trace(result: SearchResult[Any]) -> list[tuple[str, bool, dict[str, Value]]]:
    runs = (*result.history, None, *result.rejected)
    return [(e.candidate.digest, e.feasible, dict(e.values)) for e in runs if e is not None]


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


@pytest.mark.parametrize("options", [(0, 1, 2, 3), (0,)])
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
    assert search(0, 2, 1).history == search(0, 1, 2).history, "the same options in another order"


@pytest.mark.parametrize("content", ["hello\n", "{}\n", json.dumps({"op_code": 99}) + "\n"])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "s").write_text(content)
    with pytest.raises(SearchError, match="not a readable Optuna journal"):
        pareto_search(SMALL, answer, AXES, n_trials=3, storage=tmp_path / "s")
