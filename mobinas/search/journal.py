"""The study's file: an Optuna journal to which each ended trial is added in one write.

A trial becomes part of the file when it has ended, with everything known of it, as a single line. So a run
that is killed leaves no half-made trial, and what it was working on is simply proposed again.
"""

import contextlib
import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial

from mobinas.errors import RunFolderError, SearchError
from mobinas.files import cut_torn_line
from mobinas.metrics.objective import Objective

STUDY_NAME = "mobinas"
IDENTITY_KEY = "mobinas:identity"


class _KernelLock(JournalFileOpenLock):
    """Freed by the operating system when its holder dies; Optuna's own waits 30 s for a dead one."""

    _handle: int | None = None

    def acquire(self) -> bool:
        import fcntl

        self._handle = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def file_lock(path: Path) -> JournalFileOpenLock:
    """A lock for the journal; on systems that can, one that no dead process holds."""
    on_windows = importlib.util.find_spec("fcntl") is None
    return JournalFileOpenLock(str(path)) if on_windows else _KernelLock(str(path))


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
        raise SearchError(
            f"study file {path} is not a readable Optuna journal; move it away to start anew ({error})"
        ) from error
    except OSError as error:
        raise RunFolderError(f"cannot open study file {path}: {error.strerror}") from error


class Journal:
    """The stored study of one search."""

    def __init__(self, path: Path, objectives: Sequence[Objective], identity: Mapping[str, Any]) -> None:
        """Opens or makes the file.

        Args:
            path: The journal.
            objectives: The axes.
            identity: Plain data that must be the same for every run on this file.

        Raises:
            SearchError: The file holds another search, or is not a journal.
            RunFolderError: It cannot be read or written.
        """
        self._path = path
        with reading(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            cut_torn_line(path)
            storage = JournalStorage(JournalFileBackend(str(path), file_lock(path)))
            known = {study.study_name: study for study in storage.get_all_studies()}
            if STUDY_NAME in known:
                stored = known[STUDY_NAME].user_attrs.get(IDENTITY_KEY)
                check_identity(f"study file {path}", stored, identity)
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


def check_identity(where: str, stored: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> None:
    """Refuses the study of another search.

    Raises:
        SearchError: The stored identity differs from the wanted one.
    """
    if stored is None:  # killed between making the study and naming it: there are no trials yet
        return
    for key, value in wanted.items():
        if stored.get(key) != value:
            raise SearchError(
                f"{where} belongs to another search: its {key} is {_short(stored.get(key))}, not "
                f"{_short(value)}; use another one, or the settings it was begun with"
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
