"""The queue of a shared study: candidates to evaluate, each under its number, and what came of them.

A candidate is put as one waiting trial, in one transaction. A worker takes it, and ends it with its result. A
trial that failed without a result had a worker that died, or that stopped: its candidate is put again, as a
new trial of the same number. The first result of a number counts, whatever comes later; a later run may
forgive failures.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from mobinas.metrics.objective import Objective
from mobinas.search.artifacts import is_artifact_attr
from mobinas.search.journal import quiet_optuna
from mobinas.search.record import VALUES_KEY, numbers_told, values_of
from mobinas.search.shared import WORKER_KEY, fail

NUMBER_KEY = "mobinas:number"
STATE_KEY = "mobinas:state"
GIVEN_BACK_KEY = "mobinas:given_back"
_FORGIVEN_KEY = "mobinas:forgiven"
_DESCRIPTION = (NUMBER_KEY, "mobinas:name", "mobinas:digest", VALUES_KEY)


@dataclass(slots=True)
class Tried:
    """All trials of one number, oldest first."""

    trials: list[FrozenTrial] = field(default_factory=list)

    @property
    def result(self) -> FrozenTrial | None:
        """The first trial that has ended with a result."""
        return next((t for t in self.trials if _has_result(t)), None)

    @property
    def open(self) -> list[FrozenTrial]:
        """Trials that wait or are being evaluated; those being evaluated first."""
        found = [t for t in self.trials if not t.state.is_finished()]
        return sorted(found, key=lambda trial: trial.state == TrialState.WAITING)

    @property
    def standing(self) -> FrozenTrial:
        """The result; without one, what is open, or what `Queue.settle` is going to put again."""
        result_or_open = self.result or next(iter(self.open), None)
        return result_or_open or _again(self.trials[0], TrialState.WAITING)

    @property
    def begun(self) -> int:
        """How often an evaluation began and was not given back on purpose."""
        attrs = [trial.user_attrs for trial in self.trials]
        return sum(WORKER_KEY in a and GIVEN_BACK_KEY not in a for a in attrs)


def _kind(trial: FrozenTrial) -> str | None:
    return trial.user_attrs.get("mobinas:kind")


def _has_result(trial: FrozenTrial) -> bool:
    rejected_or_failed = _kind(trial) in ("failed", "rejected")
    return trial.state == TrialState.COMPLETE or (trial.state == TrialState.FAIL and rejected_or_failed)


class Queue:
    """A `Store` whose pending trials other processes evaluate; only who leads may use it.

    Attributes:
        study: The shared one.
        waiting: How many candidates wait for a worker.
        running: How many are being evaluated.
    """

    def __init__(
        self, study: optuna.Study, objectives: tuple[Objective, ...], retry_failed: bool = False
    ) -> None:
        """Reads what the study holds.

        Args:
            study: Of which.
            objectives: Its axes.
            retry_failed: Whether what failed before is put again, with all its tries.
        """
        self.study = study
        self._objectives = objectives
        self._settled: dict[int, FrozenTrial] = {}
        self._forgiven = set(study.user_attrs.get(_FORGIVEN_KEY, ()))
        self.look()
        if retry_failed:
            self._forgive()
        self._next = len(self._by_number())

    def look(self) -> None:
        """Reads the study anew; all else tells what was seen then."""
        trials = self.study.get_trials(deepcopy=False)
        self._seen = [trial for trial in trials if trial.number not in self._forgiven]
        states = [trial.state for trial in self._seen]
        self.waiting, self.running = states.count(TrialState.WAITING), states.count(TrialState.RUNNING)

    def _forgive(self) -> None:
        failed = [t for t in self._by_number().values() if t.result and _kind(t.result) == "failed"]
        # Killed in between, the candidates wait beside their failures, and are withdrawn.
        for tried in failed:
            self.study.add_trial(_again(tried.trials[0], TrialState.WAITING))
        self._forgiven.update(trial.number for tried in failed for trial in tried.trials)
        self.study.set_user_attr(_FORGIVEN_KEY, sorted(self._forgiven))
        self.look()

    def _by_number(self) -> dict[int, Tried]:
        found: dict[int, Tried] = {}
        for trial in self._seen:
            if NUMBER_KEY in trial.user_attrs:
                found.setdefault(trial.user_attrs[NUMBER_KEY], Tried()).trials.append(trial)
        return found

    def trials(self) -> list[FrozenTrial]:
        """For each number its result, or a trial that has not ended."""
        found = self._by_number()
        for number, tried in found.items():
            if tried.result:
                self._settled[number] = tried.result
        return [found[number].standing for number in sorted(found)]

    def add(self, trial: FrozenTrial) -> None:
        """Puts a trial under the next number: to wait for a worker, or ended already."""
        trial.set_user_attr(NUMBER_KEY, self._next)
        self.study.add_trial(trial)
        if trial.state.is_finished():
            self._settled[self._next] = trial
        else:
            self.waiting += 1
        self._next += 1

    def settle(self, tries: int | None) -> list[tuple[int, FrozenTrial]]:
        """Puts again what was lost, and gives what has ended since the last call, by number.

        Args:
            tries: A candidate whose evaluation began so often without a result is recorded as failed. None
                puts nothing again.
        """
        new = []
        for number, tried in sorted(self._by_number().items()):
            if number in self._settled:
                self._withdraw(tried.open)
            elif tried.result:
                self._settled[number] = tried.result
                self._withdraw(tried.open)
                new.append((number, tried.result))
            elif tried.open:
                self._withdraw(tried.open[1:])
            elif tries is not None:
                self._put_again(tried, tries)
        return new

    def _withdraw(self, doubled: list[FrozenTrial]) -> None:
        # An answer of the server that is lost makes Optuna add a trial twice.
        for trial in doubled:
            if trial.state == TrialState.WAITING:
                fail(self.study, trial)

    def _put_again(self, tried: Tried, tries: int) -> None:
        stopped = next((t for t in tried.trials if _kind(t) == "evaluated"), None)
        if stopped is not None:  # its worker died between writing the result and ending the trial
            numbers = numbers_told(values_of(stopped), self._objectives)
            self.study.add_trial(_again(stopped, TrialState.COMPLETE, numbers))
        elif tried.begun >= tries:
            lost = _again(tried.trials[-1], TrialState.FAIL)
            lost.set_user_attr("mobinas:error", f"its worker died {tried.begun} times")
            lost.set_user_attr("mobinas:kind", "failed")
            self.study.add_trial(lost)
        else:
            self.study.add_trial(_again(tried.trials[0], TrialState.WAITING))
            self.waiting += 1

    @contextmanager
    def ending(self) -> Iterator[None]:
        """At the end of the context, withdraws what no worker has begun and tells workers to end."""
        try:
            yield
        finally:
            with quiet_optuna():
                self.withdraw_waiting()
                self.study.set_user_attr(STATE_KEY, "ended")

    def withdraw_waiting(self) -> None:
        """Takes back what no worker has begun; the next run puts it again."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            fail(self.study, trial)


def _again(trial: FrozenTrial, state: TrialState, values: list[float] | None = None) -> FrozenTrial:
    """A new trial of the same candidate; a result is kept where the state is that of an ended one."""
    ended = state == TrialState.COMPLETE
    return create_trial(
        state=state,
        values=values,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={k: v for k, v in trial.user_attrs.items() if ended or k in _DESCRIPTION},
        system_attrs=trial.system_attrs if ended else _before_evaluation(trial),
    )


def _before_evaluation(trial: FrozenTrial) -> dict[str, object]:
    attrs = trial.system_attrs.items()
    return {k: v for k, v in attrs if not (k.startswith("constraints") or is_artifact_attr(k))}
