"""The folder of a run: who may write it, which artefacts are finished, and which are torn.

An artefact is finished when its file's SHA-256 stands in `artefacts.json`, which is written after the file.
So a run that was killed anywhere finds either a finished artefact, or one to make again.
"""

import fcntl
import json
import os
import platform
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from mobinas.errors import RunFolderError
from mobinas.files import sha256_of, write_atomic

JOB_FILE = "job.toml"
_INDEX = "artefacts.json"
_LOCK = ".lock"
# What tells how fast a job runs, not what it makes.
_SPEED_KEYS = ("threads", "workers")
# Artefacts that describe what goes in; a folder of these alone holds no work that could be lost.
_INPUTS = ("data.json", "target.json")


class RunFolder:
    """An open run folder; a context manager that holds the folder's lock.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path, job_toml: str) -> None:
        """Claims a folder for a job, or continues the same job there.

        Args:
            path: The folder; made if missing.
            job_toml: The resolved job.

        Raises:
            RunFolderError: The path is no folder, in use by another process, or holds another job or files.
        """
        self.path = path
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
        if _identity(before) != _identity(job_toml):
            if set(self._index) - set(_INPUTS):
                raise RunFolderError(f"{self.path} belongs to another job ({_difference(before, job_toml)}")
            self._index.clear()
        if before != job_toml:
            write_atomic(job, job_toml)

    def _read_index(self) -> dict[str, str]:
        try:
            index = json.loads((self.path / _INDEX).read_text(encoding="utf-8"))
            return {str(name): str(digest) for name, digest in index.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def is_finished(self, name: str) -> bool:
        """Whether this artefact is there, whole and as it was written."""
        path = self.path / name
        return name in self._index and path.is_file() and sha256_of(path) == self._index[name]

    def finish(self, name: str) -> None:
        """Declares the file at this relative path a finished artefact."""
        self._index[name] = sha256_of(self.path / name)
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


def _identity(job_toml: str) -> list[str]:
    return [line for line in job_toml.splitlines() if line.partition(" = ")[0] not in _SPEED_KEYS]


def _difference(before: str, now: str) -> str:
    old, new = _identity(before), _identity(now)
    was = next((line for line in old if line not in new), "nothing")
    wanted = next((line for line in new if line not in old), "nothing")
    return f"there: {was}; now: {wanted}); choose another --out"
