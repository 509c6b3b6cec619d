"""The folder of a run: who may write it, which artefacts are finished, and which are torn.

An artefact is finished when its file's SHA-256 stands in `artefacts.json`, which is written after the file.
So a run that was killed anywhere finds either a finished artefact, or one to make again.
"""

import fcntl
import json
import os
import platform
import tomllib
from collections.abc import Callable, Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from mobinas.config import JobConfig
from mobinas.errors import RunFolderError
from mobinas.files import sha256_of, write_atomic

JOB_FILE = "job.toml"
_INDEX = "artefacts.json"
_LOCK = ".lock"
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
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"cannot make {path}: {error.strerror}; choose another --out") from error
        self._lock = self._acquire()
        try:
            self._index = self._read_index()
            self._claim(job_toml)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def _acquire(self) -> TextIOWrapper:
        # The kernel drops this lock when its process dies, however it dies; a file that merely exists stays.
        lock = (self.path / _LOCK).open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            owner = lock.read().strip() or "another process"
            lock.close()
            raise RunFolderError(f"{self.path} is in use by {owner}; wait or choose another --out") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {platform.node()}\n")
        lock.flush()
        return lock

    def _claim(self, job_toml: str) -> None:
        job = self.path / JOB_FILE
        if not job.exists():
            others = [p.name for p in self.path.iterdir() if not p.name.startswith(".")]
            if others:
                raise RunFolderError(
                    f"{self.path} holds files of something else ({sorted(others)[0]}); choose another --out"
                )
            write_atomic(job, job_toml)
            return
        before = job.read_text(encoding="utf-8")
        changes = _changes(before, job_toml)
        sections = {section for section, _ in changes}
        closed = [change for change in changes if self._is_closed(change)]
        if closed and self.holds_work:
            raise RunFolderError(
                f"{self.path} belongs to another job ({changes[closed[0]]}); choose another --out"
            )
        again = _INPUTS if closed else _TRAINED if "train" in sections else ()
        dropped = [name for name in self._index if name.startswith(again)] if again else []
        for name in dropped:
            del self._index[name]
        for section in {section for section, _ in changes.keys() - _OPEN_FOR_MEMORY} & _CHECKPOINTS.keys():
            for checkpoint in self.path.glob(_CHECKPOINTS[section]):
                checkpoint.unlink()
        # The index goes first: under a new job, nothing of the old one may ever count as finished.
        if dropped:
            self._write_index()
        if before != job_toml:
            write_atomic(job, job_toml)
        if changes and not closed:
            self.notes.extend(f"the job changed: {change}" for change in changes.values())
        if "train" in sections and any(name.startswith("trained/") for name in dropped):
            self.notes.append("all networks are trained anew with it")

    def _is_closed(self, change: tuple[str, str]) -> bool:
        first = _OPEN_FOR_MEMORY.get(change) or self._open_until.get(change[0])
        return first is None or first in self._index or (self.path / first).exists()

    def _read_index(self) -> dict[str, str]:
        try:
            index = json.loads((self.path / _INDEX).read_text(encoding="utf-8"))
            return {str(name): str(digest) for name, digest in index.items()}
        except (OSError, ValueError, AttributeError):
            return {}

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
        write_atomic(self.path / _INDEX, json.dumps(self._index, indent=1, sort_keys=True) + "\n")

    def file(self, name: str, make: Callable[[Path], None]) -> Path:
        """An artefact that `make` writes at the path it is given; made only if not finished yet.

        Returns:
            The artefact's path.
        """
        path = self.path / name
        if not self.is_finished(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
            self.finish(name)
        return path

    def data(self, name: str, make: Callable[[], Any]) -> Any:
        """A JSON artefact; `make` returns plain data, and is called only if it is not finished yet."""
        path = self.file(name, lambda path: write_atomic(path, json.dumps(make(), indent=1) + "\n"))
        return json.loads(path.read_text(encoding="utf-8"))


def _changes(before: str, now: str) -> dict[tuple[str, str], str]:
    """By section and key, what differs between two jobs and matters to what they make."""
    try:
        old, new = (_flat(tomllib.loads(text)) for text in (before, now))
    except tomllib.TOMLDecodeError as error:
        raise RunFolderError(
            f"{JOB_FILE} in the run folder is torn ({error}); choose another --out"
        ) from error
    # A run made before a key existed did what the key's default does.
    defaults = _flat(JobConfig().model_dump(mode="json"))
    old |= {key: value for key, value in defaults.items() if key in new and key not in old}
    return {
        key: f"{'.'.join(filter(None, key))} was {old.get(key)!r} there, now {new.get(key)!r}"
        for key in sorted({*old, *new})
        if key not in _SPEED_KEYS and old.get(key) != new.get(key)
    }


def _flat(job: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    sections = {name: value for name, value in job.items() if isinstance(value, dict)}
    top = {("", key): value for key, value in job.items() if key not in sections}
    return top | {(name, key): value for name, section in sections.items() for key, value in section.items()}
