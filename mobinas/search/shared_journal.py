"""A study that processes of one machine share, in an Optuna journal file.

Optuna has no heartbeats there. Each worker locks a file of its own instead, and the operating system frees
the lock of a process that dies, at once and without a process number that another may get.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial

from mobinas.errors import SearchError
from mobinas.files import cut_torn_line
from mobinas.search.journal import FileLock, file_lock, reading
from mobinas.search.shared import WORKER_KEY, fail


class SharedJournal:
    """See `Shared`; lock files lie in a folder beside the journal."""

    failures: tuple[type[Exception], ...] = ()

    def __init__(self, path: Path, study: str) -> None:
        """Opens or makes the file.

        Raises:
            SearchError: It is no journal, or this system has no such locks.
            RunFolderError: It cannot be read or written.
        """
        if importlib.util.find_spec("fcntl") is None:
            raise SearchError("workers on a journal file need a Unix system; use a PostgreSQL storage here")
        self._folder = path.with_name(path.name + ".locks")
        self.where = self.address = str(path)
        self.claiming = FileLock(self._folder / f"{quote(study, safe='')}.claiming")
        self.leading = FileLock(self._folder / f"{quote(study, safe='')}.leading")
        with reading(path):
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = file_lock(path)
            lock.acquire()  # nobody writes now, so half a line is a dead process's
            try:
                cut_torn_line(path)
            finally:
                lock.release()
            self.storage = JournalStorage(JournalFileBackend(str(path), lock))

    @contextmanager
    def working(self, worker: str) -> Iterator[None]:
        """Holds the worker's lock."""
        lock = FileLock(self._folder / worker)
        lock.acquire()
        try:
            yield
        finally:
            lock.release()
            (self._folder / worker).unlink(missing_ok=True)

    def begun(self, trial: Trial) -> None:
        """The worker's lock says it."""

    def fail_dead(self, study: optuna.Study, running: list[FrozenTrial]) -> None:
        """Marks the trials of workers whose lock is free."""
        for trial in running:
            path = self._folder / trial.user_attrs[WORKER_KEY]
            lock = FileLock(path)
            if lock.acquire(wait=False):
                lock.release()
                path.unlink(missing_ok=True)
                fail(study, trial)

    def close(self) -> None:
        """Frees the locks."""
        self.claiming.release()
        self.leading.release()
