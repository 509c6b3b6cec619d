"""What optuna-dashboard serves of a stored search."""

import json
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from worker_job import AXES, SPACE, evaluate_with_files

from mobinas.search.shared import opened
from mobinas.search.study import pareto_search


def test_the_dashboard_reads_a_study(tmp_path: Path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    from optuna.artifacts import FileSystemArtifactStore

    (tmp_path / "weights.txt").write_text("w")
    storage, place = tmp_path / "study", tmp_path / "files"
    files = {"weights.txt": tmp_path / "weights.txt"}
    options: dict[str, Any] = {"storage": storage, "artifacts": place, "files": files, "sampler": "random"}
    pareto_search(SPACE, evaluate_with_files, AXES, n_trials=3, **options)
    with opened(storage, "mobinas") as shared:
        app = dashboard.wsgi(shared.storage, artifact_store=FileSystemArtifactStore(place))

        def get(path: str) -> Any:
            environment: dict[str, Any] = {}
            setup_testing_defaults(environment)
            answer = app({**environment, "PATH_INFO": path}, lambda *_: None)
            return b"".join(answer)

        (summary,) = json.loads(get("/api/studies"))["study_summaries"]
        study = json.loads(get(f"/api/studies/{summary['study_id']}"))
        # With several directions, its page begins with the Pareto front over these names.
        assert study["directions"] == ["maximize", "minimize"]
        assert study["objective_names"] == ["gain", "price"]
        trial = study["trials"][0]
        (log,) = trial["artifacts"]
        assert log["filename"] == "log.txt"
        shown = get(f"/artifacts/{summary['study_id']}/{trial['trial_id']}/{log['artifact_id']}")
        assert shown.endswith(b" w")
