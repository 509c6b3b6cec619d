"""The hypervolume indicator, exact in any dimension."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mobinas.errors import SearchError

Points = npt.NDArray[np.float64]


def non_dominated(losses: Points) -> npt.NDArray[np.bool_]:
    """Marks the points that no other point dominates.

    Args:
        losses: [n, objectives], all to be minimised, no NaN.

    Returns:
        [n] booleans; equal points do not dominate each other, so all of them are marked.
    """
    # Best sums first: few points then remain to be compared with.
    left = np.argsort(losses.sum(axis=1), kind="stable")
    place = 0
    while place < len(left):
        rest, point = losses[left], losses[left[place]]
        stays = (rest < point).any(axis=1) | (rest == point).all(axis=1)
        left = left[stays]
        place = int(stays[:place].sum()) + 1
    marks = np.zeros(len(losses), dtype=bool)
    marks[left] = True
    return marks


def hypervolume(
    points: Sequence[Sequence[float]] | Points, reference: Sequence[float] | npt.NDArray[np.float64]
) -> float:
    """The volume that the points dominate, up to a reference point.

    Two objectives are swept; more are done by exclusive contributions (WFG; While, Bradstreet and Barone,
    2012, https://doi.org/10.1109/TEVC.2010.2077298).

    Args:
        points: [n, objectives], all to be minimised, finite; points not better than the reference in every
            objective add nothing.
        reference: [objectives], finite.

    Returns:
        The volume; 0 without points.

    Raises:
        SearchError: Shapes that do not fit, or a number that is not finite.
    """
    corner = np.asarray(reference, dtype=np.float64)
    if corner.ndim != 1 or not corner.size:
        raise SearchError(f"the reference has shape {corner.shape}; it needs one number per objective")
    if len(points) == 0:
        return 0.0
    losses = np.asarray(points, dtype=np.float64)
    if losses.ndim != 2 or losses.shape[1] != corner.size:
        raise SearchError(
            f"points of shape {losses.shape} do not fit a reference of {corner.size} objectives"
        )
    if not (np.isfinite(losses).all() and np.isfinite(corner).all()):
        raise SearchError("a hypervolume needs finite points and a finite reference")
    return _volume(losses[(losses < corner).all(axis=1)], corner)


def _volume(losses: Points, corner: Points) -> float:
    if not len(losses):
        return 0.0
    if corner.size == 1:
        return float(corner[0] - losses.min())
    if corner.size == 2:
        return _area(losses, corner)
    front = np.unique(losses[non_dominated(losses)], axis=0)
    # Worst first in the last objective: what each point adds then lies in a thin slab with few others.
    front = front[np.argsort(-front[:, -1], kind="stable")]
    total = 0.0
    for i, point in enumerate(front):
        shadow = np.maximum(front[i + 1 :], point)
        total += float(np.prod(corner - point)) - _slab_volume(shadow, point, corner)
    return total


def _slab_volume(shadow: Points, point: Points, corner: Points) -> float:
    # Later points are no worse in the last objective, so all shadows share the point's value there.
    return _volume(shadow[:, :-1], corner[:-1]) * float(corner[-1] - point[-1])


def _area(losses: Points, corner: Points) -> float:
    ordered = losses[np.lexsort((losses[:, 1], losses[:, 0]))]
    lowest = np.minimum.accumulate(np.concatenate([corner[1:], ordered[:, 1]]))
    return float(np.sum((corner[0] - ordered[:, 0]) * (lowest[:-1] - lowest[1:])))
