"""Atomic writes and line logs, with the faults they exist for."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from mobinas.errors import RunFolderError
from mobinas.files import LineLog, write_atomic

LOG = LineLog("a log of tests", "n")


def test_write_atomic_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_atomic(path, '"ä"\r\n')
    assert path.read_bytes() == '"ä"\r\n'.encode()
    write_atomic(path, b'"new"')
    assert path.read_bytes() == b'"new"'
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
    write_atomic(path, "[0]")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if call == "fsync" else Path, call, full)
    with pytest.raises(RunFolderError, match=r"f\.json: No space left on device; free some space"):
        write_atomic(path, "[1]")
    monkeypatch.undo()
    assert path.read_text() == "[0]"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write"):
        write_atomic(tmp_path / "file" / "x", "")


def line(n: object, more: str = "") -> str:
    return json.dumps({"n": n, "more": more}, ensure_ascii=False)


def test_log_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "log.jsonl"
    assert LOG.lines(path) == []
    lines = [line(0), line(1, "\u00e9" * 5000), line("last")]
    for one in lines:
        LOG.append(path, one)
    assert LOG.lines(path) == lines


@pytest.mark.parametrize("torn", ['{"n', '{"n": 3, "more": "' + "x" * 9000, "\0\0", '{"n": 1\0\0'])
@pytest.mark.parametrize("before", [[], [line("one")]])
def test_a_torn_last_line_is_ignored_and_then_overwritten(
    tmp_path: Path, torn: str, before: list[str]
) -> None:
    path = tmp_path / "log"
    for one in before:
        LOG.append(path, one)
    with path.open("a") as file:
        file.write(torn)
    assert LOG.lines(path) == before
    LOG.append(path, line("next"))
    assert LOG.lines(path) == [*before, line("next")]


def test_a_log_cut_at_any_byte_goes_on(tmp_path: Path) -> None:
    path, lines = tmp_path / "log", [line(1, "\u00e9"), line(2)]
    for one in lines:
        LOG.append(path, one)
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        kept = [one for k, one in enumerate(lines) if end >= len("\n".join(lines[: k + 1]).encode())]
        assert LOG.lines(path) == kept, end
        LOG.append(path, line(3))
        assert LOG.lines(path) == [*kept, line(3)]


@pytest.mark.parametrize("ending", ["\r\n", "\n", ""])
def test_a_log_that_was_saved_on_windows_goes_on(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\xef\xbb\xbf" + f"{line(1)}\r\n{line(2)}{ending}".encode())
    LOG.append(path, line(3))
    assert LOG.lines(path) == [line(1), line(2), line(3)]


def test_a_full_disk_leaves_the_log_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    LOG.append(path, line("one"))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFolderError, match="No space left"):
        LOG.append(path, line("two"))
    monkeypatch.undo()
    assert path.read_text() == line("one") + "\n"


def test_a_line_break_in_a_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line break"):
        LOG.append(tmp_path / "log", '{"n": 1,\n "m": 2}')
    assert not (tmp_path / "log").exists()


def test_unreadable_text_is_explained(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(line(1).encode() + b"\n\xff\n")
    with pytest.raises(RunFolderError, match="line 2 is not UTF-8"):
        LOG.lines(tmp_path / "log")
