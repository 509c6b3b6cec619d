"""A learned controller: REINFORCE over independent choices, without weight sharing.

The policy is a categorical distribution for each choice (Williams, 1992, https://doi.org/10.1007/BF00992696),
the reward MnasNet's accuracy * latency^-0.07 (https://arxiv.org/abs/1807.11626). The policy is replayed from
the trials, first ones included, so it is the same after a resume.
"""

import numpy as np
from optuna.samplers import BaseSampler

from mobinas.metrics.objective import judging_metric
from mobinas.metrics.score import score
from mobinas.search.seen import ABSENT, Floats, Ints, PointSampler, Seen

LEARNING_RATE = 0.3
BASELINE_DECAY = 0.9
_TRIES = 20


def propose(seen: Seen, rng: np.random.Generator) -> Ints:
    """A draw from the policy, where possible an unseen one."""
    cumulative = policy(seen, rewards(seen)).cumsum(axis=1)
    thresholds = rng.random((_TRIES, len(seen.sizes), 1))
    drawn = (thresholds > cumulative[None]).sum(axis=2)
    points = seen.without_absent(np.minimum(drawn, seen.sizes - 1).astype(np.int64))
    fresh = seen.unseen(points)
    return fresh[:1] if len(fresh) else points[:1]


def rewards(seen: Seen) -> Floats:
    """[n] (balanced) accuracy * latency^-0.07, else minus the mean scaled loss; the lowest where infeasible.

    Standardised over the trials.
    """
    feasible = seen.feasible()
    result = np.zeros(len(seen))
    if not feasible.any():
        return result
    losses = seen.losses[feasible]
    metric = judging_metric(seen.metrics)
    if metric and set(seen.metrics) == {metric, "latency_s"}:
        accuracy = -losses[:, seen.metrics.index(metric)]
        latency_s = losses[:, seen.metrics.index("latency_s")]
        has_score = bool(((accuracy >= 0) & (accuracy <= 1) & (latency_s > 0)).all())
    else:
        has_score = False
    if has_score:
        known = np.array([score(*pair) for pair in zip(accuracy, latency_s, strict=True)])
    else:
        low, span = losses.min(axis=0), np.ptp(losses, axis=0)
        known = -((losses - low) / np.where(span > 0, span, 1.0)).mean(axis=1)
    result[feasible], result[~feasible] = known, known.min()
    spread = result.std()
    scaled: Floats = (result - result.mean()) / (spread if spread > 0 else 1.0)
    return scaled


def policy(seen: Seen, reward: Floats) -> Floats:
    """[choices, options] probabilities after a step of gradient ascent for each trial in turn."""
    sizes = seen.sizes
    offered = np.arange(sizes.max()) < sizes[:, None]
    logits = np.where(offered, 0.0, -np.inf)
    baseline = reward[0]
    for point, gain in zip(seen.points, reward, strict=True):
        exists = np.flatnonzero(point != ABSENT)
        step = LEARNING_RATE * (gain - baseline)
        # The gradient of log softmax at the choice made: its indicator minus the probabilities.
        logits[exists] -= step * _softmax(logits[exists])
        logits[exists, point[exists]] += step
        baseline = BASELINE_DECAY * baseline + (1 - BASELINE_DECAY) * gain
    return _softmax(logits)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def make(seed: int) -> BaseSampler:
    """Draws from the policy that the trials taught."""
    return PointSampler(propose, seed)
