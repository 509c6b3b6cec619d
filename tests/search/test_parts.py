"""Workers that join a job of several searches."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import postgres
import pytest
from worker_job import AXES, SPACE

from mobinas.errors import DataError, SearchError
from mobinas.metrics.result import SearchResult
from mobinas.search.parts import announced
from mobinas.search.queue import STATE_KEY
from mobinas.search.shared import opened
from mobinas.search.study import pareto_search
from mobinas.search.worker import load_shared_study, work


@pytest.fixture(params=["journal", pytest.param("database", marks=pytest.mark.slow)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "journal":
        yield str(tmp_path / "study")
        return
    for server in postgres.serving():
        yield server.url()


def search(storage: str, part: str, evaluate: str = "worker_job:evaluate", **more: Any) -> SearchResult[Any]:
    options = {"n_trials": 4, "sampler": "random", "workers": 0, **more}
    return pareto_search(SPACE, evaluate, AXES, storage=storage, study=part, **options)


def started(storage: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "MOBINAS_STORAGE": storage, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "mobinas", "worker", "--study", "job"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_one_worker_serves_all_parts_of_a_job(storage: str) -> None:
    with announced(storage, "job", {}):
        worker = started(storage)
        found = [search(storage, f"job/{part}", seed=seed) for seed, part in enumerate("ab")]
    said, _ = worker.communicate(timeout=30)
    assert said == "8 evaluations; the search has ended\n"
    assert [len(result.history) for result in found] == [4, 4]
    assert work(storage, "job") == (0, "the search has ended")
    with announced(storage, "job", {}):
        assert work(storage, "job", idle_s=0.1) == (0, "no work for 0.1 s, though the search has not ended")


def test_parts_of_a_killed_job_hold_no_worker(tmp_path: Path) -> None:
    storage = str(tmp_path / "study")

    search(storage, "job/a", timeout_s=0.0)
    with opened(storage, "job/a") as shared:
        load_shared_study(shared, "job/a").set_user_attr(STATE_KEY, "running")
    with announced(storage, "job", {}):
        assert work(storage, "job", idle_s=0.1).evaluations == 0


def test_one_job_a_name(tmp_path: Path) -> None:
    storage = str(tmp_path / "study")
    with (
        announced(storage, "job", {}),
        pytest.raises(SearchError, match="is being run by another process"),
        announced(storage, "job", {}),
    ):
        pass
    search(storage, "single", timeout_s=0.0)
    with (
        pytest.raises(SearchError, match=r"'single' in .* is a single search; take another --study"),
        announced(storage, "single", {}),
    ):
        pass


def test_who_cannot_prepare_takes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="a worker ended: no images here"):
        search(str(tmp_path / "study"), "mobinas", "worker_job:unprepared", workers=1)
    with pytest.raises(DataError, match="no images here"):
        work(str(tmp_path / "study"), "mobinas")
