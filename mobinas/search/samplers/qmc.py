"""A Sobol sequence over the choices (Owen's scrambling): more even than random draws.

Optuna's QMCSampler counts in the study's attributes and takes one seed for all proposals; this one knows its
place from the ended trials.
"""

import hashlib

import numpy as np
from optuna.samplers import BaseSampler
from scipy.stats.qmc import Sobol

from mobinas.search.seen import Ints, PointSampler, Seen


def propose(seen: Seen, rng: np.random.Generator) -> Ints:
    """The first point of the sequence that was not asked; the first trial scrambles the sequence."""
    seed = int.from_bytes(hashlib.sha256(seen.points[0].tobytes()).digest()[:4], "big")
    power = int(np.ceil(np.log2(len(seen) + 1))) + 1
    sequence = Sobol(len(seen.sizes), rng=np.random.default_rng(seed)).random_base2(power)
    points = seen.without_absent((sequence * seen.sizes).astype(np.int64))
    fresh = seen.unseen(points)
    return fresh[:1] if len(fresh) else seen.random(1, rng)


def make(seed: int) -> BaseSampler:
    """Points of a Sobol sequence in turn."""
    return PointSampler(propose, seed)
