"""The record of a search: every ended candidate once, mirrored as trials that a sampler learns from."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseGASampler, BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from mobinas.errors import SearchError
from mobinas.metrics.evaluation import C, Evaluation, Value, described
from mobinas.metrics.objective import Objective
from mobinas.search.artifacts import from_json, name_stored, to_json
from mobinas.search.choice_space import Space
from mobinas.search.constraints import Constraint
from mobinas.search.dashboard import with_list, without_list
from mobinas.search.journal import new_study, quiet_optuna
from mobinas.search.labelled_space import LabelledSpace

if TYPE_CHECKING:
    from mobinas.search.proposals import Proposal

FAILURES_IN_A_ROW = 5
VALUES_KEY = "mobinas:values"
# Constraints, to samplers, that candidates break which are infeasible for no bound.
FOUND_BY_EVALUATION, FOUND_BEFORE = "evaluation", "prefilter"

Kind = Literal["evaluated", "rejected", "failed", "pending"]


class Store(Protocol):
    """Where a record is kept: a `Journal` of one process, or the `Queue` of several."""

    def trials(self) -> list[FrozenTrial]:
        """What is stored, in order; trials that have not ended are pending."""
        ...

    def add(self, trial: FrozenTrial, /) -> None:
        """Stores one more."""
        ...


@dataclass(frozen=True, slots=True)
class Entry(Generic[C]):
    """One candidate of the record.

    Attributes:
        kind: ``evaluated``; ``rejected`` before its evaluation as infeasible; ``failed`` in its evaluation
            or in what is asked before;
            ``pending`` while another process evaluates it.
        evaluation: Its values.
        params: The choices that differ from the only option.
    """

    kind: Kind
    evaluation: Evaluation[C]
    params: Mapping[str, Any]


class Directed(BaseSampler):
    """Given choices, while the sampler behind them keeps its books (NSGA-II its generations)."""

    def __init__(self, inner: BaseSampler, choices: Mapping[str, Any] | None) -> None:
        """Without choices, the inner sampler decides."""
        self._inner = inner
        self._choices = choices

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the inner sampler."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The inner sampler's choices, or none where they are given."""
        if self._choices is None:
            return self._inner.sample_relative(study, trial, search_space)
        if isinstance(self._inner, BaseGASampler):
            self._inner.sample_relative(study, trial, search_space)  # counts the trial in its generation
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The given choice, or the inner sampler's."""
        if self._choices is not None:
            return self._choices[param_name]
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """As the inner sampler."""
        self._inner.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As the inner sampler."""
        self._inner.after_trial(study, trial, state, values)


class Record(Generic[C]):
    """All entries of a search, kept in memory for the sampler and in a store for a resume.

    Attributes:
        space: Whose choices are those of the trials.
        objectives: The axes.
        entries: In order.
        digests: Of their candidates.
    """

    def __init__(self, space: Space[C], objectives: tuple[Objective, ...], store: Store | None) -> None:
        """Reads what the store holds.

        Raises:
            SearchError: A stored trial is not of this search, or repeats another.
        """
        self.space = LabelledSpace(space)
        self.objectives = objectives
        self._store = store
        self._study = new_study(objectives)
        self.entries: list[Entry[C]] = []
        self.digests: set[str] = set()
        for trial in store.trials() if store else ():
            self.space.learn(trial.distributions)
            if trial.state.is_finished():
                self._study.add_trial(without_list(trial))
            entry = self._entry(trial)
            if entry.evaluation.candidate.digest in self.digests:
                raise SearchError(
                    f"trial {trial.number} of the stored study repeats {entry.evaluation.candidate.name}, as "
                    "two searches at once may have done; use another storage"
                )
            self._note(entry)

    def ask(self, sampler: BaseSampler, choices: Mapping[str, Any] | None = None) -> tuple[Trial, C]:
        """A new trial and its candidate, with given choices or the sampler's."""
        self._study.sampler = Directed(sampler, choices)
        with quiet_optuna():
            trial = self._study.ask()

            def suggest(name: str, options: Sequence[Any]) -> Any:
                several = len(options) > 1
                return trial.suggest_categorical(name, list(options)) if several else options[0]

            return trial, self.space.build(suggest)

    def drop(self, trial: Trial) -> None:
        """Ends a trial whose candidate is known already; no sampler learns from it."""
        self._study.tell(trial, state=TrialState.FAIL)

    def add(
        self, trial: Trial, kind: Kind, evaluation: Evaluation[C], constraints: Sequence[Constraint]
    ) -> None:
        """Ends a trial and stores it."""
        _name(trial, evaluation)
        xs = stamp(trial, kind, evaluation, constraints, self.objectives)
        if xs is None:
            frozen = self._study.tell(trial, state=TrialState.FAIL)
        else:
            frozen = self._study.tell(trial, xs)
        if self._store:
            self._store.add(with_list(frozen))
        self.space.learn(frozen.distributions)
        self._note(Entry(kind, evaluation, frozen.params))

    def refuse(self, proposal: "Proposal[C]", constraints: Sequence[Constraint]) -> None:
        """Ends the trial of a proposal that is known to be infeasible, or of which nothing could be known.

        Raises:
            SearchError: Too many failed in a row.
        """
        kind: Kind = "failed" if proposal.failed else "rejected"
        evaluation = Evaluation(proposal.candidate, proposal.values, proposal.failed, proposal.refused)
        self.add(proposal.trial, kind, evaluation, constraints)
        self.check_failures()

    def reserve(self, trial: Trial, candidate: C, known: Mapping[str, Value]) -> None:
        """Stores a trial as pending, for another process to evaluate."""
        evaluation = Evaluation(candidate, known)
        _name(trial, evaluation)
        _tell_values(trial, known)
        frozen = self._study.get_trials(deepcopy=False)[trial.number]
        waiting = create_trial(
            state=TrialState.WAITING,
            params=frozen.params,
            distributions=frozen.distributions,
            user_attrs=frozen.user_attrs,
            system_attrs=frozen.system_attrs,
        )
        self.drop(trial)
        if self._store:
            self._store.add(waiting)
        self.space.learn(waiting.distributions)
        self._note(Entry("pending", evaluation, waiting.params))

    def settle(self, number: int, trial: FrozenTrial) -> Entry[C]:
        """Replaces a pending entry by what another process found."""
        self._study.add_trial(without_list(trial))
        self.entries[number] = self._entry(trial)
        return self.entries[number]

    def _note(self, entry: Entry[C]) -> None:
        self.entries.append(entry)
        self.digests.add(entry.evaluation.candidate.digest)

    def _entry(self, trial: FrozenTrial) -> Entry[C]:
        attrs = trial.user_attrs

        def stored(name: str, options: Sequence[Any]) -> Any:
            if len(options) == 1:
                return options[0]
            offered = trial.distributions.get(name)
            if not isinstance(offered, CategoricalDistribution) or list(offered.choices) != list(options):
                raise SearchError(
                    f"the stored study is of another space: '{name}' was not one of {list(options)} there; "
                    "use another storage"
                )
            return trial.params[name]

        try:
            candidate = self.space.build(stored)
            kind: Kind = attrs["mobinas:kind"] if trial.state.is_finished() else "pending"
            values = values_of(trial)
            files = from_json(attrs.get("mobinas:files", ()))
            known = candidate.digest == attrs["mobinas:digest"]
        except (KeyError, TypeError, AttributeError):
            known = False
        if not known:
            raise SearchError(
                f"trial {trial.number} of the stored study is not from this search; use another storage"
            )
        feasible = all(violation <= 0 for violation in trial.constraints.values())
        error = attrs.get("mobinas:error", "")
        return Entry(kind, Evaluation(candidate, values, feasible, error, files), trial.params)

    def count(self, *kinds: Kind) -> int:
        """Number of entries of these kinds."""
        return sum(entry.kind in kinds for entry in self.entries)

    def trailing(self, kind: Kind, *, ended: bool = False) -> list[Entry[C]]:
        """The entries of this kind since the last of another, latest first.

        Args:
            kind: Of which.
            ended: Whether pending ones are looked past; otherwise they count as another kind.
        """
        entries = (e for e in reversed(self.entries) if not (ended and e.kind == "pending"))
        return list(itertools.takewhile(lambda entry: entry.kind == kind, entries))

    def check_failures(self, cause: BaseException | None = None) -> None:
        """Ends a search whose latest evaluations all failed, the last of them by this cause.

        Raises:
            SearchError: So many failed in a row.
        """
        failed = self.trailing("failed", ended=True)
        if len(failed) >= FAILURES_IN_A_ROW:
            last = failed[0].evaluation
            raise SearchError(
                f"{FAILURES_IN_A_ROW} evaluations in a row failed, the last of {described(last.candidate)} "
                f"with {last.reason}"
            ) from cause

    def evaluations(self, *kinds: Kind) -> Iterator[Evaluation[C]]:
        """The evaluations of these kinds, in order."""
        return (entry.evaluation for entry in self.entries if entry.kind in kinds)


def _name(trial: Trial, evaluation: Evaluation[Any]) -> None:
    trial.set_user_attr("mobinas:name", evaluation.candidate.name)
    trial.set_user_attr("mobinas:digest", evaluation.candidate.digest)


def _tell_values(trial: Trial, values: Mapping[str, Value]) -> None:
    trial.set_user_attr(VALUES_KEY, {name: value.to_json() for name, value in values.items()})


def values_of(trial: FrozenTrial | Trial) -> dict[str, Value]:
    """The values that `stamp` wrote, by name."""
    return {name: Value.from_json(data) for name, data in trial.user_attrs[VALUES_KEY].items()}


def stamp(
    trial: Trial,
    kind: Kind,
    evaluation: Evaluation[Any],
    constraints: Sequence[Constraint],
    objectives: Sequence[Objective],
) -> list[float] | None:
    """Writes what is known of an ended candidate to its trial, its kind last.

    Returns:
        What to tell the study: the objectives' numbers, or None of a failed evaluation.
    """
    values = evaluation.values
    _tell_values(trial, values)
    trial.set_user_attr("mobinas:error", evaluation.error)
    if evaluation.files:
        trial.set_user_attr("mobinas:files", to_json(evaluation.files))
        set_attr = partial(trial.storage.set_trial_system_attr, trial._trial_id)
        for file in evaluation.files.values():
            name_stored(set_attr, file)
    known = [c for c in constraints if c.name in values]
    for constraint in known:
        trial.set_constraint(str(constraint), constraint.violation(values[constraint.name].x))
    if not evaluation.feasible and all(c.met_by(values[c.name].x) for c in known):
        trial.set_constraint(FOUND_BEFORE if kind == "rejected" else FOUND_BY_EVALUATION, 1.0)
    trial.set_user_attr("mobinas:kind", kind)
    if kind == "failed":
        return None
    return numbers_told(values, objectives)


def numbers_told(values: Mapping[str, Value], objectives: Sequence[Objective]) -> list[float]:
    """The objectives' numbers; only infeasible trials lack some, and samplers rank those by violations."""
    return [values[o.name].x if o.name in values else 0.0 for o in objectives]


def derived_seed(*numbers: int | str) -> int:
    """A seed of 32 bits that depends on all the numbers, the same on every machine."""
    text = "/".join(str(number) for number in numbers)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
