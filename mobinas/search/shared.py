"""Where a search is kept that several processes work on: who leads, who claims, who is alive."""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from mobinas.errors import MobinasError, RunFolderError, SearchError
from mobinas.search.journal import STUDY_NAME, check_journal, journal_state, quiet_optuna

WORKER_KEY = "mobinas:worker"
WORK_KEY = "mobinas:work"
# As paths, these would show passwords: libpq's key=value form, and URLs without a slash or their scheme.
_KEY_VALUE = re.compile(r"(^|\s)(host|hostaddr|port|user|password|dbname|service)\s*=")
_TORN_URL = re.compile(r"postgres[\w+]*(:|/.*@)|(//)?[^/]*:.*@")
# Of another kind, or what pathlib makes of one; a drive's name has one letter.
_OTHER_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/|(sqlite|file|redis|mysql):")

_RETRY_S = 0.5


def unsaid(_text: str) -> None:
    """Tells nobody."""


class Wait:
    """Patience with what is not there yet: a server, a file, a study.

    Attributes:
        waited: For the end of a message: how long it was; empty where nothing was waited for.
    """

    def __init__(self, seconds: float = 0.0, say: Callable[[str], None] = unsaid) -> None:
        """The time begins now; `say` is told each problem when its waiting begins."""
        self.waited = ""
        self._seconds, self._say = seconds, say
        self._until = time.monotonic() + seconds
        self._told = ""

    def goes_on(self, problem: str) -> bool:
        """Waits a moment; tells whether to try again."""
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            return False
        if problem != self._told:
            self._say(f"waiting up to {self._seconds:.0f} s: {problem}")
            self._told, self.waited = problem, f" (waited {self._seconds:.0f} s)"
        time.sleep(min(_RETRY_S, left_s))
        return True


class Lock(Protocol):
    """Held by one process of all that share a study; freed when its holder dies."""

    def acquire(self, *, wait: bool = True) -> bool:
        """Takes it; without waiting, tells whether it could be had."""
        ...

    def held(self) -> bool:
        """Whether this process has held it without a break since it was acquired."""
        ...

    def release(self) -> None:
        """Gives it back; harmless where it is not held."""
        ...


class Shared(Protocol):
    """A storage with its locks and its way to tell who is alive.

    Attributes:
        where: For messages; never a password.
        address: For workers of this machine; may hold a password.
        failures: What this storage raises when it cannot be reached.
    """

    where: str
    address: str
    failures: tuple[type[Exception], ...]

    @property
    def storage(self) -> BaseStorage:
        """Optuna's."""
        ...

    @property
    def claiming(self) -> Lock:
        """Held while a process takes a candidate to evaluate."""
        ...

    @property
    def leading(self) -> Lock:
        """Held by the process that proposes candidates."""
        ...

    def working(self, worker: str) -> AbstractContextManager[None]:
        """Says that this worker is alive, for the duration of the context."""
        ...

    def begun(self, trial: Trial) -> None:
        """Says that the worker of this trial is alive."""
        ...

    def fail_dead(self, study: optuna.Study, running: list[FrozenTrial]) -> None:
        """Marks the trials of workers as failed that are known to be dead."""
        ...

    def close(self) -> None:
        """Frees locks and connections."""
        ...


def check_storage(storage: str | Path, study: str | None = STUDY_NAME) -> None:
    """Refuses what is neither a database's URL nor a file that a search may use; nothing is touched.

    Args:
        storage: URL or path.
        study: See `check_journal`.

    Raises:
        SearchError: The text shows nothing that could be a password.
        RunFolderError: See `check_journal`.
    """
    if not isinstance(storage, str | os.PathLike) or isinstance(os.fspath(storage), bytes):
        raise SearchError(f"storage is a {type(storage).__name__}; give a file's path, or postgresql://...")
    text = str(storage)
    if _KEY_VALUE.search(text) or ("://" not in text and _TORN_URL.match(text)):
        raise SearchError(
            "the storage looks like a database's address, but is no URL; write it like "
            "postgresql://user:password@host:5432/database"
        )
    if "://" in text:
        from mobinas.search.shared_database import parse_url

        parse_url(text)
    elif _OTHER_URL.match(text):
        raise SearchError(
            f"storage '{text.partition(':')[0]}:...' is no PostgreSQL URL; write it like "
            "postgresql://user:password@host:5432/database, or give a file's path"
        )
    else:
        check_journal(Path(storage), study)


@contextmanager
def opened(storage: str | Path, study: str, wait: Wait | None = None) -> Iterator[Shared]:
    """Opens a database by its URL, or a journal file by its path, for the duration of the context.

    What the storage raises becomes one line; nothing is chained to it that could show a password.

    Args:
        storage: URL or path.
        study: The study's name.
        wait: For a server or a file that is not there yet; without, a missing file is made.

    Raises:
        SearchError: It cannot be reached or used.
        RunFolderError: The file cannot be read or written.
    """
    check_storage(storage, study if wait is None else None)
    if "://" in str(storage):
        from mobinas.search.shared_database import SharedDatabase

        shared: Shared = SharedDatabase(str(storage), study, wait or Wait())
    else:
        from mobinas.search.shared_journal import SharedJournal

        if wait is not None:
            _wait_for_file(Path(storage), wait)
        shared = SharedJournal(Path(storage), study)
    problem: MobinasError
    try:
        yield shared
        return
    except shared.failures as error:
        problem = SearchError(f"lost the database {shared.where} ({type(error).__name__}); run again")
    except OSError as error:
        problem = RunFolderError(f"cannot use {shared.where}: {error.strerror or error}")
    finally:
        shared.close()
    raise problem


def _wait_for_file(path: Path, wait: Wait) -> None:
    problem = ""
    while (missing := not path.exists()) or journal_state(check_journal(path, None)) != "ours":
        if missing:
            problem = f"there is no file {path}; begin the search, or check the path"
        problem = problem or f"no search has begun in {path}; begin it, or check the path"
        if not wait.goes_on(problem):
            raise SearchError(problem + wait.waited)


@contextmanager
def led(shared: Shared, study: str) -> Iterator[None]:
    """Proposes candidates for the duration of the context; one process at a time may.

    Raises:
        SearchError: Another process does.
    """
    if not shared.leading.acquire(wait=False):
        raise SearchError(
            f"study '{study}' in {shared.where} is being run by another process; join it with "
            f"'mobinas worker', or take another study name"
        )
    try:
        yield
    finally:
        shared.leading.release()


def fail_dead(shared: Shared, study: optuna.Study) -> None:
    """Marks trials as failed whose worker is dead, so that they are given to others."""
    with quiet_optuna():
        shared.claiming.acquire()
        try:
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            for trial in running:
                # Who claims holds the lock until its name stands there. So this one died in between, before
                # its first heartbeat perhaps, and Optuna never calls a trial stale that has none.
                if WORKER_KEY not in trial.user_attrs:
                    fail(study, trial)
            shared.fail_dead(study, [t for t in running if WORKER_KEY in t.user_attrs])
        finally:
            shared.claiming.release()


def fail(study: optuna.Study, trial: FrozenTrial) -> None:
    """Ends a trial without a result, unless it has ended in the meantime."""
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
