"""Atomic writes and line logs, with the faults they exist for."""

import errno
import os
import stat
from pathlib import Path

import pytest

from mobinas.errors import RunFolderError
from mobinas.files import append_line, read_lines, write_atomic


def test_write_atomic_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_atomic(path, "ä\r\n")
    assert path.read_bytes() == "ä\r\n".encode()
    write_atomic(path, b"\x00new")
    assert path.read_bytes() == b"\x00new"
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


def test_written_files_have_the_usual_mode(tmp_path: Path) -> None:
    write_atomic(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "f.json"
    write_atomic(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if call == "fsync" else Path, call, full)
    with pytest.raises(RunFolderError, match=r"f\.json: No space left on device; free some space"):
        write_atomic(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write"):
        write_atomic(tmp_path / "file" / "x", "")


def test_log_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "log.jsonl"
    assert read_lines(path) == []
    lines = ["{}", "", "é" * 5000, "last"]
    for line in lines:
        append_line(path, line)
    assert read_lines(path) == lines


@pytest.mark.parametrize("torn", ["x", "x" * 9000])
@pytest.mark.parametrize("before", [[], ["one"]])
def test_a_torn_last_line_is_ignored_and_then_overwritten(
    tmp_path: Path, torn: str, before: list[str]
) -> None:
    path = tmp_path / "log"
    for line in before:
        append_line(path, line)
    with path.open("a") as file:
        file.write(torn)
    assert read_lines(path) == before
    append_line(path, "next")
    assert read_lines(path) == [*before, "next"]


def test_a_full_disk_leaves_the_log_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    append_line(path, "one")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFolderError, match="No space left"):
        append_line(path, "two")
    monkeypatch.undo()
    assert path.read_text() == "one\n"


def test_a_line_break_in_a_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line break"):
        append_line(tmp_path / "log", "a\nb")
    assert not (tmp_path / "log").exists()


def test_unreadable_text_is_explained(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xff\n")
    with pytest.raises(RunFolderError, match="not UTF-8"):
        read_lines(tmp_path / "log")
