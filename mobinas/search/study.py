"""The search over the front: asks a sampler for candidates, and has each evaluated at most once."""

import math
import random
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic

from mobinas.errors import Infeasible, SearchError, did_you_mean
from mobinas.metrics.evaluation import C, Evaluation, Value
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.objective import Objective, check_objectives
from mobinas.metrics.result import SearchResult
from mobinas.progress import Progress, silent
from mobinas.search.choice_space import Space, fingerprint
from mobinas.search.constraints import BoundSpec, Constraint, broken, parse_constraints
from mobinas.search.journal import Journal
from mobinas.search.proposals import Proposal, Proposer, nearest
from mobinas.search.record import Record
from mobinas.search.samplers import make_sampler

Numbers = Mapping[str, "float | Value"]

SCHEMA = 1
FAILURES_IN_A_ROW = 5
# What it needs beside other samplers: benchmarks/front_search.py.
DEFAULT_SAMPLER = "auto"
DEFAULT_N_START = 24


def pareto_search(
    space: Space[C],
    evaluate: Callable[[C], Numbers],
    objectives: Sequence[Objective],
    *,
    constraints: Mapping[str, BoundSpec] | None = None,
    n_trials: int,
    sampler: str = DEFAULT_SAMPLER,
    seed: int = 0,
    storage: Path | str | None = None,
    timeout_s: float | None = None,
    start: Callable[[random.Random], Iterable[C]] | None = None,
    n_start: int = DEFAULT_N_START,
    prefilter: Callable[[C], Numbers] | None = None,
    progress: Progress = silent,
) -> SearchResult[C]:
    """Searches a space for the Pareto front of several objectives under hard constraints.

    No candidate (by digest) is evaluated twice. Stopped at any moment, the same call on the same storage
    continues, and ends with the same result as an uninterrupted one (unless a timeout decided).

    Args:
        space: A SearchSpace, a ChoiceSpace, or any object of the Space protocol.
        evaluate: Gets a candidate (an Architecture, or a mapping of choices) and returns the objectives
            that `prefilter` has not told already, as numbers or Values; it may raise Infeasible.
        objectives: The axes, any number of them.
        constraints: Name to bound, for example ``{"latency_s": "<= 0.008"}``; names of objectives, or of
            what `prefilter` returns. Candidates beyond a bound never stand on the front.
        n_trials: Distinct evaluations in all, those of earlier runs on the storage included.
        sampler: A name of `mobinas.search.samplers.sampler_names`.
        seed: Of all draws.
        storage: File of the study (an Optuna journal); without one, nothing is kept.
        timeout_s: No evaluation begins after so many seconds.
        start: Yields candidates to begin with, instead of uniform draws over encodings; each time anew, and
            the first one not yet seen is taken.
        n_start: How many evaluations precede the sampler's own proposals.
        prefilter: Cheap values of a candidate (exact or predicted), known before its evaluation;
            a candidate that breaks a constraint by them is recorded and not evaluated.
        progress: Told after each evaluation.

    Returns:
        Front and history.

    Raises:
        SearchError: Settings that cannot be meant, values that are missing, unexpected or not finite, five
            failing evaluations in a row, or a storage of another search.
        Infeasible: No candidate within the constraints was found; the text names the nearest value.
        RunFolderError: The storage cannot be written.
    """
    axes = check_objectives(objectives)
    bounds = parse_constraints(constraints)
    _check_settings(axes, bounds, n_trials, n_start, sampler, prefilter is not None)
    journal = None
    if storage is not None:
        identity = {
            "schema": SCHEMA,
            "space": fingerprint(space),
            "objectives": [asdict(axis) for axis in axes],
            "constraints": [str(bound) for bound in bounds],
            "sampler": sampler,
            "seed": seed,
            "n_start": n_start,
        }
        journal = Journal(Path(storage), axes, identity)
    search = _Search(space, evaluate, axes, bounds, prefilter, Record(space, axes, journal))
    proposer = Proposer(space, search.record, bounds, search.known, sampler, seed, start, n_start)
    exhausted = search.run(proposer, n_trials, timeout_s, progress)
    return search.result(exhausted)


def _check_settings(
    axes: Sequence[Objective],
    bounds: Sequence[Constraint],
    n_trials: int,
    n_start: int,
    sampler: str,
    has_prefilter: bool,
) -> None:
    for name, number in (("n_trials", n_trials), ("n_start", n_start)):
        if number < 1:
            raise SearchError(f"{name} is {number}; it must be at least 1")
    make_sampler(sampler, 0)
    names = [axis.name for axis in axes]
    for bound in bounds:
        if not has_prefilter and bound.name not in names:
            raise SearchError(
                f"constraint on unknown objective '{bound.name}'{did_you_mean(bound.name, names)}"
            )


@dataclass(frozen=True, slots=True)
class _Search(Generic[C]):
    space: Space[C]
    evaluate: Callable[[C], Numbers]
    axes: tuple[Objective, ...]
    bounds: tuple[Constraint, ...]
    prefilter: Callable[[C], Numbers] | None
    record: Record[C]

    def known(self, candidate: C) -> Mapping[str, Value]:
        """What the prefilter tells, checked."""
        if self.prefilter is None:
            return {}
        values = self._values(self.prefilter(candidate), candidate)
        for bound in self.bounds:
            if bound.name not in values and bound.name not in {axis.name for axis in self.axes}:
                raise SearchError(
                    f"constraint on '{bound.name}', which neither objectives nor prefilter tell"
                    f"{did_you_mean(bound.name, values)}"
                )
        return values

    def run(self, proposer: Proposer[C], n_trials: int, timeout_s: float | None, progress: Progress) -> bool:
        """Evaluates until the budget or the space is spent; tells whether it was the space."""
        began = time.monotonic()
        while (done := self.record.count("evaluated", "failed")) < n_trials:
            if timeout_s is not None and time.monotonic() - began >= timeout_s:
                return False
            proposal = proposer.next()
            if proposal is None:
                self._check_feasible()
                return True
            if proposal.broken:
                text = "; ".join(f"breaks {constraint}" for constraint in proposal.broken)
                evaluation = Evaluation(proposal.candidate, proposal.values, False, text)
                self.record.add(proposal.trial, "rejected", evaluation, self.bounds)
                continue
            self._evaluate(proposal)
            progress(done + 1, n_trials, proposal.candidate.name)
        return False

    def _evaluate(self, proposal: Proposal[C]) -> None:
        candidate, values = proposal.candidate, proposal.values
        try:
            answer = self.evaluate(candidate)
        except Infeasible as error:
            evaluation = Evaluation(candidate, values, False, str(error) or "infeasible")
            self.record.add(proposal.trial, "evaluated", evaluation, self.bounds)
            return
        except Exception as error:
            evaluation = Evaluation(candidate, values, True, traceback.format_exc())
            self.record.add(proposal.trial, "failed", evaluation, self.bounds)
            if self.record.trailing("failed") >= FAILURES_IN_A_ROW:
                raise SearchError(
                    f"{FAILURES_IN_A_ROW} evaluations in a row failed, the last ({candidate.name}) with "
                    f"{type(error).__name__}: {error}"
                ) from error
            return
        merged = {**values, **self._answer(answer, candidate, values)}
        evaluation = Evaluation(candidate, merged, not broken(self.bounds, merged))
        self.record.add(proposal.trial, "evaluated", evaluation, self.bounds)

    def _answer(self, answer: Numbers, candidate: C, known: Mapping[str, Value]) -> dict[str, Value]:
        names = [axis.name for axis in self.axes]
        for name in answer:
            if name not in names:
                raise SearchError(f"evaluate returned unknown objective '{name}'{did_you_mean(name, names)}")
        for name in names:
            if name not in answer and name not in known:
                raise SearchError(
                    f"evaluate returned no '{name}' for {candidate.name}; return every objective"
                )
        return self._values(answer, candidate)

    def _values(self, numbers: Numbers, candidate: C) -> dict[str, Value]:
        units = {axis.name: axis.unit for axis in self.axes}
        values = {}
        for name, number in numbers.items():
            if isinstance(number, Value):
                values[name] = number
                continue
            try:
                x = float(number)
            except (TypeError, ValueError):
                x = math.nan
            if not math.isfinite(x):
                raise SearchError(f"'{name}' of {candidate.name} is {number!r}; it must be a finite number")
            values[name] = Value(x, units.get(name, ""))
        return values

    def _check_feasible(self) -> None:
        evaluations: list[Evaluation[C]] = list(self.record.evaluations("evaluated", "rejected"))
        if any(e.comparable(self.axes) for e in evaluations) or not self.bounds or not evaluations:
            return
        texts = []
        for bound in self.bounds:
            x = nearest(evaluations, bound)
            texts.append(f"{bound}" + ("" if x is None else f" (nearest: {x:.4g})"))
        raise Infeasible(
            f"none of {len(evaluations)} candidates meets {' and '.join(texts)}; loosen the constraint"
        )

    def result(self, exhausted: bool) -> SearchResult[C]:
        """What was found; raises Infeasible where nothing meets the constraints."""
        self._check_feasible()
        history = tuple(self.record.evaluations("evaluated", "failed"))
        rejected = tuple(self.record.evaluations("rejected"))
        return SearchResult(self.axes, ParetoFront.of(history, self.axes), history, rejected, exhausted)
