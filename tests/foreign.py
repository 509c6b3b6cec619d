"""Files of other programs and of users, and a look that tells whether anything has touched them."""

import json
import os
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

Make = Callable[[Path], None]


def sqlite(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE trials (value REAL)")
    connection.commit()
    connection.close()


def picture(path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    note = chunk(b"tEXt", b"Software\0Matplotlib version 3.10")
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + note + pixels)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("thesis/chapter1.txt", "years of work")


def tensors(path: Path) -> None:
    import torch

    saved = path.with_name("theirs.pt")
    torch.save({"epoch": 3, "model_state_dict": {"conv1.weight": torch.ones(2)}}, saved)
    saved.rename(path)


def bytes_of(content: bytes) -> Make:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def plain_optuna(path: Path) -> None:
    study = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="theirs")
    study.add_trial(optuna.create_trial(value=1.0))


FILES: dict[str, Make] = {
    "sqlite": sqlite,
    "png": picture,
    "zip": archive,
    "tensors": tensors,
    "optuna": plain_optuna,
    "note": bytes_of(b"a note without a final newline"),
    "lines": bytes_of(b"one\ntwo\nthree"),
    "crlf": bytes_of(b"one\r\ntwo\r\n"),
    "utf16": bytes_of('{"structure_digest": "x"}\r\n'.encode("utf-16")),
    "json": bytes_of(json.dumps({"short_name": "app", "icons": [], "start_url": "."}).encode()),
    "jsonlines": bytes_of(b'{"event": "start", "at": 1}\n{"event": "end", "at": 2}\n'),
    "toml": bytes_of(b'[project]\nname = "theirs"\n'),
    "csv": bytes_of(b"model,score\nmine,1.5\n"),
    "html": bytes_of(b"<!doctype html>\n<html><head><title>My thesis</title></head></html>\n"),
    "noise": bytes_of(bytes(range(256)) * 20),
    "blank disk": bytes_of(bytes(100_000)),
    "comments": bytes_of(b"# only what I want to remember\n"),
    "pickle": bytes_of(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07years o."),
}


def snapshot(folder: Path) -> dict[str, Any]:
    """Everything below a folder: names, kinds, times of change, contents, where links lead."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        look = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = (look.st_mode, look.st_mtime_ns, content)
    return found


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")


def link_to(target: str) -> Make:
    def write(path: Path) -> None:
        path.symlink_to(target)

    return write


def link_to_theirs(path: Path) -> None:
    sqlite(path.with_name("theirs.db"))
    path.symlink_to("theirs.db")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


ODD: dict[str, Make] = {
    "pipe": fifo,
    "folder": folder,
    "link to nothing": link_to("nowhere/at/all"),
    "link to theirs": link_to_theirs,
    "link to a device": link_to("/dev/null"),
    "link to stdout": link_to("/dev/stdout"),
    "link to itself": link_to_itself,
}
