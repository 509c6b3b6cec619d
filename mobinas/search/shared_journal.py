"""A study that processes of one machine share, in an Optuna journal file.

Optuna has no heartbeats there. Each worker locks a file of its own instead, and the operating system frees
the lock of a process that dies, at once and without a process number that another may get.
"""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial

from mobinas.errors import RunFolderError, SearchError
from mobinas.files import is_leftover, make_folder
from mobinas.locks import check_lock
from mobinas.search.journal import FileLock, check_journal, file_lock, mend_journal, reading
from mobinas.search.shared import WORKER_KEY, fail


class SharedJournal:
    """See `Shared`; lock files lie in a folder beside the journal."""

    failures: tuple[type[Exception], ...] = ()

    def __init__(self, path: Path, study: str) -> None:
        """Opens or makes the file.

        Raises:
            SearchError: It is none that a search has begun, or this system has no such locks.
            RunFolderError: It cannot be read or written, or its locks are none.
        """
        if importlib.util.find_spec("fcntl") is None:
            raise SearchError("workers on a journal file need a Unix system; use a PostgreSQL storage here")
        real = check_journal(path, study)
        self._folder = _locks_folder(real)
        self.where = self.address = str(path)
        self.claiming = FileLock(self._folder / f"{quote(study, safe='')}.claiming")
        self.leading = FileLock(self._folder / f"{quote(study, safe='')}.leading")
        make_folder(self._folder)
        with reading(path):
            lock = file_lock(real)
            backend = JournalFileBackend(str(real), lock)
            lock.acquire()  # nobody writes now, so half a line is a dead process's
            try:
                mend_journal(real)
            finally:
                lock.release()
            self.storage = JournalStorage(backend)

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


def _locks_folder(journal: Path) -> Path:
    """Where locks lie.

    Raises:
        RunFolderError: Something else has its name.
    """
    folder = journal.with_name(journal.name + ".locks")
    if folder.is_dir() and not folder.is_symlink():
        for lock in folder.iterdir():
            if not is_leftover(lock):
                check_lock(lock)
    elif os.path.lexists(folder):
        raise RunFolderError(f"{folder} is no folder of locks; it was left as it is, choose another storage")
    return folder
