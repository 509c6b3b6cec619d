"""A search by several processes: this one proposes and records, workers evaluate."""

import contextlib
import importlib.util
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic

from optuna.study import Study

import mobinas
from mobinas.errors import SearchError
from mobinas.functions import is_function_name
from mobinas.metrics.evaluation import C
from mobinas.metrics.objective import Objective
from mobinas.processes import main_script
from mobinas.progress import Progress
from mobinas.search.artifacts import Files, digests_of, from_json, name_stored, to_json
from mobinas.search.choice_space import Space, fingerprint
from mobinas.search.constraints import Constraint
from mobinas.search.journal import IDENTITY_KEY, check_identity, new_study, quiet_optuna
from mobinas.search.local_workers import LocalWorkers
from mobinas.search.proposals import Proposer
from mobinas.search.queue import STATE_KEY, Queue
from mobinas.search.record import Record
from mobinas.search.shared import WORK_KEY, Shared, fail_dead
from mobinas.search.space_file import space_to_json

TRIES = 3
_TURN_S = 0.05
_WATCH_EVERY_S = 1.0


def function_name(evaluate: Callable[..., Any] | str) -> str:
    """How workers import the function.

    Raises:
        SearchError: They cannot.
    """
    if isinstance(evaluate, str):
        if not is_function_name(evaluate):
            raise SearchError(f"evaluate '{evaluate}' must be module:function or path/file.py:function")
        return evaluate
    module, name = getattr(evaluate, "__module__", None), getattr(evaluate, "__qualname__", "")
    if not name.isidentifier() or module in (None, "__main__"):
        raise SearchError(
            "workers must import the evaluate function: define it at the top level of a module, or name it "
            "like 'my_module:evaluate' or 'my_file.py:evaluate'"
        )
    return f"{module}:{name}"


def is_of_main(evaluate: str) -> bool:
    """Whether workers import the main script, where this function is."""
    script, where = main_script(), evaluate.rpartition(":")[0]
    if script is None:
        return False
    if not where.endswith(".py"):
        with contextlib.suppress(ImportError, ValueError):
            found = importlib.util.find_spec(where)
            where = (found and found.origin) or ""
    return Path(where).resolve() == script.resolve()


def work_of(
    evaluate: str, space: Space[Any], objectives: tuple[Objective, ...], bounds: Sequence[Constraint]
) -> dict[str, Any]:
    """What workers do, as plain data."""
    return {
        "version": mobinas.__version__,
        "evaluate": evaluate,
        "space": space_to_json(space),
        "fingerprint": fingerprint(space),
        "objectives": [asdict(axis) for axis in objectives],
        "constraints": {bound.name: [bound.relation, bound.bound] for bound in bounds},
    }


def open_queue(
    shared: Shared,
    name: str,
    objectives: tuple[Objective, ...],
    identity: Mapping[str, Any],
    work: Mapping[str, Any],
    files: Files,
    retry_failed: bool,
) -> Queue:
    """Makes the study, or checks that the one there is the same, and tells workers their work.

    Raises:
        SearchError: Another search has this name.
        ArtifactError: A file cannot be handed out.
    """
    with quiet_optuna():
        check_identity(f"study '{name}' in {shared.where}", shared.storage, name, objectives, identity)
        study = new_study(objectives, shared.storage, name)
        study.set_user_attr(IDENTITY_KEY, dict(identity))
        before = study.user_attrs.get(WORK_KEY, {})
        study.set_user_attr(WORK_KEY, {**work, **_handed_out(study, files, before)})
        study.set_user_attr(STATE_KEY, "running")
        return Queue(study, objectives, retry_failed)


def _handed_out(study: Study, files: Files, before: Mapping[str, Any]) -> dict[str, Any]:
    """Where files lie, and those to read there; what an earlier run has put there stays."""
    place = files.artifacts
    if place is None:
        return {}
    known = from_json(before.get("files", ())) if before.get("artifacts") == place.where else {}
    digests = digests_of(files.given)
    for name, path in files.given.items():
        if name not in known or known[name].sha256 != digests[name]:
            known[name] = place.put(Path(path), name)
            name_stored(partial(study._storage.set_study_system_attr, study._study_id), known[name])
    return {"artifacts": place.where, "files": to_json({name: known[name] for name in digests})}


@dataclass(slots=True)
class Lead(Generic[C]):
    """Proposes candidates to workers and records what they find.

    Attributes:
        shared: The storage.
        queue: Of the study.
        record: Of the same study.
        proposer: On the same record.
        bounds: Hard constraints.
        workers: Of this machine.
        converged: Tells whether the record holds enough; asked when it has changed.
        tries: So often the evaluation of one candidate may begin.
        interrupted: Whether Ctrl-C ended `run`.
    """

    shared: Shared
    queue: Queue
    record: Record[C]
    proposer: Proposer[C]
    bounds: tuple[Constraint, ...]
    workers: LocalWorkers
    converged: Callable[[], bool]
    tries: int = TRIES
    interrupted: bool = False
    _dry: bool = False
    _enough: bool | None = None
    _watched: float = 0.0

    def run(self, n_trials: int, timeout_s: float | None, progress: Progress) -> bool:
        """Leads until the budget or the space is spent, or there is enough; tells if it was the space."""
        began = time.monotonic()
        while True:
            try:
                late = timeout_s is not None and time.monotonic() - began >= timeout_s
                with quiet_optuna(logging.ERROR):
                    done = self._turn(n_trials, late, progress)
                if done:
                    return self._dry
                time.sleep(_TURN_S)
            except self.shared.failures:
                self._reconnect()
            except KeyboardInterrupt:
                self.interrupted = True
                return False

    def _turn(self, n_trials: int, late: bool, progress: Progress) -> bool:
        """One look at the study; tells whether all is done."""
        self.queue.look()
        # So many may die of the candidates that are out, and of themselves.
        self.workers.check(self.tries * (self.record.count("pending") + len(self.workers)))
        if time.monotonic() - self._watched >= _WATCH_EVERY_S:
            if not self.shared.leading.held():
                self._reconnect()
            fail_dead(self.shared, self.queue.study)
            self._watched = time.monotonic()
        new = self.queue.settle(None if late or self._enough else self.tries)
        for number, trial in new:
            entry = self.record.settle(number, trial)
            progress(self.record.count("evaluated", "failed"), n_trials, entry.evaluation.candidate.name)
            self.record.check_failures()
        if new:
            self.workers.lost = 0
        if new or self._enough is None:
            self._enough = self.converged()
        if late or self._enough:
            self.queue.withdraw_waiting()
            return self.queue.running == 0
        self._propose(n_trials)
        return self.record.count("pending") == 0 and (
            self._dry or self.record.count("evaluated", "failed") >= n_trials
        )

    def _propose(self, n_trials: int) -> None:
        """Keeps as many candidates waiting as half of those being evaluated, so that no worker starves."""
        wanted = max(1, (self.queue.running + 1) // 2) - self.queue.waiting
        while wanted > 0 and not self._dry:
            if self.record.count("evaluated", "failed", "pending") >= n_trials:
                return
            proposal = self.proposer.next()
            if proposal is None:
                self._dry = True
            elif proposal.refused:
                self.record.refuse(proposal, self.bounds)
            else:
                self.record.reserve(proposal.trial, proposal.candidate, proposal.values)
                wanted -= 1

    def _reconnect(self) -> None:
        """Waits for the server, and leads on unless another process does."""
        if not self.shared.leading.acquire(wait=False):
            raise SearchError(f"another process runs this study in {self.shared.where} now")
