"""A power transform that makes skewed numbers look normal, and back."""

from dataclasses import dataclass

import numpy as np
from scipy.special import boxcox1p, inv_boxcox1p

from mobinas.search.seen import Floats

# Within [0, 2] the transform maps all numbers onto all numbers, so a normal number always has a way back.
EXPONENTS = tuple(np.linspace(0.0, 2.0, 9).tolist())


@dataclass(frozen=True, slots=True)
class Warp:
    """Standardises, then transforms (Yeo and Johnson, 2000, https://doi.org/10.1093/biomet/87.4.954).

    A surrogate of warped numbers doubts rightly where they are skewed, as latencies are (Cowen-Rivers et al.,
    2022, https://doi.org/10.1613/jair.1.13643).

    Attributes:
        mean: Of the numbers.
        std: Of the numbers, positive.
        exponent: 1 changes nothing; below 1 draws large numbers in, above 1 small ones.
    """

    mean: float
    std: float
    exponent: float

    @classmethod
    def of(cls, numbers: Floats) -> "Warp":
        """The exponent of `EXPONENTS` under which the numbers are most likely normal."""
        mean, std = float(numbers.mean()), float(numbers.std())
        # The mean of equal numbers may be rounded, so that they seem to differ from it.
        if not (std > 0 and np.ptp(numbers) > 0):
            return cls(mean, 1.0, 1.0)
        scaled = (numbers - mean) / std
        slopes = float((np.sign(scaled) * np.log1p(np.abs(scaled))).sum())
        likelihoods = [
            (exponent - 1) * slopes - 0.5 * len(scaled) * np.log(_warped(scaled, exponent).var())
            for exponent in EXPONENTS
        ]
        return cls(mean, std, EXPONENTS[int(np.argmax(likelihoods))])

    def __call__(self, numbers: Floats) -> Floats:
        """The numbers, warped; their order stays."""
        return _warped((numbers - self.mean) / self.std, self.exponent)

    def back(self, warped: Floats) -> Floats:
        """The numbers that become these."""
        above, below = np.maximum(warped, 0.0), np.maximum(-warped, 0.0)
        scaled = inv_boxcox1p(above, self.exponent) - inv_boxcox1p(below, 2.0 - self.exponent)
        result: Floats = self.mean + self.std * scaled
        return result


def _warped(scaled: Floats, exponent: float) -> Floats:
    above, below = np.maximum(scaled, 0.0), np.maximum(-scaled, 0.0)
    result: Floats = boxcox1p(above, exponent) - boxcox1p(below, 2.0 - exponent)
    return result
