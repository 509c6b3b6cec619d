"""How a front's hypervolume grows with evaluations, and whether more of them are worth it."""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mobinas.errors import SearchError
from mobinas.metrics.evaluation import C, Evaluation
from mobinas.metrics.front import Reference, reference_losses
from mobinas.metrics.hypervolume import hypervolume, non_dominated
from mobinas.metrics.objective import Objective

Losses = tuple[float, ...]

ORDERS = 100


@dataclass(frozen=True, slots=True)
class Band:
    """A quantity after 1, 2, ... evaluations, over runs with other seeds.

    Attributes:
        low: 5 % quantile.
        middle: Median.
        high: 95 % quantile.
    """

    low: tuple[float, ...]
    middle: tuple[float, ...]
    high: tuple[float, ...]


def hypervolume_curve(
    evaluations: Sequence[Evaluation[C]], objectives: Sequence[Objective], reference: Reference
) -> tuple[float, ...]:
    """The front's hypervolume after each evaluation; those that cannot enter a front add nothing.

    Args:
        evaluations: In order.
        objectives: The axes.
        reference: See `ParetoFront.hypervolume`.
    """
    points = [e.losses(objectives) if e.comparable(objectives) else None for e in evaluations]
    return _curve(points, reference_losses(reference, objectives))


def _curve(points: Sequence[Losses | None], corner: Losses) -> tuple[float, ...]:
    curve: list[float] = []
    front: list[Losses] = []
    for new in points:
        entered = new is not None and not any(_no_worse(old, new) for old in front)
        if entered and new is not None:
            front = [old for old in front if not _no_worse(new, old)]
            front.append(new)
        curve.append(hypervolume(front, corner) if entered or not curve else curve[-1])
    return tuple(curve)


def _no_worse(a: Losses, b: Losses) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True))


def hypervolume_band(
    evaluations: Sequence[Evaluation[C]],
    objectives: Sequence[Objective],
    reference: Reference,
    *,
    orders: int = ORDERS,
    seed: int = 0,
) -> Band:
    """The hypervolume of independent draws after 1, 2, ... of them, and its spread over seeds.

    Draws may come in any order, and in the middle is the median over orders. All orders end with the same
    front, so the spread is that of bootstrap samples (Efron, 1979,
    https://doi.org/10.1214/aos/1176344552), other runs of as many draws. These hold some draws twice and so
    lie lower; only how far their quantiles are from their median is used.

    Args:
        evaluations: Of a random search.
        objectives: The axes.
        reference: See `ParetoFront.hypervolume`.
        orders: How many, and how many bootstrap samples.
        seed: Draws them.

    Raises:
        SearchError: Nothing was evaluated.
    """
    if not evaluations:
        raise SearchError("there is no evaluation to draw a band of; evaluate at least one")
    points = [e.losses(objectives) if e.comparable(objectives) else None for e in evaluations]
    corner, rng = reference_losses(reference, objectives), random.Random(seed)
    ordered = np.array([_curve(rng.sample(points, len(points)), corner) for _ in range(orders)])
    drawn = np.array([_curve(rng.choices(points, k=len(points)), corner) for _ in range(orders)])
    middle = np.median(ordered, axis=0)
    low, centre, high = np.quantile(drawn, (0.05, 0.5, 0.95), axis=0)
    ends = np.maximum(middle + low - centre, 0.0), middle + high - centre
    return Band(tuple(ends[0].tolist()), tuple(middle.tolist()), tuple(ends[1].tolist()))


def expected_improvement(
    evaluations: Sequence[Evaluation[C]], objectives: Sequence[Objective], window: int
) -> float:
    """What one more evaluation may be expected to add to the hypervolume, as a share of it.

    The mean over the last evaluations of what the hypervolume would lose without each. Where these are
    draws from one distribution, this estimates without bias what the last of them added, and the next adds
    no more in expectation, since a hypervolume is submodular (leaving one out as in Good, 1953,
    https://doi.org/10.1093/biomet/40.3-4.237). A sampler that still moves draws better than that.

    Args:
        evaluations: In order; the reference point is the worst of them in each objective.
        objectives: The axes.
        window: How many of the last ones.

    Returns:
        A share of at least 0; infinite while there are fewer evaluations than the window, or no volume.
    """
    points = [e.losses(objectives) if e.comparable(objectives) else None for e in evaluations]
    known = [point for point in points if point is not None]
    if len(evaluations) < window or len(known) < 2:
        return float("inf")
    corner = tuple(np.max(known, axis=0).tolist())
    whole = hypervolume(known, corner)
    if not whole:
        return float("inf")
    front = [tuple(point) for point in np.array(known)[non_dominated(np.array(known))].tolist()]
    losses = [
        whole - hypervolume(_without(known, point), corner) if point is not None and point in front else 0.0
        for point in points[-window:]
    ]
    return statistics.fmean(losses) / whole


def _without(points: list[Losses], point: Losses) -> list[Losses]:
    rest = list(points)
    rest.remove(point)
    return rest
