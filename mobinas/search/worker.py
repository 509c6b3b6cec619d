"""A worker: takes candidates of a shared study and evaluates them, on any machine."""

import logging
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple

import optuna
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import Trial, TrialState

import mobinas
from mobinas.errors import ArtifactError, SearchError, did_you_mean
from mobinas.functions import load_function
from mobinas.metrics.evaluation import C
from mobinas.metrics.objective import Objective
from mobinas.search.artifacts import QUICK, Artifacts, Files, from_json
from mobinas.search.choice_space import Space, fingerprint
from mobinas.search.constraints import parse_constraints
from mobinas.search.dashboard import show_constraints
from mobinas.search.journal import quiet_optuna
from mobinas.search.judging import Judge
from mobinas.search.labelled_space import LabelledSpace
from mobinas.search.parts import work_on_parts
from mobinas.search.queue import GIVEN_BACK_KEY, NUMBER_KEY, STATE_KEY
from mobinas.search.record import stamp, values_of
from mobinas.search.shared import WORK_KEY, WORKER_KEY, Shared, Wait, opened, unsaid
from mobinas.search.space_file import space_from_json

WAIT_S = 120.0
_ENDED = "the search has ended"
_POLLS_S = (0.02, 0.5)


class _NotMine(Exception):
    """The study gave this worker nothing that is surely its own."""


class Worked(NamedTuple):
    """What a worker has done.

    Attributes:
        evaluations: Their number.
        why: Why it ended.
    """

    evaluations: int
    why: str


def worker_name() -> str:
    """A name that no other worker has."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def work(
    storage: str | Path,
    study: str,
    *,
    parent: int | None = None,
    idle_s: float | None = None,
    wait_s: float = WAIT_S,
    say: Callable[[str], None] = unsaid,
    artifacts: str | Path | None = None,
) -> Worked:
    """Evaluates candidates of a search until it ends.

    Args:
        storage: As `pareto_search` got it.
        study: The study's name.
        parent: A process of this machine without which there is no work.
        idle_s: Ends after so many seconds without anything to do.
        wait_s: So long for a server that does not run, or a search that has not begun yet.
        say: Told when it waits.
        artifacts: Where this machine finds the place for files, if not where the search does.

    Returns:
        How many candidates it has evaluated, and why it ended.

    Raises:
        SearchError: A storage that cannot be used or has no such study, a study of another version, or an
            evaluate function that cannot be imported.
        ArtifactError: Files of the search cannot be read or written here.
    """
    wait = Wait(wait_s, say)
    with (
        opened(storage, study, wait) as shared,
        tempfile.TemporaryDirectory(prefix="mobinas-worker-") as folder,
    ):
        found = load_shared_study(shared, study, wait)
        stored = _checked_work(found)
        patience = _Patience(parent, idle_s)
        if "parts" in stored:
            if "artifacts" in stored:
                Artifacts(artifacts or stored["artifacts"], attempts=QUICK).check()

            def join(part: str) -> int:
                worked = work(storage, part, parent=parent, idle_s=idle_s, wait_s=wait_s, artifacts=artifacts)
                return worked.evaluations

            return Worked(work_on_parts(shared, found, join, patience.lasts), patience.over or _ENDED)
        worker: _Worker[Any] = _Worker.of(shared, found, stored, _files(stored, artifacts, Path(folder)))
        with shared.working(worker.name):
            return Worked(worker.run(patience), patience.over or _ENDED)


def load_shared_study(shared: Shared, name: str, wait: Wait | None = None) -> Study:
    """The study of this name, once it has work.

    Raises:
        SearchError: There is none.
    """
    wait = wait or Wait()
    while True:
        with quiet_optuna():
            known = {s.study_name for s in shared.storage.get_all_studies() if WORK_KEY in s.user_attrs}
            if name in known:
                return optuna.load_study(study_name=name, storage=shared.storage, sampler=RandomSampler())
        hint = did_you_mean(name, known) if known else ""
        problem = (
            f"{shared.where} holds no study '{name}' for workers; begin it with "
            f"pareto_search(..., workers=1), or 'mobinas run --study'{hint}"
        )
        if not wait.goes_on(problem):
            raise SearchError(problem + wait.waited)


def _checked_work(study: Study) -> Mapping[str, Any]:
    stored = study.user_attrs[WORK_KEY]
    if stored["version"] != mobinas.__version__:
        raise SearchError(
            f"study '{study.study_name}' is of mobinas {stored['version']}, this is {mobinas.__version__}; "
            f"install that version here"
        )
    return dict(stored)


def _files(stored: Mapping[str, Any], artifacts: str | Path | None, folder: Path) -> Files:
    """Fetches what the search hands out, before any candidate is taken."""
    if "artifacts" not in stored:
        return Files()
    place = Artifacts(artifacts or stored["artifacts"])
    return Files(place, {n: place.fetch(file, folder) for n, file in from_json(stored["files"]).items()})


@dataclass(slots=True)
class _Patience:
    """How long a worker stays.

    Attributes:
        parent: A process without which there is no work.
        idle_s: So long without work.
        over: Why it does not stay; empty as long as it does.
    """

    parent: int | None
    idle_s: float | None
    over: str = ""
    _busy: float = field(default_factory=time.monotonic)

    def lasts(self, worked: bool) -> bool:
        """Whether to go on, after it had work just now or not."""
        if worked:
            self._busy = time.monotonic()
        if self.idle_s is not None and time.monotonic() - self._busy > self.idle_s:
            self.over = f"no work for {self.idle_s:.3g} s, though the search has not ended"
        elif self.parent not in (None, os.getppid()):
            self.over = "the process that started it is gone"
        return not self.over


@dataclass(slots=True)
class _Worker(Generic[C]):
    shared: Shared
    study: Study
    space: Space[C]
    judge: Judge[C]
    name: str = field(default_factory=worker_name)
    done: int = 0
    fatal: SearchError | None = None

    @classmethod
    def of(cls, shared: Shared, study: Study, stored: Mapping[str, Any], files: Files) -> "_Worker[C]":
        space: Space[C] = space_from_json(stored["space"])
        if fingerprint(space) != stored["fingerprint"]:
            raise SearchError(f"study '{study.study_name}' has another space than this mobinas builds")
        evaluate = load_function(stored["evaluate"], SearchError)
        if prepare := getattr(evaluate, "prepare", None):
            with files.at_hand():
                prepare()
        judge: Judge[C] = Judge(
            evaluate,
            tuple(Objective(**axis) for axis in stored["objectives"]),
            parse_constraints({name: tuple(bound) for name, bound in stored["constraints"].items()}),
            files,
        )
        return cls(shared, study, LabelledSpace(space), judge)

    def run(self, patience: _Patience) -> int:
        """Works until there is no more work."""
        shortest_s, longest_s = _POLLS_S
        pause_s, worked = shortest_s, True
        while patience.lasts(worked):
            if worked := self._once(hurry=pause_s == shortest_s):
                pause_s = shortest_s
                if self.fatal:
                    raise self.fatal
                continue
            if self._ended():
                break
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)
        return self.done

    def _ended(self) -> bool:
        try:
            return bool(self.study.user_attrs.get(STATE_KEY) == "ended")
        except self.shared.failures:
            return False

    def _waiting(self) -> bool:
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def _once(self, hurry: bool) -> bool:
        """Takes one candidate and ends it; tells whether there was one.

        Args:
            hurry: Goes for the lock at once, as there was work just now.
        """
        claiming = self.shared.claiming
        before = self.done
        interrupted: tuple[type[Exception], ...] = (
            *self.shared.failures,
            ValueError,
            optuna.exceptions.UpdateFinishedTrialError,
        )
        with quiet_optuna(logging.ERROR):
            try:
                if not hurry and not self._waiting():
                    return False
                claiming.acquire()
                if not self._waiting():
                    return False
                self.study.optimize(self._objective, n_trials=1, catch=(_NotMine,))
            except interrupted:
                # The server was away, or this worker was taken for dead and its candidate given to another.
                # Either way the study knows, and what it does not hold as ended is given out again.
                return False
            finally:
                claiming.release()
        return self.done > before or self.fatal is not None

    def _objective(self, trial: Trial) -> list[float]:
        """Called by Optuna with the claim's lock held and, on a database, with heartbeats going."""
        attrs = trial.user_attrs
        if NUMBER_KEY not in attrs:
            raise _NotMine
        self.shared.begun(trial)
        trial.set_user_attr(WORKER_KEY, self.name)
        if not self.shared.claiming.held():
            raise _NotMine  # the server was restarted: who leads may have given this to another
        self.shared.claiming.release()
        params = trial.params
        candidate = self.space.build(lambda name, options: params.get(name, options[0]))
        known = values_of(trial)
        try:
            kind, evaluation, _ = self.judge(candidate, known)
        except ArtifactError as error:
            self.fatal = error
            trial.set_user_attr(GIVEN_BACK_KEY, "this worker has no access to files")
            raise _NotMine from None
        except KeyboardInterrupt:
            trial.set_user_attr(GIVEN_BACK_KEY, "stopped")
            raise

        def write() -> list[float] | None:
            told = stamp(trial, kind, evaluation, self.judge.bounds, self.judge.axes)
            show_constraints(trial)
            return told

        xs = self._stamped(write)
        self.done += 1
        if xs is None:
            raise _NotMine
        return xs

    def _stamped(self, write: Callable[[], list[float] | None]) -> list[float] | None:
        """Writes a result; a server that is being restarted does not lose it."""
        for _attempt in range(5):
            try:
                return write()
            except self.shared.failures:
                time.sleep(0.2)
        return write()
