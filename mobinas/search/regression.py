"""What a least-squares fit leaves open."""

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def lower_ends(x: Array, y: Array, at: Array, confidence: float) -> Array:
    """Lower ends of the prediction intervals of a least-squares fit.

    mean - t * s * sqrt(1 + 1/n + d' (X'X)^-1 d), d from the centre of x, with Student's t of n - rank - 1
    degrees of freedom (Draper and Smith, Applied Regression Analysis, 3rd edition, section 5.2).

    Args:
        x: [n, variables], n at least 2 more than there are variables.
        y: [n].
        at: [m, variables], where to predict.
        confidence: Of the two-sided interval.

    Returns:
        [m].
    """
    from scipy.stats import t

    n, centre, scale = len(x), x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    inside, far = (x - centre) / scale, (at - centre) / scale
    inverse = np.linalg.pinv(inside.T @ inside)
    slopes = inverse @ inside.T @ (y - y.mean())
    residuals = y - y.mean() - inside @ slopes
    free = n - int(np.linalg.matrix_rank(inside)) - 1
    s = math.sqrt(float((residuals**2).sum()) / free)
    spread = np.sqrt(1 + 1 / n + np.einsum("mi,ij,mj->m", far, inverse, far))
    ends: Array = y.mean() + far @ slopes - float(t.ppf((1 + confidence) / 2, free)) * s * spread
    return ends
