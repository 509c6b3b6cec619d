"""Paths of a job: one place however it is spelled, and job files that work from anywhere."""

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobinas.config import JobConfig, dump_toml, load_config, placed
from mobinas.errors import RunFolderError
from mobinas.pipeline.job import _default_folder
from mobinas.pipeline.run_folder import JOB_FILE, RunFolder
from mobinas.places import place_of_data, portable


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with data of each kind that is a path."""
    here = tmp_path.resolve() / "project"
    for folder in ("photos", "a", "sub/photos", "photos:v2"):
        (here / folder).mkdir(parents=True)
    for file in ("set.npz", "load.py", "phone.toml", "cell.json"):
        (here / file).write_text("")
    (here / "link").symlink_to("photos")
    (here / "far").symlink_to(here / "sub")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path))
    return here


SPELLINGS: list[Callable[[Path], str]] = [
    lambda here: "photos",
    lambda here: "photos/",
    lambda here: "photos//",
    lambda here: "./photos",
    lambda here: "./photos/.",
    lambda here: "a/../photos",
    lambda here: str(here / "photos"),
    lambda here: f"{here}/photos/",
    lambda here: f"../{here.name}/photos",
    lambda here: "~/project/photos",
    lambda here: "link",
    lambda here: "link/",
    lambda here: "far/../photos",
]


def run_folder(config: JobConfig, path: Path) -> list[str]:
    """What a run in this folder says; nothing where it is the job that began there, with work done."""
    with RunFolder(path, dump_toml(config, path)) as folder:
        folder.data("study.json", lambda: [])
        return folder.notes


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_all_spellings_of_a_folder_are_one_job(spelling: Callable[[Path], str], project: Path) -> None:
    out = project / "runs" / "one"
    run_folder(load_config("smoke", {"data": "photos"}), out)
    config = load_config("smoke", {"data": spelling(project)})
    assert run_folder(config, out) == []
    assert run_folder(placed(JobConfig(**{**config.model_dump(), "data": spelling(project)})), out) == []
    assert _default_folder(config.data) == Path("runs/photos")
    if "link" in spelling(project):
        (project / "runs" / "link").mkdir(parents=True)
        assert _default_folder(config.data) == Path("runs/link"), "as runs before were named"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"data": "set.npz"}, {"data": "./a/../set.npz"}),
        ({"data": "load.py:images"}, {"data": "./load.py:images"}),
        ({"target": "phone.toml"}, {"target": "a/../phone.toml"}),
        ({"search.genotypes": ["cell.json", "DARTS_V2"]}, {"search.genotypes": ["./cell.json", "DARTS_V2"]}),
    ],
)
def test_all_other_paths_likewise(one: dict[str, Any], other: dict[str, Any], project: Path) -> None:
    run_folder(load_config("smoke", one), project / "run")
    assert run_folder(load_config("smoke", other), project / "run") == []


@pytest.mark.parametrize(
    "other", [{"data": "a"}, {"data": "digits"}, {"data": "load.py:other"}, {"target": "fake"}]
)
def test_other_places_are_other_jobs(other: dict[str, Any], project: Path) -> None:
    begun = {"data": "load.py:images"} if "load" in str(other) else {"data": "photos"}
    run_folder(load_config("smoke", {**begun, "target": "local"}), project / "run")
    with pytest.raises(RunFolderError, match="belongs to another job"):
        run_folder(load_config("smoke", {**begun, "target": "local", **other}), project / "run")


@pytest.mark.parametrize(
    "name", ["digits", "cifar10", "fashion_mnist", "my.module:images", "cifr10", "", "s3://bucket/photos"]
)
def test_names_stay_names(name: str, project: Path) -> None:
    assert load_config("smoke", {"data": name}).data == name
    if name.isidentifier() and name != "cifr10":
        (project / name).mkdir()
        assert load_config("smoke", {"data": name}).data == name
        assert load_config("smoke", {"data": f"./{name}"}).data == str(project / name)
        assert place_of_data(portable(str(project / name), project), project) == str(project / name)


def test_a_job_files_paths_go_from_its_own_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = project / "sub" / "mine.toml"
    file.write_text('data = "photos"\ntarget = "../phone.toml"\n[search]\ngenotypes = ["../cell.json"]\n')
    for where in (project, project / "sub", Path("/")):
        monkeypatch.chdir(where)
        config = load_config(file)
        assert config.data == str(project / "sub" / "photos")
        assert config.target == str(project / "phone.toml")
        assert config.search.genotypes == (str(project / "cell.json"),)
    monkeypatch.chdir(project)
    assert load_config(file, {"data": "photos"}).data == str(project / "photos"), "the command line's do not"
    file.write_text('data = "set.npz"\n')
    assert load_config(file).data == str(project / "set.npz"), "as before, where the file has none beside it"


def test_a_run_folders_job_runs_from_anywhere_also_when_the_project_was_moved(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"data": "photos", "target": "phone.toml", "search.genotypes": ["cell.json"]}
    config = load_config("smoke", asked)
    run_folder(config, project / "runs" / "photos")
    moved = project.with_name("moved")
    for root in (project, moved):
        if root == moved:
            monkeypatch.chdir("/")
            shutil.move(project, moved)
        for where in (root, root / "a", root.parent):
            monkeypatch.chdir(where)
            again = load_config(root / "runs" / "photos" / JOB_FILE)
            assert again.data == str(root / "photos") and again.target == str(root / "phone.toml")
            assert again.search.genotypes == (str(root / "cell.json"),)
            assert run_folder(again, root / "runs" / "photos") == []
    monkeypatch.chdir(moved)
    assert run_folder(load_config("smoke", asked), moved / "runs" / "photos") == []


def test_data_outside_of_the_project_are_named_absolutely(project: Path) -> None:
    outside = project.parent / "elsewhere"
    outside.mkdir()
    config = load_config("smoke", {"data": "../elsewhere"})
    assert tomllib.loads(dump_toml(config, project / "run"))["data"] == str(outside)
    run_folder(config, project / "run")
    outside.rename(project / "photos2")
    assert (
        run_folder(load_config("smoke", {"data": "photos2"}), project / "run")
        == [
            # What is gone may have been moved; the images' digest tells.
        ]
    )


@pytest.mark.parametrize("spelling", ["photos", "photos/", "./photos", "link"])
def test_run_folders_of_before_continue(spelling: str, project: Path) -> None:
    config = load_config("smoke", {"data": "photos"})
    (project / "run").mkdir()
    old = dump_toml(config.model_copy(update={"data": spelling}))
    (project / "run" / JOB_FILE).write_text(old)
    (project / "run" / "artefacts.json").write_text(json.dumps({"study.json": 64 * "0"}))
    assert run_folder(config, project / "run") == []
    assert load_config(project / "run" / JOB_FILE).data == str(project / "photos")


def test_a_mark_at_the_beginning_of_a_job_file_is_read_over(project: Path) -> None:
    text = '\ufeffdata = "photos"\n'
    (project / "job.toml").write_text(text, encoding="utf-8")
    assert load_config("job.toml").data == str(project / "photos")
    run_folder(load_config("smoke"), project / "run")
    file = project / "run" / JOB_FILE
    file.write_text("\ufeff" + file.read_text())
    assert run_folder(load_config("smoke"), project / "run") == []
