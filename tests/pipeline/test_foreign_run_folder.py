"""Folders of something else, and files of a user's own within a run folder."""

from pathlib import Path

import foreign
import pytest

from mobinas.errors import RunFolderError
from mobinas.pipeline.run_folder import RunFolder

JOB = 'data = "digits"\nseed = 0\n'


def refused(path: Path, text: str, job: str = JOB) -> None:
    before = foreign.snapshot(path.parent)
    with pytest.raises(RunFolderError, match=text) as caught:
        RunFolder(path, job)
    assert foreign.snapshot(path.parent) == before
    assert "choose another" in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        ["front.csv"],
        ["report.html"],
        ["artefacts.json"],
        ["models/theirs.bin"],
        ["study.journal"],
        ["package.json", ".git/config"],
        ["job.toml"],
        ["job.toml", "front.csv"],
        ["job.toml", "models/theirs.bin", ".lock"],
    ],
)
def test_a_folder_of_something_else_is_left_alone(names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_text(JOB if name == "job.toml" else "")
    refused(tmp_path / "x", "holds files of something else")


def test_a_job_that_a_user_has_written_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "job.toml").write_text("# my best settings\n" + JOB)
    refused(tmp_path / "x", r"a job\.toml that no run wrote")


def test_words_of_a_user_in_the_job_of_a_run_stay(tmp_path: Path) -> None:
    with RunFolder(tmp_path, JOB):
        pass
    edited = "\ufeff# my best settings\r\n" + JOB.replace("\n", "\r\n")
    (tmp_path / "job.toml").write_bytes(edited.encode())
    with RunFolder(tmp_path, JOB):
        pass
    assert (tmp_path / "job.toml").read_bytes() == edited.encode()


@pytest.mark.parametrize("name", ["job.toml", ".lock", "artefacts.json"])
def test_a_run_folder_in_which_something_else_took_a_name_is_left_alone(name: str, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "x", JOB) as folder:
        folder.data("data.json", lambda: 1)
    (tmp_path / "x" / name).write_text('[tool]\nname = "theirs"\n')
    refused(tmp_path / "x", name.replace(".", r"\."))


def test_a_run_folder_of_a_copy_without_hidden_files_goes_on(tmp_path: Path) -> None:
    with RunFolder(tmp_path, JOB) as folder:
        folder.data("data.json", lambda: {"digest": "x"})
    (tmp_path / ".lock").unlink()
    with RunFolder(tmp_path, JOB) as folder:
        assert folder.is_finished("data.json")


def test_checkpoints_of_others_stay_where_the_job_changes(tmp_path: Path) -> None:
    before, after = (f"{JOB}\n[supernet]\nwidth = {n}\n\n[train]\nepochs = {n}\n" for n in (8, 4))
    with RunFolder(tmp_path / "x", before):
        pass
    theirs = [tmp_path / "x" / "mine.checkpoint.pt", tmp_path / "x" / "trained" / "theirs.checkpoint.pt"]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        foreign.tensors(path)
    kept = [path.read_bytes() for path in theirs]
    with RunFolder(tmp_path / "x", after) as folder:
        assert len(folder.notes) == 2
    assert [path.read_bytes() for path in theirs] == kept


def test_a_file_in_place_of_a_folder_of_artefacts_is_told(tmp_path: Path) -> None:
    with RunFolder(tmp_path, JOB) as folder:
        (tmp_path / "trained").write_text("a note")
        with pytest.raises(RunFolderError, match=r"cannot write .*trained: File exists"):
            folder.data("trained/a.json", lambda: 1)
    assert (tmp_path / "trained").read_text() == "a note"
