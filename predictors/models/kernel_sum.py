"""Latency as a sum over kernels: seconds per kernel, per unit of work and per byte, none of them negative."""

import numpy as np
import numpy.typing as npt

from predictors.kernels import FEATURE_NAMES

Floats = npt.NDArray[np.float64]

TERMS = (*FEATURE_NAMES[:-1], "start")

# Seconds for an idle core of a current server; only their ratios matter, as the whole is scaled to the data.
# They fill in where few networks say little about a term.
_PRIOR_S = {"count": 1.5e-6, "work": 1e-10, "size_bytes": 3e-11, "start": 3e-6}
_PRIOR_DENSE_S = 2.5e-11
_DENSE = ("conv_blocked.work", "pointwise_blocked.work")
# How strongly terms are drawn to the prior. On 200 cell networks, trained on 40 (100): 0.01 hit 78 % (82 %)
# within 10 %, 0.1 69 % (75 %), 1 56 % (61 %).
_RIDGE = 0.01
_REWEIGHTINGS = 3
_HUBER = 1.5


def prior() -> Floats:
    """What each of `TERMS` costs before anything is measured, in seconds."""
    return np.array(
        [_PRIOR_DENSE_S if term in _DENSE else _PRIOR_S[term.rsplit(".", 1)[-1]] for term in TERMS]
    )


def terms_of(features: Floats) -> Floats:
    """[n, features] to [n, terms]: without the comparison column, with a constant for the start of a run."""
    return np.column_stack([features[:, :-1], np.ones(len(features))])


def fit_kernel_sum(terms: Floats, latencies_s: Floats, weights: Floats) -> Floats:
    """Fits seconds per term by non-negative ridge regression on relative errors.

    Outlying measurements lose weight (Huber, 1964, by iterated reweighting): one disturbed network must not
    bend all coefficients.

    Args:
        terms: [n, len(TERMS)] from `terms_of`.
        latencies_s: [n], positive.
        weights: [n], in (0, 1], of the squared relative errors.

    Returns:
        [len(TERMS)], each at least 0.
    """
    from scipy.optimize import nnls

    expected = prior()
    expected *= np.median(latencies_s / (terms @ expected))
    used = terms.any(axis=0)
    relative = (terms / latencies_s[:, None] * expected)[:, used]
    ridge = np.sqrt(_RIDGE) * np.eye(relative.shape[1])
    current = weights
    for _ in range(1 + _REWEIGHTINGS):
        root = np.sqrt(current)
        matrix = np.vstack([relative * root[:, None], ridge])
        scaled, _ = nnls(matrix, np.concatenate([root, ridge.sum(axis=1)]))
        errors = np.abs(relative @ scaled - 1)
        limit = _HUBER * 1.4826 * np.median(errors) + 1e-9
        current = weights * np.minimum(1, limit / np.maximum(errors, 1e-12))
    result = expected
    result[used] *= scaled
    return result
