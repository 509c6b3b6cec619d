"""What optuna-dashboard serves of a stored search."""

import contextlib
import json
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna_dashboard
import pytest
from optuna.artifacts import FileSystemArtifactStore
from worker_job import AXES, SPACE, evaluate, evaluate_with_files

from mobinas.search.shared import opened
from mobinas.search.study import pareto_search


def served(storage: Any, path: str, place: Path | None = None) -> Any:
    """What the browser gets from the dashboard on this path."""
    store = None if place is None else FileSystemArtifactStore(place)
    app = optuna_dashboard.wsgi(storage, artifact_store=store)
    environment: dict[str, Any] = {}
    setup_testing_defaults(environment)
    answer = app({**environment, "PATH_INFO": path}, lambda *_: None)
    with contextlib.closing(answer) if hasattr(answer, "close") else contextlib.nullcontext():
        return b"".join(answer)


def test_the_dashboard_reads_a_study(tmp_path: Path) -> None:
    (tmp_path / "weights.txt").write_text("w")
    storage, place = tmp_path / "study", tmp_path / "files"
    files = {"weights.txt": tmp_path / "weights.txt"}
    options: dict[str, Any] = {"storage": storage, "artifacts": place, "files": files, "sampler": "random"}
    pareto_search(SPACE, evaluate_with_files, AXES, n_trials=3, **options)
    with opened(storage, "mobinas") as shared:
        (summary,) = json.loads(served(shared.storage, "/api/studies"))["study_summaries"]
        study = json.loads(served(shared.storage, f"/api/studies/{summary['study_id']}"))
        # With several directions, its page begins with the Pareto front over these names.
        assert study["directions"] == ["maximize", "minimize"]
        assert study["objective_names"] == ["gain", "price"]
        trial = study["trials"][0]
        (log,) = trial["artifacts"]
        assert log["filename"] == "log.txt"
        path = f"/artifacts/{summary['study_id']}/{trial['trial_id']}/{log['artifact_id']}"
        assert served(shared.storage, path, place).endswith(b" w")


def size(choices: Any) -> dict[str, float]:
    return {"size": float(sum(choices.values()))}


@pytest.mark.parametrize("workers", [None, 1])
def test_the_dashboard_marks_what_is_beyond_a_constraint(tmp_path: Path, workers: int | None) -> None:
    storage = tmp_path / "study"
    options: dict[str, Any] = {"workers": workers, "prefilter": size, "sampler": "nsga2", "n_start": 3}
    options["constraints"] = {"price": "<= 16", "size": "<= 8"}  # known after and before the evaluation
    found = pareto_search(SPACE, evaluate, AXES, n_trials=16, storage=storage, **options)
    with opened(storage, "mobinas") as shared:
        trials = json.loads(served(shared.storage, "/api/studies/0"))["trials"]
    marked = [any(violation > 0 for violation in trial["constraints"]) for trial in trials]
    rejected, evaluated = len(found.rejected), sum(not e.feasible for e in found.history)
    assert sum(marked) == rejected + evaluated < len(marked)
    assert rejected and evaluated


def test_a_sampler_that_goes_on_learns_each_constraint_once(tmp_path: Path) -> None:
    options: dict[str, Any] = {"constraints": {"price": "<= 16"}, "sampler": "auto", "n_start": 6}
    once = pareto_search(SPACE, evaluate, AXES, n_trials=16, **options)
    for n_trials in (10, 16):
        found = pareto_search(SPACE, evaluate, AXES, n_trials=n_trials, storage=tmp_path / "study", **options)
    assert [e.candidate for e in found.history] == [e.candidate for e in once.history]
