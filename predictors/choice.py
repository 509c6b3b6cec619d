"""Which networks to measure next: those whose latency is least certain, given what is known by then."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from predictors.kernels import Kernel
from predictors.models.kernel_sum import KernelSum, network_covariance

Floats = npt.NDArray[np.float64]


def least_certain(
    fitted: KernelSum, measured: Sequence[Sequence[Kernel]], candidates: Sequence[Sequence[Kernel]], n: int
) -> list[int]:
    """Chooses networks greedily, each after all chosen before count as measured.

    What is still open of a network's latency is its variance under the corrections of `KernelSum`, given the
    measured ones; where kernels were never timed themselves, their own uncertainty adds to it (Krause, Singh
    and Guestrin, 2008, https://jmlr.org/papers/v9/krause08a.html, section 4.1, entropy criterion).

    Args:
        fitted: To the measured networks.
        measured: Their kernels.
        candidates: Kernels of networks that might be measured.
        n: How many to choose.

    Returns:
        Places in `candidates`, the most telling first.
    """
    every = [*measured, *candidates]
    covariance = network_covariance(fitted, every)
    known = len(measured)
    variance = np.diag(covariance).copy()
    # Rows of the Cholesky factor of the networks that count as measured, as in a pivoted decomposition.
    rows: list[Floats] = []
    chosen: list[int] = []
    for step in range(known + min(n, len(candidates))):
        if step < known:
            pivot = step
        else:
            open_variance = variance[known:].copy()
            open_variance[chosen] = -1.0
            chosen.append(int(np.argmax(open_variance)))
            pivot = known + chosen[-1]
        row = covariance[pivot] - sum((r * r[pivot] for r in rows), np.zeros(len(every)))
        row /= np.sqrt(max(variance[pivot], 0.0) + fitted.noise**2)
        rows.append(row)
        variance -= row**2
    return chosen
