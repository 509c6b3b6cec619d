"""Which candidates are worth a full training: spread over the front, both ends always."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from mobinas.errors import SearchError
from mobinas.metrics.evaluation import C, Evaluation
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.objective import Objective, check_objectives

LOGARITHMIC = ("latency_s",)


def finalists(
    evaluations: Iterable[Evaluation[C]],
    objectives: Sequence[Objective],
    n: int,
    *,
    logarithmic: Sequence[str] = LOGARITHMIC,
    covered: str | None = None,
) -> tuple[Evaluation[C], ...]:
    """Picks `n` evaluations that cover the trade-off.

    The best in each objective come first. With `covered`, then comes the best of each of equal bins over that
    objective's whole range, on the front or not. Then, front after front (the second is what remains
    without the first), always the one farthest from all picked so far, in objectives scaled to [0, 1] over
    the first front, until there are `n`.

    Args:
        evaluations: What was searched; a ParetoFront or a history. Infeasible ones are left out.
        objectives: The axes.
        n: How many to pick, at least one per objective.
        logarithmic: Objectives whose ratios matter, not their differences; their values are positive.
        covered: An objective that is well known where the others are rough estimates, such as inherited
            accuracies: these favour what the supernet trains easily, the small networks, so that a front of
            theirs may lack all large ones.

    Returns:
        Up to `n` evaluations, best in the first objective first; fewer only if there are no more.

    Raises:
        SearchError: `n` too small, or nothing to pick from.
    """
    axes = check_objectives(objectives)
    if n < len(axes):
        raise SearchError(
            f"{n} finalists cannot hold the best in each of {len(axes)} objectives; ask for more"
        )
    rest = list(evaluations)
    front = ParetoFront.of(rest, axes).members
    if not front:
        raise SearchError("there is no feasible evaluation to pick finalists from")
    scaler = _Scaler(front, axes, logarithmic)
    picked = _ends(front, axes)
    if covered is not None:
        others = [axis for axis in axes if axis.name != covered]
        _cover(picked, rest, n - len(axes) + 1, covered, others, covered in logarithmic)
    while front and len(picked) < n:
        _spread(picked, [e for e in front if e not in picked], n, scaler)
        gone = {e.candidate.digest for e in front}
        rest = [e for e in rest if e.candidate.digest not in gone]
        front = ParetoFront.of(rest, axes).members
    return tuple(sorted(picked, key=lambda e: (e.losses(axes), e.candidate.digest)))


def _ends(front: Sequence[Evaluation[C]], axes: Sequence[Objective]) -> list[Evaluation[C]]:
    """The best in each objective."""
    picked: list[Evaluation[C]] = []
    for axis in axes:
        end = min(front, key=lambda e: (axis.loss(e[axis.name]), e.losses(axes), e.candidate.digest))
        if end not in picked:
            picked.append(end)
    return picked


class _Scaler:
    """Maps an evaluation to the unit cube of the first front."""

    def __init__(
        self, front: Sequence[Evaluation[C]], axes: Sequence[Objective], logarithmic: Sequence[str]
    ) -> None:
        self._names = [(axis.name, axis.name in logarithmic) for axis in axes]
        points = np.array([self._raw(e) for e in front])
        self._low = points.min(axis=0)
        span = points.max(axis=0) - self._low
        self._span = np.where(span > 0, span, 1.0)

    def _raw(self, evaluation: Evaluation[C]) -> list[float]:
        return [math.log(evaluation[name]) if log else evaluation[name] for name, log in self._names]

    def __call__(self, evaluation: Evaluation[C]) -> npt.NDArray[np.float64]:
        scaled: npt.NDArray[np.float64] = (np.array(self._raw(evaluation)) - self._low) / self._span
        return scaled


def _cover(
    picked: list[Evaluation[C]],
    offered: Sequence[Evaluation[C]],
    bins: int,
    name: str,
    others: Sequence[Objective],
    logarithmic: bool,
) -> None:
    """The best in the other objectives of each bin where nothing is picked yet."""
    feasible = [e for e in offered if e.feasible]
    at = {e.candidate.digest: math.log(e[name]) if logarithmic else e[name] for e in feasible}
    low, span = min(at.values()), max(at.values()) - min(at.values())

    def bin_of(evaluation: Evaluation[C]) -> int:
        share = (at[evaluation.candidate.digest] - low) / span if span else 0.0
        return min(int(share * bins), bins - 1)

    filled = {bin_of(e) for e in picked}
    for k in sorted(set(range(bins)) - filled):
        inside = [e for e in feasible if bin_of(e) == k]
        if inside:
            picked.append(min(inside, key=lambda e: (e.losses(others), e[name], e.candidate.digest)))


def _spread(picked: list[Evaluation[C]], offered: list[Evaluation[C]], n: int, scaler: _Scaler) -> None:
    places = [scaler(e) for e in offered]
    distances = [min(float(np.linalg.norm(place - scaler(p))) for p in picked) for place in places]
    while offered and len(picked) < n:
        farthest = int(np.argmax(distances))
        picked.append(offered.pop(farthest))
        place = places.pop(farthest)
        distances.pop(farthest)
        distances = [
            min(old, float(np.linalg.norm(p - place))) for old, p in zip(distances, places, strict=True)
        ]
