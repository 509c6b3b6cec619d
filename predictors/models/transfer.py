"""From a few latencies of another device to a predictor for it.

Each hypothesis about the device is a Gaussian process (Rasmussen & Williams, 2006) whose mean and covariance
over networks are those of a few hundred simulated devices of one schedule (serial, parallel branches, merged
convolutions, nothing pruned; or this machine with other costs per kind of kernel), plus a residual over the
networks' wiring and noise. The evidence of the measured pairs (equation 2.30) weighs the hypotheses against
each other; the prediction is their mixture. No other device's measurements are in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mobinas.errors import PredictorError
from predictors.models.kernel_times import smooth
from predictors.structure import DEVICES, SCHEDULES, Structure

Floats = npt.NDArray[np.float64]

MIN_PAIRS = 5
# Probabilities of the schedules before anything is measured.
_PRIOR = {"serial": 0.35, "parallel": 0.13, "merged": 0.13, "unpruned": 0.04, "source": 0.35}
# Standard deviations relative to a network's latency: of the residual over wirings, and of the noise.
_RESIDUALS = (0.01, 0.02, 0.04, 0.08)
_NOISES = (0.01, 0.02, 0.05, 0.1)
# Of the overall scale, which the mean latency of the pairs fixes but roughly.
_SCALE = 0.2
# What every run costs, relative to the mean latency of kernels: median and spread of its logarithm.
_START = (0.6, 0.7)
# Spread of the logarithm of what a kind of kernel costs elsewhere, relative to this machine.
_SOURCE_SPREAD = 0.8
_LINEAR_SHARE = 0.4
_LENGTH = 0.7
_NEGLIGIBLE = 1e-3
_LEAST = 0.01


@dataclass(frozen=True, slots=True)
class Views:
    """What is known of n networks before the device is asked.

    Attributes:
        source_s: [n] seconds on this machine, as its predictor says.
        terms_s: [n, k] the shares of it by kind of kernel, up to a factor for each network.
        structure: From `predictors.structure.structure_of`.
    """

    source_s: Floats
    terms_s: Floats
    structure: Structure

    def __post_init__(self) -> None:
        n = len(self.source_s)
        if not (
            len(self.terms_s) == len(self.structure.simulated) == len(self.structure.neighbourhoods) == n
        ):
            raise PredictorError(f"features of different numbers of networks; all must have {n}")
        if n and not (np.isfinite(self.terms_s).all() and (self.terms_s.sum(axis=1) > 0).all()):
            raise PredictorError("the source predictor's terms must be finite, and above 0 in sum")

    def __getitem__(self, places: npt.NDArray[Any]) -> "Views":
        """Those of some networks."""
        return Views(self.source_s[places], self.terms_s[places], self.structure[places])

    def simulated(self, schedule: str) -> Floats:
        """[n, devices] latencies in any unit."""
        if schedule != "source":
            return self.structure.simulated[:, SCHEDULES.index(schedule)]
        k = self.terms_s.shape[1]
        factors = np.exp(_SOURCE_SPREAD * np.random.default_rng(2).standard_normal((k, DEVICES)))
        # This machine runs what it is given; most others leave out what sees zeros alone.
        scaled = self.terms_s * (self.structure.live * self.source_s / self.terms_s.sum(axis=1))[:, None]
        result: Floats = scaled @ factors
        return result


@dataclass(frozen=True)
class _Family:
    """Mean and covariance over networks that simulated devices of one schedule have.

    Attributes:
        schedule: Its name.
        unit: [devices] what latency counts as 1, the mean over the measured networks.
        start: [devices] what every run costs.
    """

    schedule: str
    unit: Floats
    start: Floats

    @classmethod
    def of(cls, schedule: str, views: Views) -> "_Family":
        start = _START[0] * np.exp(_START[1] * np.random.default_rng(1).standard_normal(DEVICES))
        return cls(schedule, views.simulated(schedule).mean(axis=0), start)

    def moments(self, views: Views) -> tuple[Floats, Floats]:
        """Mean [n] and a root of the covariance [n, devices + 1], relative to the measured networks' mean."""
        relative = (views.simulated(self.schedule) / self.unit + self.start) / (1 + self.start)
        mean = relative.mean(axis=1)
        root = (relative - mean[:, None]) / np.sqrt(DEVICES)
        return mean, np.column_stack([root, _SCALE * mean])


@dataclass(frozen=True)
class _Wiring:
    """Covariance of the residual: linear and squared exponential in counts of neighbourhoods."""

    centre: Floats
    scale: float
    counts: Floats

    @classmethod
    def of(cls, counts: Floats) -> "_Wiring":
        centred = counts - counts.mean(axis=0)
        scale = float(np.sqrt((centred**2).sum(axis=1).mean())) or 1.0
        return cls(counts.mean(axis=0), scale, centred / scale)

    def place(self, counts: Floats) -> Floats:
        return (counts - self.centre) / self.scale

    @staticmethod
    def covariance(a: Floats, b: Floats) -> Floats:
        result: Floats = _LINEAR_SHARE * (a @ b.T) + (1 - _LINEAR_SHARE) * smooth(a, b, _LENGTH)
        return result


@dataclass(frozen=True)
class _Hypothesis:
    """One Gaussian process, conditioned.

    Attributes:
        family: Of simulated devices.
        residual: Standard deviation relative to the latency.
        noise: The same.
        log_evidence: Of the pairs, with the prior.
        inverse: [n, n] of the pairs' covariance.
        weights: [n] the inverse times the deviations from the mean.
    """

    family: _Family
    residual: float
    noise: float
    log_evidence: float
    inverse: Floats
    weights: Floats


@dataclass(frozen=True)
class Transfer:
    """A predictor for a device of which a few latencies are known; made by `fit`.

    Attributes:
        views: Of the measured networks.
        latencies_s: [n] seconds on the device.
    """

    views: Views
    latencies_s: Floats

    def __post_init__(self) -> None:
        n = len(self.latencies_s)
        if n != len(self.views.source_s):
            raise PredictorError(f"{len(self.views.source_s)} networks but {n} latencies; give one for each")
        if n < MIN_PAIRS:
            raise PredictorError(f"{n} latencies are too few to adapt to; measure at least {MIN_PAIRS}")
        if not (np.isfinite(self.latencies_s).all() and (self.latencies_s > 0).all()):
            raise PredictorError("latencies must be finite and above 0 seconds; leave failed networks out")
        if self.latencies_s.max() < 1.001 * self.latencies_s.min():
            raise PredictorError(
                f"all {n} latencies equal {self.latencies_s[0]:.3g} s; measure networks of different size"
            )

    @classmethod
    def fit(cls, views: Views, latencies_s: npt.ArrayLike) -> "Transfer":
        """Adapts to a device.

        Args:
            views: Of n networks, 5 at least; 10 to 100 are meant.
            latencies_s: [n] measured seconds.

        Raises:
            PredictorError: Too few pairs, latencies that are equal, not finite or not positive.
        """
        return cls(views, np.asarray(latencies_s, dtype=np.float64))

    def predict(self, views: Views) -> tuple[Floats, Floats]:
        """Latencies of networks on the device.

        Args:
            views: Of m networks.

        Returns:
            Mean and standard deviation of a measurement in seconds, [m] each; mean +- 1.645 standard
            deviations is the nominal 90 % interval. It held 91 to 93 % of new latencies on the devices of
            NAS-Bench-201; on a MnasNet-like space on five accelerators, in view of which the noise levels
            were widened, 81 % from 10 pairs and 92 % from 100.
        """
        wiring = self._wiring
        place = wiring.place(views.structure.neighbourhoods)
        across = wiring.covariance(place, wiring.counts)
        prior = _LINEAR_SHARE * (place**2).sum(axis=1) + 1 - _LINEAR_SHARE
        first, second = np.zeros(len(place)), np.zeros(len(place))
        moments: dict[str, tuple[Floats, Floats, Floats, Floats]] = {}
        for h, share in self._posterior:
            schedule = h.family.schedule
            if schedule not in moments:
                moments[schedule] = (*h.family.moments(views), *h.family.moments(self.views))
            mean, root, old_mean, old_root = moments[schedule]
            cross = root @ old_root.T + h.residual**2 * across * np.outer(mean, old_mean)
            expected = mean + cross @ h.weights
            variance = (root**2).sum(axis=1) + (h.residual**2 * prior + h.noise**2) * mean**2
            variance -= ((cross @ h.inverse) * cross).sum(axis=1)
            expected = np.maximum(expected, _LEAST * mean)
            first += share * expected
            second += share * (np.maximum(variance, (h.noise * mean) ** 2) + expected**2)
        unit_s = self.latencies_s.mean()
        return unit_s * first, unit_s * np.sqrt(second - first**2)

    @property
    def schedules(self) -> dict[str, float]:
        """How probable each schedule is, given the pairs."""
        shares = dict.fromkeys(_PRIOR, 0.0)
        for h, share in self._posterior:
            shares[h.family.schedule] += share
        return shares

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Plain arrays that `from_arrays` makes an equal predictor of."""
        return {
            "latencies_s": self.latencies_s,
            "source_s": self.views.source_s,
            "terms_s": self.views.terms_s,
            "live": self.views.structure.live,
            "simulated": self.views.structure.simulated,
            "neighbourhoods": self.views.structure.neighbourhoods,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "Transfer":
        """Reads what `to_arrays` gave.

        Raises:
            PredictorError: Arrays are missing, or of another version.
        """
        try:
            structure = Structure(*(arrays[field.name] for field in fields(Structure)))
            if structure.simulated.shape[1:] != (len(SCHEDULES), DEVICES):
                raise PredictorError("the adapted predictor is of another version; adapt it again")
            return cls(Views(arrays["source_s"], arrays["terms_s"], structure), arrays["latencies_s"])
        except KeyError as error:
            raise PredictorError(f"the adapted predictor lacks {error}; adapt it again") from error

    @cached_property
    def _wiring(self) -> _Wiring:
        return _Wiring.of(self.views.structure.neighbourhoods)

    @cached_property
    def _posterior(self) -> list[tuple[_Hypothesis, float]]:
        """Hypotheses that count, with their probabilities."""
        hypotheses = [h for schedule in _PRIOR for h in self._hypotheses(_Family.of(schedule, self.views))]
        evidence = np.array([h.log_evidence for h in hypotheses])
        shares = np.exp(evidence - evidence.max())
        shares[shares < _NEGLIGIBLE * shares.sum()] = 0
        shares /= shares.sum()
        return [(h, float(share)) for h, share in zip(hypotheses, shares, strict=True) if share]

    def _hypotheses(self, family: _Family) -> list[_Hypothesis]:
        mean, root = family.moments(self.views)
        across = self._wiring.covariance(self._wiring.counts, self._wiring.counts) * np.outer(mean, mean)
        deviations = self.latencies_s / self.latencies_s.mean() - mean
        found: list[_Hypothesis] = []
        for residual in _RESIDUALS:
            shared = root @ root.T + residual**2 * across
            for noise in _NOISES:
                covariance = shared + np.diag((noise * mean) ** 2)
                inverse: Floats = np.linalg.inv(covariance).astype(np.float64)
                weights = inverse @ deviations
                half_log = 0.5 * np.linalg.slogdet(covariance).logabsdet
                evidence = float(np.log(_PRIOR[family.schedule]) - 0.5 * deviations @ weights - half_log)
                found.append(_Hypothesis(family, residual, noise, evidence, inverse, weights))
        return found


def most_informative(views: Views, n: int) -> npt.NDArray[np.int64]:
    """Which networks to measure on a new device, the most telling first.

    Each choice is the one that leaves the least variance over all networks, given devices of all schedules.

    Args:
        views: Of the networks that there are; time and memory grow with the square of their number, so
            give a sample of a large space.
        n: How many to choose.

    Returns:
        [n] positions.

    Raises:
        PredictorError: There are fewer.
    """
    if n > len(views.source_s):
        raise PredictorError(f"cannot choose {n} of {len(views.source_s)} networks")
    covariance = _covariance(views)
    chosen: list[int] = []
    for _ in range(n):
        variance = covariance.diagonal() + _NOISES[2] ** 2
        gain = (covariance**2).sum(axis=1) / variance
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        row = covariance[chosen[-1]]
        covariance = covariance - np.outer(row, row) / variance[chosen[-1]]
    return np.array(chosen, dtype=np.int64)


def _covariance(views: Views) -> Floats:
    """Of networks' latencies over devices of all schedules, [n, n]."""
    wiring = _Wiring.of(views.structure.neighbourhoods)
    result = _RESIDUALS[1] ** 2 * wiring.covariance(wiring.counts, wiring.counts)
    moments = {schedule: _Family.of(schedule, views).moments(views) for schedule in _PRIOR}
    centre = sum(_PRIOR[schedule] * mean for schedule, (mean, _) in moments.items())
    for schedule, (mean, root) in moments.items():
        both = np.column_stack([root, mean - centre])
        result += _PRIOR[schedule] * (both @ both.T)
    return result
