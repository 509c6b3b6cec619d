"""What a sum of kernels misses, learnt as a smooth function of how a network's time is composed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictors.models.kernel_times import smooth

Floats = npt.NDArray[np.float64]

_LENGTHS = (0.5, 1.0, 2.0)
_NOISE_RATIOS = (0.3, 1.0, 3.0, 10.0)
# A share of 0 to 1 weighs as much as this difference in log latency.
_SHARE_SCALE = 3.0
_OUTLIER = 0.25
# Part of the signal that can be learnt; a correction must pay by this much to be made at all.
_GAIN = 0.98


def composition(seconds: Floats) -> Floats:
    """Log of a network's time, and shares of it by groups of kernels.

    Args:
        seconds: [n, groups].

    Returns:
        [n, 1 + groups].
    """
    total = seconds.sum(axis=1)
    return np.column_stack([np.log(total), _SHARE_SCALE * seconds / total[:, None]])


@dataclass(frozen=True)
class Residual:
    """A Gaussian process with a squared exponential kernel of unit variance (Rasmussen & Williams, 2006).

    Attributes:
        inputs: [n, d] compositions that it was fitted on.
        weights: [n], (K + ratio I)^-1 r, equation 2.25.
        inverse: [n, n], (K + ratio I)^-1.
        length: Of the kernel.
        ratio: Noise variance over signal variance; infinite where nothing could be learnt.
    """

    inputs: Floats
    weights: Floats
    inverse: Floats
    length: float
    ratio: float

    @classmethod
    def fit(cls, inputs: Floats, residuals: Floats) -> "Residual":
        """Chooses length and noise by exact leave-one-out error (equations 5.10 to 5.12).

        Args:
            inputs: [n, d] from `composition`.
            residuals: [n] log(measured / summed), best from networks held out; large ones are clipped.

        Returns:
            The process, or one that is 0 everywhere if no choice beats 0.
        """
        r = np.clip(residuals, -_OUTLIER, _OUTLIER)
        n = len(r)
        best, least = cls(inputs, np.zeros(n), np.zeros((n, n)), 1.0, np.inf), _GAIN * float(r @ r)
        for length in _LENGTHS:
            kernel = smooth(inputs, inputs, length)
            for ratio in _NOISE_RATIOS:
                inverse = np.linalg.inv(kernel + ratio * np.eye(n)).astype(np.float64)
                weights = inverse @ r
                errors = weights / np.diag(inverse)
                if errors @ errors < least:
                    best, least = cls(inputs, weights, inverse, length, ratio), float(errors @ errors)
        return best

    def predict(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Mean of the log residual, and the spread of a new network's relative to the noise (at least 1)."""
        if not np.isfinite(self.ratio):
            return np.zeros(len(inputs)), np.ones(len(inputs))
        k = smooth(inputs, self.inputs, self.length)
        variance = np.maximum(0, 1 - ((k @ self.inverse) * k).sum(axis=1))
        return k @ self.weights, np.sqrt(1 + variance / self.ratio)
