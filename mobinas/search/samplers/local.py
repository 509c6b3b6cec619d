"""Local search on the front: one choice of a member changed, the members in turn.

The simplest search that beats many (White, Nolen and Savani, 2021, https://arxiv.org/abs/2005.02960), after
Pareto local search (Paquete, Chiarandini and Stützle, 2004, https://doi.org/10.1007/978-3-642-17144-4_7).
"""

import numpy as np
from optuna.samplers import BaseSampler

from mobinas.search.seen import ABSENT, Ints, PointSampler, Seen


def propose(seen: Seen, rng: np.random.Generator) -> Ints:
    """An unseen neighbour of the member whose turn it is, else of the next; else a random point."""
    front = seen.front()
    for member in np.roll(front, -(len(seen) % len(front))):
        fresh = seen.unseen(neighbours(seen, seen.points[member], rng))
        if len(fresh):
            return fresh[[rng.integers(len(fresh))]]
    return seen.random(1, rng)


def neighbours(seen: Seen, point: Ints, rng: np.random.Generator) -> Ints:
    """All points that differ in one choice, and in what exists only beside it (drawn)."""
    rows = []
    for choice, size in enumerate(seen.sizes):
        for option in range(size) if point[choice] != ABSENT else ():
            if option != point[choice]:
                row = point.copy()
                row[choice] = option
                rows.append(row)
    return seen.without_absent(seen.filled(np.array(rows, dtype=np.int64), rng))


def make(seed: int) -> BaseSampler:
    """Neighbours of the front, round robin."""
    return PointSampler(propose, seed)
