"""How a predictor does on networks that it was not fitted on."""

import math
import statistics
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mobinas.targets.measurement import Measurement
from predictors.models.baselines import BASELINES, plain_features
from predictors.models.fit import Fit, Network, grows_with_traffic
from predictors.models.measured import weights_of
from predictors.models.report import Z_90, PredictorReport, Scores, hit_rate, measuring_s

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

_FOLDS = 8
# Networks of most work that are held out together, and from how many networks on.
_LARGEST, _ENOUGH = 0.15, 40


class HeldOut:
    """Cross-validation of a fit.

    Attributes:
        scale: By which deviations are multiplied so that nominal intervals hold what they say.
        by_traffic: Whether times of kernels grow with their network's traffic.
    """

    def __init__(self, networks: list[Network], measurements: Sequence[Measurement], seed: int) -> None:
        n = len(networks)
        self.measurements = measurements
        self.networks = networks
        self.latencies_s = np.array([m.median_s for m in measurements])
        self.weights = weights_of(measurements)
        self.by_traffic = grows_with_traffic(networks, self.latencies_s, self.weights)
        self.features = plain_features([[kernel for kernel, _ in network] for network in networks])
        folds = np.array_split(np.random.default_rng(seed).permutation(n), min(_FOLDS, n))
        self.predicted, self.deviation = np.empty(n), np.empty(n)
        self.baselines = {name: np.empty(n) for name in BASELINES}
        self.look_up = np.empty(n)
        for test in folds:
            train = np.setdiff1d(np.arange(n), test)
            self.predicted[test], self.deviation[test], self.look_up[test] = self._held_out(train, test)
            for name, baseline in BASELINES.items():
                given = self.features[train], self.latencies_s[train], self.features[test]
                self.baselines[name][test] = baseline(*given)
        errors = np.abs(self.latencies_s / self.predicted - 1) / self.deviation
        self.scale = _calibrated(errors)
        self.scales = np.empty(n)
        for test in folds:
            self.scales[test] = _calibrated(np.delete(errors, test))

    def _held_out(self, train: Ints, test: Ints) -> tuple[Floats, Floats, Floats]:
        """Mean, relative deviation, and the plain sum over kernels."""
        given = [self.networks[i] for i in train], self.latencies_s[train], self.weights[train]
        fit = Fit.of(*given, by_traffic=self.by_traffic)
        plain = [[kernel for kernel, _ in self.networks[i]] for i in test]
        mean_s, deviation, _ = fit.predict(fit.sums_of(plain))
        return mean_s, deviation, fit.kernels.scale * fit.kernels.times.alone_s(plain)

    def _largest(self) -> Scores | None:
        n = len(self.networks)
        if n < _ENOUGH:
            return None
        order = np.argsort(self.features[:, 0], kind="stable")
        train, test = np.split(order, [n - math.ceil(_LARGEST * n)])
        return Scores.of(self._held_out(train, test)[0], self.latencies_s[test])

    def report(self) -> PredictorReport:
        """The figures."""
        halves = [m.block_values_s for m in self.measurements if len(m.blocks_s) > 1]
        even = np.array([statistics.median(values[::2]) for values in halves] or [1.0])
        odd = np.array([statistics.median(values[1::2]) for values in halves] or [np.inf])
        std_s = self.scales * self.deviation * self.predicted
        baselines = {"sum of kernels timed one by one": self.look_up, **self.baselines}
        return PredictorReport(
            n=len(self.networks),
            measuring_s=measuring_s(self.measurements),
            scores=Scores.of(self.predicted, self.latencies_s),
            largest=self._largest(),
            coverage_90=float(np.mean(np.abs(self.latencies_s - self.predicted) <= Z_90 * std_s)),
            repeat_hit_rate_5=hit_rate(odd, even, 0.05),
            repeat_hit_rate_10=hit_rate(odd, even, 0.1),
            baselines={name: Scores.of(p, self.latencies_s) for name, p in baselines.items()},
            measured_s=tuple(self.latencies_s.tolist()),
            predicted_s=tuple(self.predicted.tolist()),
            std_s=tuple(std_s.tolist()),
        )


def _calibrated(errors: Floats) -> float:
    """Standard deviation whose 90 % interval holds 90 % of new errors (split conformal quantile)."""
    share = min(1.0, 0.9 * (1 + 1 / len(errors)))
    return max(float(np.quantile(errors, share)) / Z_90, 1e-6)
