"""Networks of one's own, from a build function to measured files."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from exporters.bundle import ExportBundle
from mobinas.errors import ConfigError, Infeasible, RunFolderError, SearchError
from mobinas.metrics.result import SearchResult
from mobinas.pipeline.family import search_family
from mobinas.pipeline.front_file import load_front
from mobinas.pipeline.profile import MEASUREMENTS
from mobinas.pipeline.run_folder import RunFolder
from mobinas.search.choice_space import Choices
from mobinas.search.define_by_run import DefinedTrial
from mobinas.train.recipe import Recipe

FAST: dict[str, Any] = {
    "data": "digits",
    "target": "fake",
    "recipe": Recipe(epochs=1),
    "rounds": 2,
    "n_start": 2,
}


def build(trial: DefinedTrial) -> nn.Module:
    width = trial.suggest_int("width", 4, 8, step=4)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 10))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult[Choices]]:
    directory = tmp_path_factory.mktemp("families") / "run"
    state = torch.random.get_rng_state()
    result = search_family(build, out=directory, n_trials=5, **FAST)
    assert torch.equal(torch.random.get_rng_state(), state)
    return directory, result


@pytest.fixture(scope="module")
def finished(searched: tuple[Path, SearchResult[Choices]]) -> Path:
    return searched[0]


def test_every_candidate_is_a_verified_file_that_was_measured(
    searched: tuple[Path, SearchResult[Choices]],
) -> None:
    directory, result = searched
    assert result.exhausted and len(result.history) == 2
    measured = [json.loads(line) for line in (directory / MEASUREMENTS).read_text().splitlines()]
    for evaluation in result.history:
        bundle = ExportBundle.load(directory / "models" / evaluation.candidate.name)
        assert any(bundle.model_sha256 in json.dumps(line) for line in measured)
        sources = [evaluation.values[axis.name].source for axis in result.objectives]
        assert sources == ["trained", "measured"]
    logged = (directory / MEASUREMENTS).read_bytes()
    again = search_family(build, out=directory, n_trials=5, **FAST)
    assert again.front == result.front
    assert (directory / MEASUREMENTS).read_bytes() == logged, "nothing is done again"


def test_the_front_is_tested_and_reported_as_a_jobs_is(finished: Path) -> None:
    rows = load_front(finished).rows
    frozen = json.loads((finished / "front.json").read_text())
    assert [row.name for row in rows] == frozen["members"]
    assert all(row.test_ci_low <= row.test_accuracy <= row.test_ci_high for row in rows)
    assert all(row.predicted_ms is None and (finished / row.onnx).is_file() for row in rows)
    page = (finished / "report.html").read_text()
    assert frozen["pick"] in page and "hypervolume" in page.lower()
    assert "supernet" not in page and "h2>Cells" not in page, "what does not apply is left out"


def test_what_cannot_be_built_is_a_failed_or_infeasible_candidate(tmp_path: Path) -> None:
    def picky(trial: DefinedTrial) -> nn.Module:
        kind = trial.suggest_categorical("kind", ("works", "fails", "too wide"))
        if kind == "fails":
            raise ValueError("there is no such layer")
        if kind == "too wide":
            raise Infeasible(kind)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    result = search_family(picky, out=tmp_path, n_trials=5, **FAST)
    found = {e.candidate["kind"]: e for e in result.history}
    assert found.keys() == {"works", "fails", "too wide"}
    assert "ValueError: there is no such layer" in found["fails"].error
    assert not found["too wide"].feasible
    assert [e.candidate["kind"] for e in result.front] == ["works"]


def test_once_frozen_it_takes_no_more_trials(finished: Path) -> None:
    tested = (finished / "test.json").stat().st_mtime_ns
    search_family(build, out=finished, n_trials=5, **FAST)
    assert (finished / "test.json").stat().st_mtime_ns == tested, "the test part is opened once"
    with pytest.raises(RunFolderError, match=r"search\.trials was 5 there, now 6"):
        search_family(build, out=finished, n_trials=6, **FAST)


def test_a_folder_has_one_writer_and_one_recipe(tmp_path: Path, finished: Path) -> None:
    with (
        RunFolder(finished, (finished / "job.toml").read_text()),
        pytest.raises(RunFolderError, match="is in use"),
    ):
        search_family(build, out=finished, n_trials=5, **FAST)
    with pytest.raises(RunFolderError, match=r"train\.epochs was 1 there, now 2"):
        search_family(build, out=finished, n_trials=5, **{**FAST, "recipe": Recipe(epochs=2)})
    with pytest.raises(ConfigError, match="no momentum"):
        search_family(build, out=tmp_path, n_trials=5, **{**FAST, "recipe": Recipe(momentum=0.5)})


@pytest.mark.slow
def test_killed_it_ends_with_the_same_result(finished: Path, tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_family as t\n"
        "def told(done, total, name): print(done, flush=True)\n"
        f"t.search_family(t.build, out={str(tmp_path)!r}, n_trials=5, progress=told, **t.FAST)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "1\n"
        process.kill()
    assert not (tmp_path / "front.json").exists()
    search_family(build, out=tmp_path, n_trials=5, **FAST)
    for name in ("front.csv", "front.json", "test.json"):
        assert (tmp_path / name).read_text() == (finished / name).read_text(), name


def test_what_cannot_be_meant_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"returned a int; return a torch\.nn\.Module"):
        search_family(lambda trial: trial.suggest_int("a", 1, 2), out=tmp_path / "a", n_trials=5, **FAST)  # type: ignore[arg-type]
    with pytest.raises(Infeasible, match="latency_s <= 1e-12"):
        search_family(build, out=tmp_path / "b", n_trials=5, max_latency_s=1e-12, **FAST)
