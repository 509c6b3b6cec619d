"""The search over the front: asks a sampler for candidates, and has each evaluated at most once."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic

from mobinas.errors import Infeasible, SearchError, did_you_mean
from mobinas.functions import load_function
from mobinas.metrics.evaluation import C, Evaluation
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.objective import Objective, check_objectives
from mobinas.metrics.result import SearchResult
from mobinas.processes import check_main_guard
from mobinas.progress import Progress, silent
from mobinas.search.artifacts import Artifacts, Files, digests_of
from mobinas.search.choice_space import Space, fingerprint
from mobinas.search.constraints import BoundSpec, Constraint, parse_constraints, unmet
from mobinas.search.journal import STUDY_NAME, open_journal
from mobinas.search.judging import Judge, Numbers
from mobinas.search.lead import TRIES, Lead, function_name, is_of_main, open_queue, work_of
from mobinas.search.local_workers import local_workers
from mobinas.search.prefilter import Prefilter
from mobinas.search.proposals import Proposal, Proposer
from mobinas.search.record import Record, Store
from mobinas.search.samplers import make_sampler
from mobinas.search.shared import check_storage, led, opened
from mobinas.search.stopping import StopRule

SCHEMA = 1
SHARED_SCHEMA = "1, of workers"
# What it needs beside other samplers: benchmarks/front_search.py.
DEFAULT_SAMPLER = "auto"
DEFAULT_N_START = 24


def pareto_search(
    space: Space[C],
    evaluate: Callable[[C], Numbers] | str,
    objectives: Sequence[Objective],
    *,
    constraints: Mapping[str, BoundSpec] | None = None,
    n_trials: int,
    sampler: str = DEFAULT_SAMPLER,
    seed: int = 0,
    storage: Path | str | None = None,
    timeout_s: float | None = None,
    stop_below: float | None = None,
    start: Callable[[random.Random], Iterable[C]] | None = None,
    n_start: int = DEFAULT_N_START,
    prefilter: Callable[[C], Numbers] | None = None,
    progress: Progress = silent,
    workers: int | None = None,
    study: str = STUDY_NAME,
    tries: int = TRIES,
    retry_failed: bool = False,
    artifacts: Path | str | None = None,
    files: Mapping[str, Path] | None = None,
) -> SearchResult[C]:
    """Searches a space for the Pareto front of several objectives under hard constraints.

    No candidate (by digest) is evaluated twice. Stopped at any moment, the same call on the same storage
    continues, and ends with the same result as an uninterrupted one (unless a timeout decided). Ctrl-C ends a
    search with what there is, and its result says so.

    Args:
        space: A SearchSpace, a ChoiceSpace, or any object of the Space protocol.
        evaluate: Gets a candidate (an Architecture, or a mapping of choices) and returns the objectives
            that `prefilter` has not told already, as numbers or Values; it may raise Infeasible. Where it
            raises anything else, or one of its values is missing, unknown or no finite number, that candidate
            has failed, with the reason in its evaluation's ``error``. Or the function's name,
            ``module:function`` or ``path/file.py:function``. Workers import it by that name, and
            call its method `prepare`, if it has one, before they take candidates.
        objectives: The axes, any number of them.
        constraints: Name to bound, for example ``{"latency_s": "<= 0.008"}``; names of objectives, or of
            what `prefilter` returns. Candidates beyond a bound never stand on the front.
        n_trials: Distinct evaluations in all, those of earlier runs on the storage included.
        sampler: A name of `mobinas.search.samplers.sampler_names`.
        seed: Of all draws.
        storage: File of the study (an Optuna journal); without one, nothing is kept. Or a
            ``postgresql://`` URL, whose search has workers.
        timeout_s: No evaluation begins after so many seconds.
        stop_below: Ends the search early, once one more evaluation is expected to add less than this share
            to the hypervolume, judged by the last 20 (`mobinas.metrics.convergence.expected_improvement`).
        start: Yields candidates to begin with, instead of uniform draws over encodings; each time anew, and
            the first one not yet seen is taken.
        n_start: How many evaluations precede the sampler's own proposals.
        prefilter: Cheap values of a candidate (exact or predicted), known before its evaluation, the same in
            every run; it may raise Infeasible. A candidate that breaks a constraint by them is recorded and
            not evaluated. The sampler ``auto`` asks it of 8 candidates or more for each proposal.
        progress: Told after each evaluation.
        workers: So many processes of this machine evaluate, and more may join by ``mobinas worker``;
            0 leaves all to those.
        study: Its name in the storage, where there are workers.
        tries: A candidate whose evaluation killed so many workers counts as failed.
        retry_failed: Whether workers evaluate anew what failed in earlier runs on the storage.
        artifacts: Where files lie that evaluations keep (`attach_file`): a folder
            that all machines reach, or ``s3://bucket/prefix``.
        files: By name, files that every evaluation may read (`given_file`);
            workers get them through `artifacts`.

    Returns:
        Front and history; `Artifacts(...).fetch` brings the files that evaluations attached.

    Raises:
        SearchError: Settings that cannot be meant, five failing evaluations in a row, or a storage of another
            search or that another process searches now. Its `result` is what was found until then.
        Infeasible: No feasible candidate was found; the text names the value nearest to the constraints, or
            the last reason.
        RunFolderError: The storage cannot be written.
        ArtifactError: A file cannot be stored or read.
    """
    if storage is not None:
        check_storage(storage, STUDY_NAME if workers is None else study)
    axes = check_objectives(objectives)
    bounds = parse_constraints(constraints)
    _check_settings(axes, bounds, n_trials, n_start, sampler, prefilter is not None)
    place = None if artifacts is None else Artifacts(artifacts, make=True)
    kept = Files(place, dict(files or {}))
    asked = _Asked(space, axes, bounds, sampler, seed, start, n_start, stop_below, prefilter, kept)
    budget = (n_trials, timeout_s, progress)
    if workers is None and "://" not in str(storage):
        if retry_failed:
            raise SearchError("retry_failed is for a search with workers; add workers=1, or leave it out")
        return _alone(asked, evaluate, storage, *budget)
    count = 1 if workers is None else workers
    _check_workers(count, tries, storage)
    if files and place is None:
        raise SearchError("files for workers need a place: artifacts='FOLDER' or 's3://bucket/prefix'")
    where = (str(storage), study, count, tries, retry_failed)
    name = function_name(evaluate)
    if is_of_main(name):
        check_main_guard("pareto_search")
    return _with_workers(asked, name, *where, *budget)


@dataclass(frozen=True, slots=True)
class _Asked(Generic[C]):
    """What makes a search the one it is; see `pareto_search`."""

    space: Space[C]
    axes: tuple[Objective, ...]
    bounds: tuple[Constraint, ...]
    sampler: str
    seed: int
    start: Callable[[random.Random], Iterable[C]] | None
    n_start: int
    stop_below: float | None
    prefilter: Callable[[C], Numbers] | None
    files: Files

    def identity(self, schema: int | str) -> dict[str, Any]:
        """Plain data that must be the same for every run on a storage."""
        given = digests_of(self.files.given)
        return {
            **({"files": given} if given else {}),
            "schema": schema,
            "space": fingerprint(self.space),
            "objectives": [asdict(axis) for axis in self.axes],
            "constraints": [str(bound) for bound in self.bounds],
            "sampler": self.sampler,
            "seed": self.seed,
            "n_start": self.n_start,
        }

    def begun(self, store: Store | None) -> "tuple[_Search[C], Proposer[C]]":
        """The search as far as the store holds it."""
        record = Record(self.space, self.axes, store)
        stop = None if self.stop_below is None else StopRule(self.stop_below, self.n_start)
        search = _Search(self.axes, self.bounds, record, stop)
        known = None if self.prefilter is None else Prefilter(self.prefilter, self.axes, self.bounds)
        if known is not None and not record.entries:
            known.check(self.space, self.seed)
        return search, Proposer(
            record.space, record, self.bounds, known, self.sampler, self.seed, self.start, self.n_start
        )


def _alone(
    asked: _Asked[C],
    evaluate: Callable[[C], Numbers] | str,
    storage: Path | str | None,
    n_trials: int,
    timeout_s: float | None,
    progress: Progress,
) -> SearchResult[C]:
    function = load_function(evaluate, SearchError) if isinstance(evaluate, str) else evaluate
    judge = Judge(function, asked.axes, asked.bounds, asked.files)
    place = None if storage is None else Path(storage)
    with nullcontext() if place is None else open_journal(place, asked.axes, asked.identity(SCHEMA)) as store:
        search, proposer = asked.begun(store)
        with search.kept():
            try:
                exhausted = search.run(judge, proposer, n_trials, timeout_s, progress)
            except KeyboardInterrupt:
                return search.found(interrupted=True)
            return search.result(exhausted)


def _with_workers(
    asked: _Asked[C],
    evaluate: str,
    storage: str,
    study: str,
    count: int,
    tries: int,
    retry_failed: bool,
    n_trials: int,
    timeout_s: float | None,
    progress: Progress,
) -> SearchResult[C]:
    with opened(storage, study) as shared, led(shared, study):
        identity = asked.identity(SHARED_SCHEMA)
        work = work_of(evaluate, asked.space, asked.axes, asked.bounds)
        queue = open_queue(shared, study, asked.axes, identity, work, asked.files, retry_failed)
        search, proposer = asked.begun(queue)
        with search.kept():
            with queue.ending(), local_workers(shared.address, study, count) as processes:
                lead = Lead(
                    shared, queue, search.record, proposer, asked.bounds, processes, search.converged, tries
                )
                exhausted = lead.run(n_trials, timeout_s, progress)
            return search.found(interrupted=True) if lead.interrupted else search.result(exhausted)


def _check_workers(count: int, tries: int, storage: Path | str | None) -> None:
    if storage is None:
        raise SearchError("workers need a storage: a file's path, or postgresql://...")
    if count < 0:
        raise SearchError(f"workers is {count}; it must be 0 or more")
    if tries < 1:
        raise SearchError(f"tries is {tries}; it must be at least 1")


def _check_settings(
    axes: Sequence[Objective],
    bounds: Sequence[Constraint],
    n_trials: int,
    n_start: int,
    sampler: str,
    has_prefilter: bool,
) -> None:
    for name, number in (("n_trials", n_trials), ("n_start", n_start)):
        if not isinstance(number, int) or number < 1:
            raise SearchError(f"{name} is {number!r}; it must be a whole number of at least 1")
    make_sampler(sampler, 0)
    names = [axis.name for axis in axes]
    for bound in bounds:
        if not has_prefilter and bound.name not in names:
            raise SearchError(
                f"constraint on unknown objective '{bound.name}'{did_you_mean(bound.name, names)}"
            )


@dataclass(frozen=True, slots=True)
class _Search(Generic[C]):
    axes: tuple[Objective, ...]
    bounds: tuple[Constraint, ...]
    record: Record[C]
    stop: StopRule | None

    def run(
        self,
        judge: Judge[C],
        proposer: Proposer[C],
        n_trials: int,
        timeout_s: float | None,
        progress: Progress,
    ) -> bool:
        """Evaluates until the budget or the space is spent; tells whether it was the space."""
        began = time.monotonic()
        while (done := self.record.count("evaluated", "failed")) < n_trials:
            if timeout_s is not None and time.monotonic() - began >= timeout_s:
                return False
            if self.converged():
                return False
            proposal = proposer.next()
            if proposal is None:
                self._check_feasible()
                return True
            if proposal.refused:
                self.record.refuse(proposal, self.bounds)
                if not proposal.failed:
                    continue
            else:
                self._evaluate(judge, proposal)
            progress(done + 1, n_trials, proposal.candidate.name)
        return False

    def _evaluate(self, judge: Judge[C], proposal: Proposal[C]) -> None:
        kind, evaluation, error = judge(proposal.candidate, proposal.values)
        self.record.add(proposal.trial, kind, evaluation, self.bounds)
        self.record.check_failures(error)

    def converged(self) -> bool:
        """Whether one more evaluation is expected to add too little."""
        if self.stop is None:
            return False
        return self.stop.holds(list(self.record.evaluations("evaluated", "failed")), self.axes)

    def _check_feasible(self) -> None:
        evaluations: list[Evaluation[C]] = list(self.record.evaluations("evaluated", "rejected"))
        if any(e.comparable(self.axes) for e in evaluations) or not evaluations:
            return
        many = f"none of {len(evaluations)} candidates"
        rows = [{name: v.x for name, v in e.values.items()} for e in evaluations]
        told = [bound for bound in self.bounds if any(bound.name in row for row in rows)]
        if told and (text := unmet(told, rows)):
            raise Infeasible(f"{many} meets {text}; loosen the constraint")
        raise Infeasible(f"{many} is feasible, the last: {evaluations[-1].reason}")

    def result(self, exhausted: bool) -> SearchResult[C]:
        """What was found; raises Infeasible where nothing meets the constraints."""
        self._check_feasible()
        return self.found(exhausted=exhausted)

    def found(self, *, exhausted: bool = False, interrupted: bool = False) -> SearchResult[C]:
        """What there is, feasible or not."""
        history = tuple(self.record.evaluations("evaluated", "failed"))
        rejected = tuple(self.record.evaluations("rejected"))
        front = ParetoFront.of(history, self.axes)
        converged = self.converged()
        return SearchResult(self.axes, front, history, rejected, exhausted, converged, interrupted)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Gives errors what was found before them."""
        try:
            yield
        except SearchError as error:
            error.result = self.found()
            raise
