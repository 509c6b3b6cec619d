"""Model-assisted: learns every objective and constraint, and proposes where the front should gain most.

A Gaussian process for each objective and each constraint, over numbers warped to look normal; the candidate
with the highest expected hypervolume improvement, times the probability that it is feasible (Gardner et al.,
2014, https://proceedings.mlr.press/v32/gardner14.html), of an evolving pool around the front. Where it proves
too sure of what is feasible, it aims further inside the bounds. Where values are known without an evaluation,
such as a predicted latency, they are learnt from rejected trials, too, and the best of the pool is chosen by
the values themselves.
"""

import numpy as np
from optuna.samplers import BaseSampler
from scipy.special import ndtr

from mobinas.search.improvement import expected_hypervolume_improvement
from mobinas.search.seen import Floats, Foretold, Ints, PointSampler, Seen
from mobinas.search.surrogate import Encoder, Surrogate
from mobinas.search.warp import Warp

MAX_LEARNT = 300
POOL = 120
ROUNDS = 4
_KEPT = 12
# The gain of a point that is known to be infeasible.
IMPOSSIBLE = -1.0
# So many of the pool are looked at by what is known of them, and as many again where all of these are
# infeasible: lowering, counting and predicting a network takes a millisecond.
FORETOLD = 8
# The share of infeasible evaluations that is accepted.
ALLOWED = 0.1
# How many of the latest evaluations tell whether the model is too sure of itself, and how far inside the
# bounds to aim for each share of them that is too much, in spreads of the violation. Where rows stand in for
# proposals (ZCU102 with bound latency), half as many are infeasible; 40 for 20, and 6 for 3, do as well.
LATEST = 20
CAUTION = 3.0
# The worst of all is hardly among those seen: the reference lies beyond these by a share of their range, the
# share that BoTorch takes, too. Without it, the first proposals on ZCU102 and A100 gain no more than draws.
BEYOND = 0.1


def propose(seen: Seen, rng: np.random.Generator) -> Ints:
    """The best unseen point of a pool that evolves for some rounds."""
    front = seen.front()
    gain = Gain(seen, front, rng)
    points = seen.unseen(
        np.concatenate([children(seen, seen.points[front], rng), seen.random(POOL // 3, rng)])
    )
    if not len(points):
        return seen.random(1, rng)
    gains = gain(points)
    for _ in range(ROUNDS - 1):
        best = np.argsort(-gains, kind="stable")[:_KEPT]
        fresh = seen.unseen(np.concatenate([points[best], children(seen, points[best], rng)]))
        points, gains = fresh, gain(fresh)
    points = points[np.argsort(-gains, kind="stable")]
    for first in range(0, len(points), FORETOLD) if seen.foretell else ():
        some = points[first : first + FORETOLD]
        gains = gain(some, seen.foretold(some))
        if gains.max() > IMPOSSIBLE:
            return some[[int(np.argmax(gains))]]
    return points[:1]


def children(seen: Seen, parents: Ints, rng: np.random.Generator) -> Ints:
    """[pool, choices] crossovers of two parents, and mutations of them in up to three choices."""
    mothers, fathers = parents[rng.integers(0, len(parents), (2, POOL))]
    mixed = np.where(rng.random(mothers.shape) < 0.5, mothers, fathers)
    crossed = np.where(rng.random((POOL, 1)) < 0.5, mixed, mothers)
    filled = seen.without_absent(seen.filled(crossed, rng))
    return seen.mutated(filled, rng.integers(1, 4, POOL), rng)


class Gain:
    """The gain expected of a point: expected hypervolume improvement times probability of feasibility."""

    def __init__(self, seen: Seen, front: Ints, rng: np.random.Generator) -> None:
        """Learns from what was seen and from which of it is the front."""
        self._encoder = Encoder(list(seen.options.values()))
        self._features = self._encoder(seen.points)
        feasible = seen.feasible()
        evaluated = seen.evaluated()
        known = seen.losses[evaluated]
        # Empty as long as nothing is feasible.
        self._front = seen.losses[np.intersect1d(front, np.flatnonzero(feasible))]
        counted = seen.losses[feasible] if feasible.any() else known
        spread = known.max(axis=0, initial=-np.inf) - known.min(axis=0, initial=np.inf)
        self._reference = counted.max(axis=0, initial=-np.inf) + BEYOND * np.maximum(spread, 0.0)
        self._objectives = [self._model(column, front, rng) for column in seen.losses.T] if len(known) else []
        violations = _complete(seen)
        # What was never broken needs no model, unless it is known beforehand: then nothing is evaluated, nor
        # told, that breaks it.
        may_break = (np.nan_to_num(violations) > 0).any(axis=0) | (seen.foretell is not None)
        # By their columns.
        self._constraints = {
            int(k): (*self._model(violations[:, k], front, rng), margin(violations[evaluated, k]))
            for k in np.flatnonzero(may_break & ~np.isnan(violations).all(axis=0))
        }

    def _model(self, column: Floats, front: Ints, rng: np.random.Generator) -> tuple[Surrogate, Warp]:
        rows = learnt(np.flatnonzero(~np.isnan(column)), front, rng)
        warp = Warp.of(column[rows])
        return Surrogate.fit(self._features[rows], self._encoder.owners, warp(column[rows]), rng), warp

    def __call__(self, points: Ints, foretold: Foretold | None = None) -> Floats:
        """[n] gains; negative where a point is not sure enough to be feasible.

        Args:
            points: [n, choices].
            foretold: What is known of them, which needs no model.
        """
        features = self._encoder(points)
        gains = np.ones(len(points))
        if len(self._front):
            predicted = [(*model.predict(features), warp) for model, warp in self._objectives]

            def losses(normal: Floats) -> Floats:
                told = [warp.back(m + s * normal[..., k]) for k, (m, s, warp) in enumerate(predicted)]
                stacked = np.stack(told, axis=-1)
                if foretold is None:
                    return stacked
                return np.where(np.isnan(foretold.losses), stacked, foretold.losses)

            gains = expected_hypervolume_improvement(losses, self._front, self._reference)
        chance = np.ones(len(points))
        for k, (model, warp, aim) in self._constraints.items():
            mean, std = model.predict(features)
            inside = warp(np.zeros(1)) - aim - mean
            modelled = ndtr(inside / np.hypot(std, model.noise_std))
            if foretold is not None:
                told = foretold.violations[:, k]
                modelled = np.where(np.isnan(told), modelled, told <= 0)
            chance *= modelled
        if foretold is not None:
            chance[foretold.infeasible] = 0.0
        # Gains beyond the bounds are mostly large and seldom had: points that are not sure enough to be
        # feasible come after all others, the surest first.
        return np.where(chance >= 1 - ALLOWED, gains * chance, IMPOSSIBLE + chance)


def margin(violations: Floats) -> float:
    """How far inside a bound to aim: more, where more of the latest evaluations broke it than is allowed.

    As adaptive conformal inference widens intervals that miss too often (Gibbs and Candes, 2021,
    https://arxiv.org/abs/2106.00170), but by the latest share alone.
    """
    if not len(violations):
        return 0.0
    return CAUTION * max(0.0, float((violations[-LATEST:] > 0).mean()) - ALLOWED)


def _complete(seen: Seen) -> Floats:
    """[n, constraints] violations; what an evaluation did not complain of is fulfilled."""
    unsaid = np.isnan(seen.violations) & seen.evaluated()[:, None]
    return np.where(unsaid, -1.0, seen.violations)


def learnt(rows: Ints, front: Ints, rng: np.random.Generator) -> Ints:
    """Up to MAX_LEARNT of the rows: the front, the latest, and a draw of the others."""
    if len(rows) <= MAX_LEARNT:
        return rows
    best = np.intersect1d(rows, front)[-MAX_LEARNT // 3 :]
    rest = np.setdiff1d(rows, best)
    latest = rest[-MAX_LEARNT // 3 :]
    others = np.setdiff1d(rest, latest)
    drawn = rng.choice(others, MAX_LEARNT - len(best) - len(latest), replace=False)
    return np.sort(np.concatenate([best, latest, drawn]))


def make(seed: int) -> BaseSampler:
    """The model-assisted sampler."""
    return PointSampler(propose, seed)
