"""The expected gain in hypervolume from one more point."""

from collections.abc import Callable

import numpy as np
from scipy.stats import norm, qmc

from mobinas.metrics.hypervolume import non_dominated
from mobinas.search.seen import Floats

_DIRECTIONS = 64
_SAMPLES = 16
# The trapezoid rule for means over a normal number; as far out as a late search still hopes.
_NORMALS = np.linspace(-6.0, 6.0, 33)
_SHARES = norm.pdf(_NORMALS) / norm.pdf(_NORMALS).sum()

Losses = Callable[[Floats], Floats]


def expected_hypervolume_improvement(losses: Losses, front: Floats, reference: Floats) -> Floats:
    """What a point with independent random losses is expected to add to the dominated volume.

    For one and two objectives, the gain is a sum over the strips between the front's members (Yang et al.,
    2019, https://doi.org/10.1016/j.swevo.2018.10.007). With more, it is told up to a constant factor, from
    samples: the volume is a mean over directions (Zhang and Golovin, 2020, https://arxiv.org/abs/2006.04655).

    Args:
        losses: From normal numbers [..., 1, objectives], with mean 0 and standard deviation 1, to losses of
            the points [..., n, objectives], to be minimised.
        front: [m, objectives] losses that are there already; those beyond the reference count nothing.
        reference: [objectives].

    Returns:
        [n].
    """
    inside = front[(front < reference).all(axis=1)]
    if len(reference) > 2:
        return _directions(losses, inside, reference)
    told = losses(np.repeat(_NORMALS[:, None, None], len(reference), axis=2))
    if len(reference) == 1:
        best = np.min(inside, initial=reference[0])
        return _expected_improvement(np.array([best]), told[..., 0])[:, 0]
    return _strips(told, inside, reference)


def _expected_improvement(below: Floats, told: Floats) -> Floats:
    """[n, edges] means of max(0, below - x), of `below` [edges] and losses x [normals, n]."""
    result: Floats = np.einsum("q,qnk->nk", _SHARES, np.maximum(below - told[..., None], 0.0))
    return result


def _strips(told: Floats, front: Floats, reference: Floats) -> Floats:
    members = np.unique(front[non_dominated(front)], axis=0)
    edges = np.concatenate([members[:, 0], reference[:1]])
    heights = np.concatenate([reference[1:], members[:, 1]])
    # Of each strip between two edges, the length to the right of the point.
    lengths = np.diff(_expected_improvement(edges, told[..., 0]), axis=1, prepend=0.0)
    result: Floats = (lengths * _expected_improvement(heights, told[..., 1])).sum(axis=1)
    return result


def _directions(losses: Losses, front: Floats, reference: Floats) -> Floats:
    m = len(reference)
    even = qmc.MultivariateNormalQMC(np.zeros(m), rng=0).random(_DIRECTIONS)
    directions = np.abs(even) + 1e-9
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    draws = qmc.MultivariateNormalQMC(np.zeros(m), rng=1).random(_SAMPLES)

    def reach(losses: Floats) -> Floats:
        """[..., directions] how far the box of each point goes along each direction, to the power m."""
        steps = np.maximum(reference - losses, 0.0)[..., None, :] / directions
        result: Floats = steps.min(axis=-1) ** m
        return result

    reached = reach(front).max(axis=0, initial=0.0)
    gains = [np.maximum(reach(losses(draw)) - reached, 0.0).mean(axis=1) for draw in draws]
    result: Floats = np.mean(gains, axis=0)
    return result
