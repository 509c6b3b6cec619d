"""The folder of a run: who may write it, which artefacts are finished, and which are torn.

An artefact is finished when its file's SHA-256 stands in `artefacts.json`, which is written after the file.
So a run that was killed anywhere finds either a finished artefact, or one to make again.
"""

import fcntl
import json
import os
import platform
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mobinas.config import JobConfig, is_same_value, with_places
from mobinas.content import is_blank, is_cut_json, is_our_state
from mobinas.errors import RunFolderError
from mobinas.files import (
    check_ours,
    is_leftover,
    make_folder,
    read_text,
    remove_ours,
    sha256_of,
    write_atomic,
)
from mobinas.locks import check_lock, open_lock

JOB_FILE = "job.toml"
_INDEX = "artefacts.json"
_LOCK = ".lock"
# Whole, or cut off where its writer was killed.
_OWNER = re.compile(rb"process \d+( (on?( [^\n]*\n?)?)?)?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ASK = "choose another --out"
# What tells how fast a job runs, not what it makes.
_SPEED_KEYS = (("", "device"), ("", "threads"), ("train", "workers"))
# Sections of the job that may still change in a folder, and the first thing made from each.
OPEN_UNTIL = {
    "supernet": "supernet.json",
    "search": "study.journal",
    "train": "front.json",
}
# Keys that may change longer, and without a loss of checkpoints: what helps where memory runs out.
_OPEN_FOR_MEMORY = {
    ("supernet", "batch_size"): "supernet.json",
    ("supernet", "elastic_batch_size"): "elastic.pt",
}
_CHECKPOINTS = {"supernet": "*.checkpoint.pt", "train": "trained/*.checkpoint.pt"}
# Made again when the recipe changes: all networks are trained alike.
_TRAINED = ("qualified/", "plan.json", "trained/", "models/", "baselines/")
# Artefacts that describe what goes in; a folder of these alone holds no work that could be lost.
_INPUTS = ("data.json", "target.json", "genotypes.json")


class RunFolder:
    """An open run folder; a context manager that holds the folder's lock.

    Attributes:
        path: The folder.
        notes: What the user should know of how the job differs from the one that began here.
    """

    def __init__(self, path: Path, job_toml: str, *, open_until: Mapping[str, str] = OPEN_UNTIL) -> None:
        """Claims a folder for a job, or continues the same job there.

        Args:
            path: The folder; made if missing.
            job_toml: The resolved job.
            open_until: Sections of the job that may still change, and the first thing made from each.

        Raises:
            RunFolderError: The path is no folder, in use by another process, or holds another job or files.
        """
        self.path = path
        self.notes: list[str] = []
        self._open_until = open_until
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path} is a file; name a folder with --out")
        _check_claimable(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"cannot make {path}: {error.strerror}; {_ASK}") from error
        self._lock = os.fdopen(open_lock(path / _LOCK, _is_owner), "r+", encoding="utf-8")
        try:
            self._own()
            self._index = _index_of(path / _INDEX)
            self._claim(job_toml)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def _own(self) -> None:
        # The kernel drops this lock when its process dies, however it dies; a file that merely exists stays.
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = self._lock.read().strip() or "another process"
            raise RunFolderError(f"{self.path} is in use by {owner}; wait or {_ASK}") from None
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {platform.node()}\n")
        self._lock.flush()

    def _claim(self, job_toml: str) -> None:
        job = self.path / JOB_FILE
        if not job.exists():
            write_atomic(job, job_toml)
            return
        before = read_text(job)
        changes = _changes(before, job_toml, self.path.absolute())
        sections = {section for section, _ in changes}
        closed = [change for change in changes if self._is_closed(change)]
        if closed and self.holds_work:
            raise RunFolderError(f"{self.path} belongs to another job ({changes[closed[0]]}); {_ASK}")
        again = _INPUTS if closed else _TRAINED if "train" in sections else ()
        dropped = [name for name in self._index if name.startswith(again)] if again else []
        for name in dropped:
            del self._index[name]
        for section in {section for section, _ in changes.keys() - _OPEN_FOR_MEMORY} & _CHECKPOINTS.keys():
            for checkpoint in self.path.glob(_CHECKPOINTS[section]):
                remove_ours(checkpoint, is_our_state)
        # The index goes first: under a new job, nothing of the old one may ever count as finished.
        if dropped:
            self._write_index()
        if tomllib.loads(before) != tomllib.loads(job_toml):
            write_atomic(job, job_toml)
        if changes and not closed:
            self.notes.extend(f"the job changed: {change}" for change in changes.values())
        if "train" in sections and any(name.startswith("trained/") for name in dropped):
            self.notes.append("all networks are trained anew with it")

    def _is_closed(self, change: tuple[str, str]) -> bool:
        first = _OPEN_FOR_MEMORY.get(change) or self._open_until.get(change[0])
        return first is None or first in self._index or (self.path / first).exists()

    @property
    def holds_work(self) -> bool:
        """Whether anything was computed here that another job would lose."""
        return bool(set(self._index) - set(_INPUTS))

    def forget(self, name: str) -> None:
        """Has an artefact made anew by the next that asks for it."""
        self._index.pop(name, None)
        self._write_index()

    def is_finished(self, name: str) -> bool:
        """Whether this artefact is there, whole and as it was written."""
        path = self.path / name
        return name in self._index and path.is_file() and sha256_of(path) == self._index[name]

    def finish(self, name: str) -> None:
        """Declares the file at this relative path a finished artefact."""
        self._index[name] = sha256_of(self.path / name)
        self._write_index()

    def _write_index(self) -> None:
        write_atomic(self.path / _INDEX, json.dumps(self._index, indent=1, sort_keys=True) + "\n", _is_index)

    def file(self, name: str, make: Callable[[Path], None]) -> Path:
        """An artefact that `make` writes at the path it is given; made only if not finished yet.

        Returns:
            The artefact's path.
        """
        path = self.path / name
        if not self.is_finished(name):
            make_folder(path.parent)
            make(path)
            self.finish(name)
        return path

    def data(self, name: str, make: Callable[[], Any]) -> Any:
        """A JSON artefact; `make` returns plain data, and is called only if it is not finished yet."""
        path = self.file(name, lambda path: write_atomic(path, json.dumps(make(), indent=1) + "\n"))
        return json.loads(path.read_text(encoding="utf-8"))


def _check_claimable(path: Path) -> None:
    """Refuses a folder of something else before anything is made in it.

    A job file of a user's own is none of a run: those lie beside the lock or the index.

    Raises:
        RunFolderError: The text names what is there.
    """
    try:
        there = sorted(p.name for p in path.iterdir() if not is_leftover(p)) if path.exists() else []
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}; {_ASK}") from error
    check_lock(path / _LOCK, _is_owner)
    others = [name for name in there if not name.startswith(".")]
    if others and JOB_FILE not in others:
        raise RunFolderError(f"{path} holds files of something else ({others[0]}); {_ASK}")
    check_ours(path / JOB_FILE, _is_job, "the job of a run", _ASK)
    check_ours(path / _INDEX, _is_index, "the index of a run", _ASK)
    locked = (path / _LOCK).exists() and (path / _LOCK).stat().st_size
    if others and not locked and not (path / _INDEX).exists():
        raise RunFolderError(f"{path} holds files of something else (a {JOB_FILE} that no run wrote); {_ASK}")


def _is_owner(content: bytes) -> bool:
    return _OWNER.fullmatch(content) is not None or b"process ".startswith(content)


def _is_job(path: Path) -> bool:
    try:
        keys = set(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except tomllib.TOMLDecodeError:
        return True  # torn, which `_changes` tells
    except (UnicodeDecodeError, RecursionError):
        return False
    return 2 * len(keys & set(JobConfig.model_fields)) > len(keys)


def _is_index(path: Path) -> bool:
    if is_blank(path):
        return True
    content = path.read_bytes()
    cut = bool(content.strip(b"\0")) and is_cut_json(content)
    return bool(_index_of(path)) or content.strip() == b"{}" or cut


def _index_of(path: Path) -> dict[str, str]:
    """The digests in an index file; none, where it is missing, torn or something else."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(index, dict) and all(
        isinstance(digest, str) and _DIGEST.fullmatch(digest) for digest in index.values()
    )
    return index if whole else {}


def _changes(before: str, now: str, folder: Path) -> dict[tuple[str, str], str]:
    """By section and key, what differs between two jobs of a folder and matters to what they make."""
    try:
        old, new = (_flat(with_places(tomllib.loads(text), folder)) for text in (before, now))
    except tomllib.TOMLDecodeError as error:
        raise RunFolderError(f"{JOB_FILE} in the run folder is torn ({error}); {_ASK}") from error
    # A run made before a key existed did what the key's default does.
    defaults = _flat(JobConfig().model_dump(mode="json"))
    old |= {key: value for key, value in defaults.items() if key in new and key not in old}
    return {
        key: f"{'.'.join(filter(None, key))} was {old.get(key)!r} there, now {new.get(key)!r}"
        for key in sorted({*old, *new})
        if key not in _SPEED_KEYS and not is_same_value(key, old.get(key), new.get(key))
    }


def _flat(job: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    sections = {name: value for name, value in job.items() if isinstance(value, dict)}
    top = {("", key): value for key, value in job.items() if key not in sections}
    return top | {(name, key): value for name, section in sections.items() for key, value in section.items()}
