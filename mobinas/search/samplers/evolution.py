"""Regularised (aging) evolution for several objectives (Real et al., 2019, https://arxiv.org/abs/1802.01548)."""

import numpy as np
from optuna.samplers import BaseSampler

from mobinas.metrics.hypervolume import non_dominated
from mobinas.search.seen import Floats, Ints, PointSampler, Seen

# The authors' 100 and 25 are for 20,000 evaluations.
POPULATION = 48
TOURNAMENT = 12
_TRIES = 20


def propose(seen: Seen, rng: np.random.Generator) -> Ints:
    """A child of the tournament's winner: one choice changed, where possible to something unseen."""
    living = np.arange(max(0, len(seen) - POPULATION), len(seen))
    rivals = rng.choice(living, min(TOURNAMENT, len(living)), replace=False)
    parent = seen.points[rivals[winner(seen, rivals)]]
    children = seen.mutated(np.repeat(parent[None], _TRIES, axis=0), 1, rng)
    fresh = seen.unseen(children)
    return fresh[:1] if len(fresh) else children[:1]


def winner(seen: Seen, rivals: Ints) -> int:
    """Place of the best rival: within the constraints, then of the first front, then the least crowded."""
    feasible = seen.feasible()[rivals]
    if not feasible.any():
        beyond = np.maximum(np.nan_to_num(seen.violations[rivals]), 0).sum(axis=1)
        return int(np.argmin(beyond))
    places = np.flatnonzero(feasible)
    losses = seen.losses[rivals[places]]
    first = non_dominated(losses)
    return int(places[first][np.argmax(distances(losses[first]))])


def distances(losses: Floats) -> Floats:
    """Crowding distance of each point (Deb et al., 2002, section III-B); infinite at the ends."""
    total = np.zeros(len(losses))
    for column in losses.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        total[order[[0, -1]]] = np.inf
        if span > 0:
            total[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return total


def make(seed: int) -> BaseSampler:
    """Aging evolution; the population is the latest trials, whatever their values."""
    return PointSampler(propose, seed)
