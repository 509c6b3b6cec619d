"""Model-assisted: learns every objective and constraint, and proposes where the front should gain most.

A Gaussian process for each objective and each constraint, over numbers warped to look normal; the candidate
with the highest expected hypervolume improvement, times the probability that it is feasible (Gardner et al.,
2014, https://proceedings.mlr.press/v32/gardner14.html), of an evolving pool around the front. Values that
were known without an evaluation are learnt from rejected trials, too.
"""

import numpy as np
from optuna.samplers import BaseSampler
from scipy.special import ndtr

from mobinas.search.improvement import expected_hypervolume_improvement
from mobinas.search.seen import Floats, Ints, PointSampler, Seen
from mobinas.search.surrogate import Encoder, Surrogate
from mobinas.search.warp import Warp

MAX_LEARNT = 300
POOL = 120
ROUNDS = 4
_KEPT = 12
# Gains beyond the constraints are mostly large and seldom had: such points come after all likely ones.
LIKELY = 0.5
UNLIKELY = 1e-6
# The worst of all is hardly among those seen: the reference lies beyond these by a share of their range, the
# share that BoTorch takes, too. Without it, the first proposals on ZCU102 and A100 gain no more than draws.
BEYOND = 0.1


def propose(seen: Seen, rng: np.random.Generator) -> Ints:
    """The best unseen point of a pool that evolves for some rounds."""
    judge = Judge(seen, rng)
    points = seen.unseen(
        np.concatenate([children(seen, seen.points[seen.front()], rng), seen.random(POOL // 3, rng)])
    )
    if not len(points):
        return seen.random(1, rng)
    gains = judge(points)
    for _ in range(ROUNDS - 1):
        best = np.argsort(-gains, kind="stable")[:_KEPT]
        fresh = seen.unseen(np.concatenate([points[best], children(seen, points[best], rng)]))
        points, gains = fresh, judge(fresh)
    return points[[int(np.argmax(gains))]]


def children(seen: Seen, parents: Ints, rng: np.random.Generator) -> Ints:
    """[pool, choices] crossovers of two parents, and mutations of them in up to three choices."""
    mothers, fathers = parents[rng.integers(0, len(parents), (2, POOL))]
    mixed = np.where(rng.random(mothers.shape) < 0.5, mothers, fathers)
    crossed = np.where(rng.random((POOL, 1)) < 0.5, mixed, mothers)
    filled = seen.without_absent(seen.filled(crossed, rng))
    return seen.mutated(filled, rng.integers(1, 4, POOL), rng)


class Judge:
    """The gain expected of a point: expected hypervolume improvement times probability of feasibility."""

    def __init__(self, seen: Seen, rng: np.random.Generator) -> None:
        """Learns from what was seen."""
        self._encoder = Encoder(list(seen.options.values()))
        self._features = self._encoder(seen.points)
        feasible = seen.feasible()
        known = seen.losses[~np.isnan(seen.losses).any(axis=1)]
        # Empty as long as nothing is feasible.
        self._front = seen.losses[np.intersect1d(seen.front(), np.flatnonzero(feasible))]
        worst, best = known.max(axis=0, initial=-np.inf), known.min(axis=0, initial=np.inf)
        self._reference = worst + BEYOND * np.maximum(worst - best, 0.0)
        self._objectives = [self._model(seen, column, rng) for column in seen.losses.T] if len(known) else []
        self._constraints = [self._model(seen, column, rng) for column in _complete(seen).T]

    def _model(self, seen: Seen, column: Floats, rng: np.random.Generator) -> tuple[Surrogate, Warp]:
        rows = learnt(seen, np.flatnonzero(~np.isnan(column)), rng)
        warp = Warp.of(column[rows])
        return Surrogate.fit(self._features[rows], self._encoder.owners, warp(column[rows]), rng), warp

    def __call__(self, points: Ints) -> Floats:
        """[n] gains."""
        features = self._encoder(points)
        gains = np.ones(len(points))
        if len(self._front):
            predicted = [(*model.predict(features), warp) for model, warp in self._objectives]

            def losses(normal: Floats) -> Floats:
                told = [warp.back(m + s * normal[..., k]) for k, (m, s, warp) in enumerate(predicted)]
                return np.stack(told, axis=-1)

            gains = expected_hypervolume_improvement(losses, self._front, self._reference)
        chance = np.ones(len(points))
        for model, warp in self._constraints:
            mean, std = model.predict(features)
            chance *= ndtr((warp(np.zeros(1)) - mean) / std)
        return gains * chance * np.where(chance >= LIKELY, 1.0, UNLIKELY)


def _complete(seen: Seen) -> Floats:
    """[n, constraints that may break] violations; what an evaluation did not complain of is fulfilled."""
    told = ~np.asarray(np.isnan(seen.losses).any(axis=1))
    violations = np.where(np.isnan(seen.violations) & told[:, None], -1.0, seen.violations)
    may_break = np.asarray((np.nan_to_num(violations) > 0).any(axis=0))
    result: Floats = violations[:, may_break]
    return result


def learnt(seen: Seen, rows: Ints, rng: np.random.Generator) -> Ints:
    """Up to MAX_LEARNT of the rows: the front, the latest, and a draw of the others."""
    if len(rows) <= MAX_LEARNT:
        return rows
    front = np.intersect1d(rows, seen.front())[-MAX_LEARNT // 3 :]
    rest = np.setdiff1d(rows, front)
    latest = rest[-MAX_LEARNT // 3 :]
    others = np.setdiff1d(rest, latest)
    drawn = rng.choice(others, MAX_LEARNT - len(front) - len(latest), replace=False)
    return np.sort(np.concatenate([front, latest, drawn]))


def make(seed: int) -> BaseSampler:
    """The model-assisted sampler."""
    return PointSampler(propose, seed)
