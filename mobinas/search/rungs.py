"""Multi-fidelity with several objectives: cheap evaluations decide which candidates get dear ones.

Pruning as Optuna does it needs a single objective. Here every candidate starts on the lowest rung (say,
inherited weights), some climb to the top (say, many epochs), and those teach how well each rung foretells the
top. From then on the candidate goes up that promises most, as long as any could still enter the front. What
promises: a linear regression from rung to top for each objective, at the good end of its prediction interval.
So a rung that tells nothing holds nobody back, and one that tells all lets only the front pass.
"""

import itertools
import math
import random
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic

import numpy as np

from mobinas.errors import ArtifactError, Infeasible, SearchError
from mobinas.metrics.evaluation import C, CandidateT, Evaluation, Value, described
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.hypervolume import hypervolume
from mobinas.metrics.objective import Objective, check_objectives
from mobinas.metrics.rank import kendall_tau, tau_interval
from mobinas.progress import Progress, silent
from mobinas.search.finalists import finalists
from mobinas.search.judging import Numbers, UnusableAnswer, checked_values
from mobinas.search.record import FAILURES_IN_A_ROW
from mobinas.search.regression import lower_ends

Losses = tuple[float, ...]

FIRST = 8
CONFIDENCE = 0.9


@dataclass(frozen=True, slots=True)
class Rung(Generic[C]):
    """One way to evaluate.

    Attributes:
        name: Of the rung.
        cost: Of one evaluation, in any unit, the same for all rungs.
        evaluate: Gives every objective of a candidate; may raise Infeasible.
        prepare: Called with candidates before each of them is evaluated, so that they can be worked on
            together.
    """

    name: str
    cost: float
    evaluate: Callable[[C], Numbers]
    prepare: Callable[[Sequence[C]], object] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cost) and self.cost >= 0):
            raise SearchError(f"rung '{self.name}' costs {self.cost}; a cost is finite and at least 0")


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a rung orders candidates as the top does.

    Attributes:
        rung: Its name.
        objective: The objective's name.
        tau: Kendall's rank correlation over those that climbed; NaN where all are equal.
        low: Lower end of its 95 % interval (bootstrap).
        high: Upper end.
        n: How many climbed. They were chosen by that rung, so tau tends to be lower than over all.
    """

    rung: str
    objective: str
    tau: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Climbed(Generic[CandidateT]):
    """What became of the candidates.

    Attributes:
        front: Of the top rung.
        reached: For each rung, from the lowest, the evaluations on it, in order.
        agreements: Of each rung below the top, for each objective.
        cost: Of all evaluations.
        finished: Whether no candidate was left that could enter the front; else the budget ended it.
        failed: Candidates that failed on a rung and went no further, with the reason as their ``error``.
    """

    front: ParetoFront[CandidateT]
    reached: tuple[tuple[Evaluation[CandidateT], ...], ...]
    agreements: tuple[Agreement, ...]
    cost: float
    finished: bool
    failed: tuple[Evaluation[CandidateT], ...] = ()


def climb(
    candidates: Sequence[C],
    rungs: Sequence[Rung[C]],
    objectives: Sequence[Objective],
    *,
    first: int = FIRST,
    pioneers: Sequence[C] = (),
    also: Sequence[str] = (),
    batch: int = 1,
    confidence: float = CONFIDENCE,
    budget: float = math.inf,
    seed: int = 0,
    progress: Progress = silent,
) -> Climbed[C]:
    """Evaluates all candidates on the lowest rung, and on the others those that could still enter the front.

    A candidate whose evaluation raises, or tells what is no finite number, has failed and goes no further.

    Args:
        candidates: Distinct by digest.
        rungs: From the cheapest to the one that counts; at least two.
        objectives: The axes; every rung tells all of them.
        first: How many go to the top at once, half of them the lowest rung's best and half drawn; at least 4.
        pioneers: Those of the candidates that go to the top at once instead.
        also: Positive values that every rung tells beside the objectives and that foretell the top, too, such
            as the size; their logarithms enter the regression.
        batch: Up to how many go up at a time. Each is chosen as if those before had kept their promise.
        confidence: Of the prediction intervals, in (0, 1); the higher, the fewer are held back.
        budget: No evaluation begins that would cost more than this in all.
        seed: Of the draw.
        progress: Told after each evaluation above the lowest rung.

    Raises:
        SearchError: Arguments that cannot be meant, or five failing evaluations in a row.
    """
    axes = check_objectives(objectives)
    _check(candidates, rungs, first, pioneers, confidence)
    ladder = _Ladder(tuple(rungs), axes, tuple(also), confidence, budget, progress)
    ladder.climbers = [_Climber(candidate) for candidate in candidates]
    ladder.lift(ladder.climbers)
    ahead = {c.digest for c in pioneers} or _ahead(ladder, first, random.Random(seed))
    for level in range(ladder.top):
        ladder.lift([c for c in ladder.at(level) if c.candidate.digest in ahead])
    finished = ladder.finish(batch)
    top = ladder.evaluations(ladder.top)
    return Climbed(
        ParetoFront.of(top, axes),
        tuple(ladder.evaluations(level) for level in range(len(rungs))),
        ladder.agreements(seed),
        ladder.cost,
        finished,
        tuple(ladder.failed),
    )


def _check(
    candidates: Sequence[C], rungs: Sequence[Rung[C]], first: int, pioneers: Sequence[C], confidence: float
) -> None:
    if len(rungs) < 2:
        raise SearchError(f"{len(rungs)} rung(s); climbing needs at least two")
    if first < 4 or not 0 < confidence < 1:
        raise SearchError(
            f"first is {first} and confidence {confidence}; give at least 4, and a share between 0 and 1"
        )
    if any(dearer.cost < rung.cost for rung, dearer in itertools.pairwise(rungs)):
        raise SearchError("a rung costs less than the one below; give them from the cheapest on")
    digests = {c.digest for c in candidates}
    if len(digests) != len(candidates) or not candidates:
        raise SearchError("candidates to climb must be at least one, each once")
    if not digests.issuperset(c.digest for c in pioneers):
        raise SearchError("a pioneer is not among the candidates")


@dataclass(slots=True, eq=False)
class _Climber(Generic[C]):
    candidate: C
    seen: list[Evaluation[C]] = field(default_factory=list)
    alive: bool = True

    @property
    def level(self) -> int:
        return len(self.seen) - 1


def _ahead(ladder: "_Ladder[C]", n: int, rng: random.Random) -> set[str]:
    lowest = [climber.seen[0] for climber in ladder.at(0)]
    if len(lowest) <= n:
        return {e.candidate.digest for e in lowest}
    best = finalists(lowest, ladder.axes, max(n // 2, len(ladder.axes)), logarithmic=())
    chosen = {e.candidate.digest for e in best}
    rest = [e.candidate.digest for e in lowest if e.candidate.digest not in chosen]
    return chosen | set(rng.sample(rest, max(n - len(chosen), 0)))


class _Ladder(Generic[C]):
    def __init__(
        self,
        rungs: tuple[Rung[C], ...],
        axes: tuple[Objective, ...],
        also: tuple[str, ...],
        confidence: float,
        budget: float,
        progress: Progress,
    ) -> None:
        self.rungs = rungs
        self.axes = axes
        self.top = len(rungs) - 1
        self.cost = 0.0
        self.climbers: list[_Climber[C]] = []
        self._also = also
        self._confidence = confidence
        self._budget = budget
        self._progress = progress
        self.failed: list[Evaluation[C]] = []
        self._lifted = 0
        self._in_a_row = 0

    def at(self, level: int) -> list[_Climber[C]]:
        """Those that came this far and may go on."""
        return [c for c in self.climbers if c.alive and c.level == level]

    def lift(self, climbers: Sequence[_Climber[C]]) -> bool:
        """Evaluates candidates of one rung on the next; tells whether the budget allowed all of them."""
        if not climbers:
            return True
        rung = self.rungs[climbers[0].level + 1]
        allowed = len(climbers)
        if self.cost + allowed * rung.cost > self._budget:
            allowed = int((self._budget - self.cost) // rung.cost)
        if rung.prepare is not None and allowed:
            rung.prepare([climber.candidate for climber in climbers[:allowed]])
        for climber in climbers[:allowed]:
            self.cost += rung.cost
            self._evaluate(climber, rung)
        return allowed == len(climbers)

    def _evaluate(self, climber: _Climber[C], rung: Rung[C]) -> None:
        try:
            values = rung.evaluate(climber.candidate)
            told = self._told(rung, values)
        except Infeasible:
            climber.alive = False
            return
        except UnusableAnswer as error:
            self._fail(climber, str(error), error)
            return
        except ArtifactError:
            raise
        except Exception as error:
            self._fail(climber, traceback.format_exc(), error)
            return
        self._in_a_row = 0
        climber.seen.append(Evaluation(climber.candidate, told))
        if climber.level > 0:
            self._lifted += 1
            self._progress(self._lifted, self.top * len(self.climbers), climber.candidate.name)

    def _told(self, rung: Rung[C], values: Numbers) -> dict[str, Value]:
        if not isinstance(values, Mapping):
            raise UnusableAnswer(f"rung '{rung.name}' returned {values!r:.80}; return a mapping to numbers")
        for name in (*(axis.name for axis in self.axes), *self._also):
            if name not in values:
                raise UnusableAnswer(f"rung '{rung.name}' tells no '{name}'; return every objective")
        told = checked_values(values, self.axes)
        for name in self._also:
            if told[name].x <= 0:
                raise UnusableAnswer(f"'{name}' is {told[name].x:g}; it must be positive")
        return told

    def _fail(self, climber: _Climber[C], text: str, cause: Exception) -> None:
        climber.alive = False
        failed = Evaluation(climber.candidate, error=text)
        self.failed.append(failed)
        self._in_a_row += 1
        if self._in_a_row >= FAILURES_IN_A_ROW:
            raise SearchError(
                f"{FAILURES_IN_A_ROW} evaluations in a row failed, the last of "
                f"{described(climber.candidate)} with {failed.reason}"
            ) from cause

    def evaluations(self, level: int) -> tuple[Evaluation[C], ...]:
        return tuple(c.seen[level] for c in self.climbers if c.level >= level)

    def finish(self, batch: int) -> bool:
        """Lifts the most promising until none promises anything; False if it cost too much."""
        while True:
            best = self._most_promising(batch)
            if not best:
                return True
            if not self.lift(best):
                return False

    def _most_promising(self, n: int) -> list[_Climber[C]]:
        """Up to n of one rung, the first one the most promising of all."""
        top = [e.losses(self.axes) for e in self.evaluations(self.top)]
        front = [e.losses(self.axes) for e in ParetoFront.of(self.evaluations(self.top), self.axes)]
        corner = tuple(np.max(top, axis=0).tolist()) if top else ()
        offered: list[tuple[_Climber[C], Losses]] = []
        for level in range(self.top):
            waiting = self.at(level)
            offered += zip(waiting, self._hopes(level, waiting), strict=True)
        chosen: list[_Climber[C]] = []
        while len(chosen) < n:
            volume = hypervolume(front, corner) if top else 0.0
            best: tuple[float, _Climber[C], Losses] | None = None
            for climber, hope in offered:
                if any(all(a <= b for a, b in zip(point, hope, strict=True)) for point in front):
                    continue
                # Beyond the corner there is no volume, but a better end of the front.
                known = bool(top) and all(map(math.isfinite, hope))
                gain = hypervolume([*front, hope], corner) - volume if known else math.inf
                if best is None or gain > best[0]:
                    best = gain, climber, hope
            if best is None:
                break
            _, climber, hope = best
            chosen.append(climber)
            offered = [(c, h) for c, h in offered if c is not climber and c.level == climber.level]
            if all(map(math.isfinite, hope)):
                front.append(hope)
        return chosen

    def _hopes(self, level: int, waiting: Sequence[_Climber[C]]) -> list[Losses]:
        """What each may reach at the top, at the good end of the interval."""
        pairs = [(c.seen[level], c.seen[self.top]) for c in self.climbers if c.level == self.top]
        if not waiting:
            return []
        if len(pairs) < 3 + len(self._also):  # nothing is known of the rung yet
            return [(-math.inf,) * len(self.axes)] * len(waiting)
        columns = []
        for axis in self.axes:
            x = np.array([self._foretelling(low, axis) for low, _ in pairs])
            y = np.array([axis.loss(high[axis.name]) for _, high in pairs])
            at = np.array([self._foretelling(c.seen[level], axis) for c in waiting])
            columns.append(lower_ends(x, y, at, self._confidence))
        return [tuple(row) for row in np.array(columns).T.tolist()]

    def _foretelling(self, seen: Evaluation[C], axis: Objective) -> list[float]:
        return [axis.loss(seen[axis.name]), *(math.log(seen[name]) for name in self._also)]

    def agreements(self, seed: int) -> tuple[Agreement, ...]:
        climbed = [c for c in self.climbers if c.level == self.top]
        return tuple(
            agreement(
                rung.name,
                axis.name,
                [c.seen[level][axis.name] for c in climbed],
                [c.seen[self.top][axis.name] for c in climbed],
                seed,
            )
            for level, rung in enumerate(self.rungs[: self.top])
            for axis in self.axes
        )


def agreement(
    rung: str, objective: str, low: Sequence[float], high: Sequence[float], seed: int = 0
) -> Agreement:
    """How far the order on a rung is that on a higher one.

    Args:
        rung: Name of the lower one.
        objective: Name of the objective.
        low: Its values there.
        high: Those of the same candidates on the higher rung.
        seed: Resamples for the interval.
    """
    if len(low) < 3:
        return Agreement(rung, objective, math.nan, math.nan, math.nan, len(low))
    return Agreement(rung, objective, kendall_tau(low, high), *tau_interval(low, high, seed), len(low))
