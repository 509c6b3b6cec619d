"""The expected gain in hypervolume from one more point."""

import numpy as np
from scipy.special import ndtr
from scipy.stats import qmc

from mobinas.metrics.hypervolume import non_dominated
from mobinas.search.seen import Floats

_DIRECTIONS = 64
_SAMPLES = 16


def expected_improvement(below: Floats, mean: Floats, std: Floats) -> Floats:
    """E max(0, below - X) of a normal X."""
    z = (below - mean) / std
    result: Floats = np.maximum(std * (z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)), 0.0)
    return result


def expected_hypervolume_improvement(mean: Floats, std: Floats, front: Floats, reference: Floats) -> Floats:
    """What a point with independent normal losses is expected to add to the dominated volume.

    Exact for one and for two objectives, where the gain is a sum over the strips between the front's members
    (Yang et al., 2019, https://doi.org/10.1016/j.swevo.2018.10.007). With more, up to a constant factor, from
    samples: the volume is a mean over directions (Zhang and Golovin, 2020, https://arxiv.org/abs/2006.04655).

    Args:
        mean: [n, objectives], to be minimised.
        std: [n, objectives], positive.
        front: [m, objectives] losses that are there already; those beyond the reference count nothing.
        reference: [objectives].

    Returns:
        [n].
    """
    inside = front[(front < reference).all(axis=1)]
    if len(reference) == 1:
        best = np.min(inside, initial=reference[0])
        return expected_improvement(np.full(len(mean), best), mean[:, 0], std[:, 0])
    if len(reference) == 2:
        return _strips(mean, std, inside, reference)
    return _directions(mean, std, inside, reference)


def _strips(mean: Floats, std: Floats, front: Floats, reference: Floats) -> Floats:
    members = np.unique(front[non_dominated(front)], axis=0)
    edges = np.concatenate([members[:, 0], reference[:1]])
    heights = np.concatenate([reference[1:], members[:, 1]])
    # Of each strip between two edges, the length to the right of the point.
    lengths = np.diff(expected_improvement(edges, mean[:, :1], std[:, :1]), axis=1, prepend=0.0)
    result: Floats = (lengths * expected_improvement(heights, mean[:, 1:], std[:, 1:])).sum(axis=1)
    return result


def _directions(mean: Floats, std: Floats, front: Floats, reference: Floats) -> Floats:
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
    gains = [np.maximum(reach(mean + std * draw) - reached, 0.0).mean(axis=1) for draw in draws]
    result: Floats = np.mean(gains, axis=0)
    return result
