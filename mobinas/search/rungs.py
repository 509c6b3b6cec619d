"""Multi-fidelity with several objectives: cheap evaluations decide which candidates get dear ones.

Pruning as Optuna does it needs a single objective. Here every candidate starts on the lowest rung (say,
inherited weights), some climb to the top (say, many epochs), and those teach how well each rung foretells the
top. From then on the candidate goes up that promises most, as long as any could still enter the front. What
promises: a linear regression from rung to top for each objective, at the good end of its prediction interval.
So a rung that tells nothing holds nobody back, and one that tells all lets only the front pass.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic

import numpy as np
import numpy.typing as npt

from mobinas.errors import Infeasible, SearchError
from mobinas.metrics.evaluation import C, CandidateT, Evaluation
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.hypervolume import hypervolume
from mobinas.metrics.objective import Objective, check_objectives
from mobinas.metrics.rank import kendall_tau, tau_interval
from mobinas.progress import Progress, silent
from mobinas.search.finalists import finalists
from mobinas.search.judging import Numbers, checked_values

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
    """

    name: str
    cost: float
    evaluate: Callable[[C], Numbers]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cost) and self.cost > 0):
            raise SearchError(f"rung '{self.name}' costs {self.cost}; a cost is positive and finite")


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
    """

    front: ParetoFront[CandidateT]
    reached: tuple[tuple[Evaluation[CandidateT], ...], ...]
    agreements: tuple[Agreement, ...]
    cost: float
    finished: bool


def climb(
    candidates: Sequence[C],
    rungs: Sequence[Rung[C]],
    objectives: Sequence[Objective],
    *,
    first: int = FIRST,
    confidence: float = CONFIDENCE,
    budget: float = math.inf,
    seed: int = 0,
    progress: Progress = silent,
) -> Climbed[C]:
    """Evaluates all candidates on the lowest rung, and on the others those that could still enter the front.

    Args:
        candidates: Distinct by digest.
        rungs: From the cheapest to the one that counts; at least two.
        objectives: The axes; every rung tells all of them.
        first: How many go to the top at once, half of them the lowest rung's best and half drawn; at least 4.
        confidence: Of the prediction intervals, in (0, 1); the higher, the fewer are held back.
        budget: No evaluation begins that would cost more than this in all.
        seed: Of the draw.
        progress: Told after each evaluation above the lowest rung.

    Raises:
        SearchError: Arguments that cannot be meant, or a rung that does not tell an objective.
    """
    axes = check_objectives(objectives)
    if len(rungs) < 2:
        raise SearchError(f"{len(rungs)} rung(s); climbing needs at least two")
    if first < 4 or not 0 < confidence < 1:
        raise SearchError(
            f"first is {first} and confidence {confidence}; give at least 4, and a share between 0 and 1"
        )
    if len({c.digest for c in candidates}) != len(candidates) or not candidates:
        raise SearchError("candidates to climb must be at least one, each once")
    ladder = _Ladder(tuple(rungs), axes, confidence, budget, progress)
    for candidate in candidates:
        ladder.lift(_Climber(candidate))
    for climber in _pioneers(ladder, first, random.Random(seed)):
        while climber.alive and climber.level < ladder.top and ladder.lift(climber):
            pass
    finished = ladder.finish()
    top = ladder.evaluations(ladder.top)
    return Climbed(
        ParetoFront.of(top, axes),
        tuple(ladder.evaluations(level) for level in range(len(rungs))),
        ladder.agreements(seed),
        ladder.cost,
        finished,
    )


@dataclass(slots=True, eq=False)
class _Climber(Generic[C]):
    candidate: C
    seen: list[Evaluation[C]] = field(default_factory=list)
    alive: bool = True

    @property
    def level(self) -> int:
        return len(self.seen) - 1


def _pioneers(ladder: "_Ladder[C]", n: int, rng: random.Random) -> list[_Climber[C]]:
    alive = [climber for climber in ladder.climbers if climber.alive]
    if len(alive) <= n:
        return alive
    best = finalists([c.seen[0] for c in alive], ladder.axes, max(n // 2, len(ladder.axes)), logarithmic=())
    digests = {evaluation.candidate.digest for evaluation in best}
    chosen = [c for c in alive if c.candidate.digest in digests]
    rest = [c for c in alive if c.candidate.digest not in digests]
    return chosen + rng.sample(rest, max(n - len(chosen), 0))


class _Ladder(Generic[C]):
    def __init__(
        self,
        rungs: tuple[Rung[C], ...],
        axes: tuple[Objective, ...],
        confidence: float,
        budget: float,
        progress: Progress,
    ) -> None:
        self.rungs = rungs
        self.axes = axes
        self.top = len(rungs) - 1
        self.cost = 0.0
        self.climbers: list[_Climber[C]] = []
        self._confidence = confidence
        self._budget = budget
        self._progress = progress
        self._lifted = 0

    def lift(self, climber: _Climber[C]) -> bool:
        """Evaluates a candidate on its next rung; tells whether the budget allowed it."""
        rung = self.rungs[climber.level + 1]
        if self.cost + rung.cost > self._budget:
            return False
        self.cost += rung.cost
        if not climber.seen:
            self.climbers.append(climber)
        try:
            values = rung.evaluate(climber.candidate)
        except Infeasible:
            climber.alive = False
            return True
        for axis in self.axes:
            if axis.name not in values:
                raise SearchError(f"rung '{rung.name}' tells no '{axis.name}'; return every objective")
        told = checked_values(values, climber.candidate, self.axes)
        climber.seen.append(Evaluation(climber.candidate, told))
        if climber.level > 0:
            self._lifted += 1
            self._progress(self._lifted, self.top * len(self.climbers), climber.candidate.name)
        return True

    def evaluations(self, level: int) -> tuple[Evaluation[C], ...]:
        return tuple(c.seen[level] for c in self.climbers if c.level >= level)

    def finish(self) -> bool:
        """Lifts the most promising, one by one, until none promises anything; False if it cost too much."""
        while True:
            best = self._most_promising()
            if best is None:
                return True
            if not self.lift(best):
                return False

    def _most_promising(self) -> _Climber[C] | None:
        top = [e.losses(self.axes) for e in self.evaluations(self.top)]
        front = [e.losses(self.axes) for e in ParetoFront.of(self.evaluations(self.top), self.axes)]
        corner = tuple(np.max(top, axis=0).tolist()) if top else ()
        volume = hypervolume(front, corner) if top else 0.0
        best: tuple[float, _Climber[C]] | None = None
        for level in range(self.top):
            waiting = [c for c in self.climbers if c.alive and c.level == level]
            hopes = self._hopes(level, [c.seen[level].losses(self.axes) for c in waiting])
            for climber, hope in zip(waiting, hopes, strict=True):
                if any(all(a <= b for a, b in zip(point, hope, strict=True)) for point in front):
                    continue
                # Beyond the corner there is no volume, but a better end of the front.
                known = bool(top) and all(map(math.isfinite, hope))
                gain = hypervolume([*front, hope], corner) - volume if known else math.inf
                if best is None or gain > best[0]:
                    best = gain, climber
        return None if best is None else best[1]

    def _hopes(self, level: int, waiting: Sequence[Losses]) -> list[Losses]:
        """What each may reach at the top, at the good end of the interval."""
        pairs = [(c.seen[level], c.seen[self.top]) for c in self.climbers if c.level == self.top]
        if not waiting:
            return []
        if len(pairs) < 3:  # nothing is known of the rung yet
            return [(-math.inf,) * len(self.axes)] * len(waiting)
        columns = []
        for k, axis in enumerate(self.axes):
            x = np.array([axis.loss(low[axis.name]) for low, _ in pairs])
            y = np.array([axis.loss(high[axis.name]) for _, high in pairs])
            columns.append(lower_ends(x, y, np.array([w[k] for w in waiting]), self._confidence))
        return [tuple(row) for row in np.array(columns).T.tolist()]

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


Array = npt.NDArray[np.float64]


def lower_ends(x: Array, y: Array, at: Array, confidence: float) -> Array:
    """Lower ends of the prediction intervals of a least-squares line.

    mean - t * s * sqrt(1 + 1/n + (at - mean(x))^2 / Sxx), with Student's t of n - 2 degrees of freedom
    (Draper and Smith, Applied Regression Analysis, 3rd edition, section 3.1).

    Args:
        x: [n], n at least 3.
        y: [n].
        at: [m], where to predict.
        confidence: Of the two-sided interval.

    Returns:
        [m].
    """
    from scipy.stats import t

    n, centre = len(x), x.mean()
    sxx = float(((x - centre) ** 2).sum())
    slope = float(((x - centre) * (y - y.mean())).sum()) / sxx if sxx > 0 else 0.0
    residuals = y - y.mean() - slope * (x - centre)
    s = math.sqrt(float((residuals**2).sum()) / (n - 2))
    far = (at - centre) ** 2 / sxx if sxx > 0 else np.zeros_like(at)
    half = float(t.ppf((1 + confidence) / 2, n - 2)) * s * np.sqrt(1 + 1 / n + far)
    ends: Array = y.mean() + slope * (at - centre) - half
    return ends


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
