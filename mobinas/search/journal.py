"""The study's file: an Optuna journal to which each ended trial is added in one write.

A trial becomes part of the file when it has ended, with everything known of it, as a single line. So a run
that is killed leaves no half-made trial, and what it was working on is simply proposed again.
"""

import contextlib
import importlib.util
import itertools
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import FrozenTrial

from mobinas.content import begins_like, described, is_blank
from mobinas.errors import RunFolderError, SearchError
from mobinas.files import make_folder, mend_end, real_file
from mobinas.locks import check_lock, open_lock
from mobinas.metrics.objective import Objective

STUDY_NAME = "mobinas"
IDENTITY_KEY = "mobinas:identity"
_ASK = "choose another storage"
_LINE_START = b'{"op_code":'
_LINES_SHOWN, _STUDIES_SHOWN = 1000, 3


class FileLock(JournalFileOpenLock):
    """A lock that the operating system frees when its holder dies; Optuna's own waits 30 s for a dead one."""

    def __init__(self, path: Path) -> None:
        """The file is made when the lock is acquired."""
        self._path = path
        self._handle: int | None = None

    def acquire(self, *, wait: bool = True) -> bool:
        """Takes it; without waiting, tells whether it could be had."""
        import fcntl

        handle = open_lock(self._path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return True

    def held(self) -> bool:
        """Whether it is held."""
        return self._handle is not None

    def release(self) -> None:
        """Gives it back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _has_file_locks() -> bool:
    return importlib.util.find_spec("fcntl") is not None  # Unix


def file_lock(path: Path) -> JournalFileOpenLock:
    """A lock for the journal; on systems that can, one that no dead process holds."""
    return FileLock(_beside(path, ".lock")) if _has_file_locks() else JournalFileOpenLock(str(path))


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def journal_state(path: Path, study: str | None = None) -> Literal["ours", "free", "foreign", "damaged"]:
    """Tells from a plain file's content whose journal it is.

    A search names itself in the second or third line, and no trial comes before that. So a file is free where
    a search was killed before it, or where there is nothing at all; Optuna's own programs never say so.

    Args:
        path: The file.
        study: A study of another name makes the file foreign, unless a search has named itself.
    """
    named, free = False, True
    if is_blank(path):
        return "free"
    with path.open("rb") as file:
        start = file.read(len(_LINE_START) + 3).removeprefix(b"\xef\xbb\xbf").rstrip(b"\0")
        if not start or not begins_like(start[: len(_LINE_START)], _LINE_START):
            return "foreign"
        file.seek(0)
        for number, line in enumerate(file):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
            whole = line.endswith(b"\n")
            if named:
                if not _looks_whole(line) and (whole or not begins_like(line.rstrip(b"\0"), _LINE_START)):
                    return "damaged"
                continue
            operation = _operation(line)
            if operation is None:
                return "free" if free and not whole and _may_begin(line, study) else "foreign"
            named = _names_a_search(operation)
            free = free and _precedes_the_name(operation, study)
    return "ours" if named else "free" if free else "foreign"


def _looks_whole(line: bytes) -> bool:
    return line.startswith(_LINE_START) and line.rstrip().endswith(b"}")


def _operation(line: bytes) -> dict[str, Any] | None:
    try:
        read = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) and type(read.get("op_code")) is int else None


def _names_a_search(operation: Mapping[str, Any]) -> bool:
    named = operation.get("user_attr")
    is_of_a_study: bool = operation["op_code"] == JournalOperation.SET_STUDY_USER_ATTR
    return is_of_a_study and isinstance(named, dict) and IDENTITY_KEY in named


def _precedes_the_name(operation: Mapping[str, Any], study: str | None) -> bool:
    if operation["op_code"] == JournalOperation.CREATE_STUDY:
        return study in (None, operation.get("study_name"))
    return bool(operation["op_code"] == JournalOperation.SET_STUDY_SYSTEM_ATTR)


def _may_begin(torn: bytes, study: str | None) -> bool:
    """Whether this may be half of a line that precedes the name of a search, or is it."""
    head, _, name = torn.rstrip(b"\0").partition(b'"study_name":"')
    early = (JournalOperation.CREATE_STUDY, JournalOperation.SET_STUDY_USER_ATTR)
    starts = [b"%s%d," % (_LINE_START, code) for code in (*early, JournalOperation.SET_STUDY_SYSTEM_ATTR)]
    return any(begins_like(head, start) for start in starts) and (
        study is None or begins_like(name, json.dumps(study).encode()[1:] + b",")
    )


def _studies_in(path: Path) -> list[str]:
    """Names of the first studies that were made in a journal."""
    with path.open("rb") as file:
        lines = itertools.islice(file, _LINES_SHOWN)
        read = [_operation(line) or {} for line in lines]
    return [str(one["study_name"]) for one in read if "study_name" in one][:_STUDIES_SHOWN]


def check_journal(path: Path, study: str | None) -> Path:
    """Refuses a file that no search has begun, before anything is opened to write, locked or made.

    Args:
        path: As a user names it.
        study: The study to be made there, if no search has begun; None for whoever makes none.

    Returns:
        The file itself, behind links; lock files lie beside it.

    Raises:
        SearchError: Something else is there, or a folder; the text says what.
        RunFolderError: Something else has the name of a lock.
    """
    if path.is_dir():
        raise SearchError(f"storage {path} is a folder; name a file in it")
    real = real_file(path, _ASK, SearchError)
    with reading(path):
        state = journal_state(real, study) if real.exists() else "free"
        if state == "damaged":
            raise SearchError(
                f"storage {path} is not a readable Optuna journal, for it holds more than a search writes; "
                f"it was left as it is, {_ASK}"
            )
        if state == "foreign":
            names = _studies_in(real)
            what = f"an Optuna journal ({', '.join(names)}) that was not begun by pareto_search"
            what = what if names else f"{described(real)}, not a readable Optuna journal"
            raise SearchError(f"storage {path} is {what}; it was left as it is, {_ASK}")
    for ending in (".lock", ".leading"):
        check_lock(_beside(real, ending))
    return real


@contextlib.contextmanager
def quiet_optuna(least: int = logging.WARNING) -> Iterator[None]:
    """Silences Optuna's notices of new studies and experimental methods, for the duration of a call.

    Args:
        least: The logging level from which on it may speak.
    """
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(max(level, least))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        logger.setLevel(level)


def new_study(
    objectives: Sequence[Objective], storage: BaseStorage | None = None, name: str = STUDY_NAME
) -> optuna.Study:
    """Opens the study in the storage, or makes it there; without a storage, one in memory."""
    with quiet_optuna():
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=[objective.direction for objective in objectives],
            load_if_exists=True,
        )
        study.set_metric_names([objective.name for objective in objectives])
    return study


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Explains what goes wrong while a journal is opened.

    Raises:
        SearchError: The file is not a journal.
        RunFolderError: It cannot be read or written.
    """
    try:
        yield
    except (ValueError, LookupError, AttributeError, TypeError, AssertionError) as error:
        # Optuna replays what it finds there without checking it.
        raise SearchError(f"study file {path} is not a readable Optuna journal ({error}); {_ASK}") from error
    except OSError as error:
        raise RunFolderError(f"cannot open study file {path}: {error.strerror}") from error


@contextlib.contextmanager
def open_journal(
    path: Path, objectives: Sequence[Objective], identity: Mapping[str, Any]
) -> Iterator["Journal"]:
    """The stored study of a search, for the duration of the context; one process at a time may.

    Raises:
        SearchError: Another process does, or as `check_journal` and `Journal`.
        RunFolderError: The file cannot be read or written.
    """
    real = check_journal(path, STUDY_NAME)
    leading = FileLock(_beside(real, ".leading"))
    make_folder(real.parent)
    alone = not _has_file_locks() or leading.acquire(wait=False)
    if not alone:
        raise SearchError(
            f"the search in {path} is being run by another process; wait for it, or take another storage"
        )
    try:
        yield Journal(real, objectives, identity)
    finally:
        leading.release()


def mend_journal(path: Path) -> None:
    """Cuts off what a killed process left of a last line; nobody may write meanwhile."""
    with path.open("r+b") as file:
        mend_end(file)


class Journal:
    """The stored study of one search, see `open_journal`."""

    def __init__(self, path: Path, objectives: Sequence[Objective], identity: Mapping[str, Any]) -> None:
        """Opens or makes the file.

        Args:
            path: What `check_journal` gave.
            objectives: The axes.
            identity: Plain data that must be the same for every run on this file.

        Raises:
            SearchError: The file holds another search, or is not a journal.
            RunFolderError: It cannot be read or written.
        """
        self._path = path
        with reading(path):
            storage = JournalStorage(JournalFileBackend(str(path), file_lock(path)))
            check_identity(f"study file {path}", storage, STUDY_NAME, objectives, identity)
            mend_journal(path)
            self._study = new_study(objectives, storage)
            self._study.set_user_attr(IDENTITY_KEY, dict(identity))

    def trials(self) -> list[FrozenTrial]:
        """The stored trials, in order."""
        return self._study.get_trials(deepcopy=False)

    def add(self, trial: FrozenTrial) -> None:
        """Stores an ended trial.

        Raises:
            RunFolderError: The disk is full, or the file cannot be written.
        """
        try:
            self._study.add_trial(trial)
        except OSError as error:
            raise RunFolderError(
                f"cannot write study file {self._path}: {error.strerror}; free some space and run again"
            ) from error


def check_identity(
    where: str,
    storage: BaseStorage,
    name: str,
    objectives: Sequence[Objective],
    wanted: Mapping[str, Any],
) -> None:
    """Refuses a study of this name that another search, or other software, has begun.

    Raises:
        SearchError: The stored identity differs from the wanted one.
    """
    study = next((study for study in storage.get_all_studies() if study.study_name == name), None)
    if study is None:
        return
    stored = study.user_attrs.get(IDENTITY_KEY)
    if stored is None:
        # Ours, if it was killed between making the study and naming it; then there are no trials yet.
        directions = [direction.name.lower() for direction in study.directions]
        alike = directions == [objective.direction for objective in objectives]
        if not alike or storage.get_n_trials(study._study_id):
            raise SearchError(f"{where} was not begun by pareto_search; use another one")
        return
    check_alike(where, stored, wanted)


def check_alike(where: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuses what was begun with other settings.

    Raises:
        SearchError: It names the first that differs.
    """
    for key in dict.fromkeys([*wanted, *stored]):
        before, now = stored.get(key), wanted.get(key)
        if before != now:
            raise SearchError(
                f"{where} belongs to another search: {_difference(key, before, now)}; use another one, or "
                "the settings it was begun with"
            )


def _difference(key: str, stored: Any, wanted: Any) -> str:
    if key == "schema":
        by_workers = ["workers" in str(schema) for schema in (stored, wanted)]
        if by_workers[0] != by_workers[1]:
            return f"it was begun {'with' if by_workers[0] else 'without'} workers"
        return "it is of another version of mobinas"
    if key in ("space", "files"):  # digests
        return f"its {key} {'is another' if key == 'space' else 'are others'}"
    return f"its {key} is {_short(stored)}, not {_short(wanted)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
