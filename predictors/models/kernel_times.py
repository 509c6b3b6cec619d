"""What a kernel takes: a rough physical expectation, corrected by a Gaussian process on its sizes.

Every kind of kernel has a process of its own over the logarithms of sizes, with an offset, a linear part that
carries on beyond what was seen, and a smooth local part (Rasmussen & Williams, 2006, equations 2.25, 2.26).
How smooth and how large that is, and how far looks at one kernel scatter, differ by kind: convolutions repeat
themselves within 8 %, reorderings within 40 %. The evidence chooses (equation 2.30).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from predictors.kernels import Kernel, log_features

Floats = npt.NDArray[np.float64]

# Seconds for an idle core of a current server; the offset of each kind corrects them.
_START_S, _WORK_S, _BYTE_S = 2e-6, 5e-11, 5e-11
_OFFSET, _SLOPE = 1.0, 0.15
# Of log seconds: what the sizes do not tell.
_FLOOR = 0.035
# The local part's length and deviation, and the scatter of one look at a kernel.
_CHOICES = tuple(itertools.product((1.5, 3.0), (0.3, 0.6), (0.08, 0.15, 0.25, 0.4)))
# Deviations of the slope of log seconds over the network's traffic.
_NO_SLOPE, _SLOPES = (0.0,), (0.0, 0.1)
_MOST_TO_CHOOSE = 400
# A process costs the cube of its kernels; beyond this many, those seen most often teach it.
_MOST = 1500


@dataclass(frozen=True)
class KernelTimes:
    """Times of kernels, seen or not.

    Attributes:
        kernels: Distinct ones that were seen.
        log_s: [n] log of their times in seconds.
        looks: [n] how often each was seen.
        scatter: [n] standard deviation of log seconds over the looks; NaN where a kernel was seen once.
        traffic: [n] mean of `traffic_of` the networks it was seen in, above the mean.
        known_traffic: The least, the mean and the most of the networks; times are those at the mean.
        by_traffic: Whether times grow with the network's traffic.
    """

    kernels: tuple[Kernel, ...] = ()
    log_s: Floats = field(default_factory=lambda: np.zeros(0))
    looks: Floats = field(default_factory=lambda: np.zeros(0))
    scatter: Floats = field(default_factory=lambda: np.zeros(0))
    traffic: Floats = field(default_factory=lambda: np.zeros(0))
    known_traffic: tuple[float, float, float] = (0.0, 0.0, 0.0)
    by_traffic: bool = False

    @classmethod
    def fit(
        cls, networks: Sequence[Sequence[tuple[Kernel, float]]], *, by_traffic: bool = False
    ) -> "KernelTimes":
        """Pools what was seen in networks.

        Args:
            networks: For each, its kernels with their times in seconds.
            by_traffic: Whether times may grow with the network's traffic.
        """
        traffic = [traffic_of([kernel for kernel, _ in network]) for network in networks]
        known = (min(traffic), float(np.mean(traffic)), max(traffic)) if traffic else (0.0, 0.0, 0.0)
        seen: dict[Kernel, list[tuple[float, float]]] = {}
        for network, own in zip(networks, traffic, strict=True):
            for kernel, seconds in network:
                # Times are means of whole microseconds; a kernel below one still takes some time.
                seen.setdefault(kernel, []).append((max(seconds, 1e-7), own - known[1]))
        kernels = tuple(seen)
        looks = [np.array(seen[kernel]) for kernel in kernels]
        return cls(
            kernels,
            np.array([np.log(np.median(look[:, 0])) for look in looks]),
            np.array([float(len(look)) for look in looks]),
            np.array([_scatter(np.log(look[:, 0])) for look in looks]),
            np.array([look[:, 1].mean() for look in looks]),
            known,
            by_traffic,
        )

    def seen_s(self, kernels: Sequence[Kernel]) -> tuple[Floats, Floats]:
        """Times as they were seen, without a model.

        Returns:
            [n] seconds, NaN for kernels that were never seen, and [n] their `scatter`.
        """
        places = [self._places.get(kernel, -1) for kernel in kernels]
        log_s, scatter = (np.append(values, np.nan)[places] for values in (self.log_s, self.scatter))
        return np.exp(log_s), scatter

    def predict(self, kernels: Sequence[Kernel]) -> tuple[Floats, Floats]:
        """Times in a network of typical traffic, and how sure they are.

        Args:
            kernels: Any, also of kinds that were never seen.

        Returns:
            [n] seconds, and [n] standard deviations of their logarithms.
        """
        log_s, std = np.empty(len(kernels)), np.empty(len(kernels))
        kinds = np.array([kernel.kind for kernel in kernels], dtype=object)
        features, expected = log_features(list(kernels)), _expected_log_s(kernels)
        for kind in set(kinds):
            places = np.flatnonzero(kinds == kind)
            process = self._processes.get(kind)
            if process is None:
                log_s[places], std[places] = expected[places], _OFFSET
            else:
                mean, deviation = process.predict(features[places])
                log_s[places], std[places] = expected[places] + mean, deviation
        return np.exp(log_s), std

    def above_typical(self, traffic: Floats) -> Floats:
        """How far networks' traffic lies above the mean; beyond what was seen, the nearest that was."""
        least, typical, most = self.known_traffic
        result: Floats = np.clip(traffic, least, most) - typical
        return result

    def slopes(self, kernels: Sequence[Kernel]) -> Floats:
        """How log seconds grow with a network's traffic: [n]."""
        known = self._processes
        return np.array([known[k.kind].slope if k.kind in known else 0.0 for k in kernels])

    def growth(self, networks: Sequence[Sequence[Kernel]], kernels: Sequence[Kernel]) -> Floats:
        """Factors of kernels' times by the traffic of the networks that they stand in: [n, kernels]."""
        above = self.above_typical(np.array([traffic_of(network) for network in networks]))
        result: Floats = np.exp(np.outer(above, self.slopes(kernels)))
        return result

    def alone_s(self, networks: Sequence[Sequence[Kernel]]) -> Floats:
        """Plain sums over the kernels of networks: [n] seconds."""
        kernels = tuple(dict.fromkeys(kernel for network in networks for kernel in network))
        place = {kernel: i for i, kernel in enumerate(kernels)}
        times = self.predict(kernels)[0] * self.growth(networks, kernels)
        return np.array(
            [row[[place[k] for k in network]].sum() for row, network in zip(times, networks, strict=True)]
        )

    @cached_property
    def _places(self) -> dict[Kernel, int]:
        return {kernel: place for place, kernel in enumerate(self.kernels)}

    @cached_property
    def _processes(self) -> dict[str, "_Process"]:
        by_kind: dict[str, list[int]] = {}
        for place, kernel in enumerate(self.kernels):
            by_kind.setdefault(kernel.kind, []).append(place)
        features, expected = log_features(list(self.kernels)), _expected_log_s(self.kernels)
        processes = {}
        for kind, members in by_kind.items():
            places = np.array(members)
            if len(places) > _MOST:
                places = np.sort(places[np.argsort(-self.looks[places], kind="stable")[:_MOST]])
            processes[kind] = _Process.fit(
                features[places],
                self.traffic[places],
                self.log_s[places] - expected[places],
                self.looks[places],
                _SLOPES if self.by_traffic else _NO_SLOPE,
            )
        return processes


def traffic_of(kernels: Sequence[Kernel]) -> float:
    """Log of the bytes that a network's kernels write.

    The more they are, the farther from the core lies what a kernel reads next: one classifier took 1.2 times
    as long behind images of 224 pixels as behind those of 96.
    """
    return float(np.log(sum(kernel.written_bytes for kernel in kernels) + 1.0))


def _scatter(log_s: Floats) -> float:
    return float(np.std(log_s, ddof=1)) if len(log_s) > 1 else np.nan


_Choice = tuple[tuple[float, float, float], float]


@dataclass(frozen=True)
class _Process:
    inputs: Floats
    centre: Floats
    length: float
    local: float
    slope: float
    factor: Floats
    weights: Floats

    @classmethod
    def fit(
        cls, inputs: Floats, traffic: Floats, values: Floats, looks: Floats, slopes: tuple[float, ...]
    ) -> "_Process":
        from scipy.linalg import cho_solve

        centre = inputs.mean(axis=0)
        centred = inputs - centre
        few = np.unique(np.linspace(0, len(inputs) - 1, min(len(inputs), _MOST_TO_CHOOSE)).astype(np.int64))

        def factor_of(rows: slice | npt.NDArray[np.int64], choice: _Choice) -> Floats:
            (length, local, scatter), steep = choice
            noise = np.diag(_FLOOR**2 + scatter**2 / looks[rows])
            by_traffic = steep**2 * np.outer(traffic[rows], traffic[rows])
            return _factor(_covariance(centred[rows], centred[rows], length, local) + by_traffic + noise)

        choices = itertools.product(_CHOICES, slopes)
        best = max(choices, key=lambda choice: _evidence(factor_of(few, choice), values[few]))
        factor = factor_of(slice(None), best)
        weights = cho_solve((factor, True), values)
        (length, local, _), steep = best
        slope = float(steep**2 * traffic @ weights)
        return cls(centred, centre, length, local, slope, factor, weights)

    def predict(self, inputs: Floats) -> tuple[Floats, Floats]:
        from scipy.linalg import solve_triangular

        centred = inputs - self.centre
        across = _covariance(centred, self.inputs, self.length, self.local)
        explained = (solve_triangular(self.factor, across.T, lower=True) ** 2).sum(axis=0)
        alone = _OFFSET**2 + _SLOPE**2 * (centred**2).sum(axis=1) + self.local**2
        mean: Floats = across @ self.weights
        return mean, np.sqrt(np.maximum(alone - explained, _FLOOR**2))


def _factor(covariance: Floats) -> Floats:
    from scipy.linalg import cholesky

    result: Floats = cholesky(covariance, lower=True)
    return result


def _evidence(factor: Floats, values: Floats) -> float:
    """Log evidence up to a constant."""
    from scipy.linalg import solve_triangular

    whitened = solve_triangular(factor, values, lower=True)
    return float(-0.5 * whitened @ whitened - np.log(np.diag(factor)).sum())


def _covariance(a: Floats, b: Floats, length: float, local: float) -> Floats:
    return _OFFSET**2 + _SLOPE**2 * (a @ b.T) + local**2 * smooth(a, b, length)


def smooth(a: Floats, b: Floats, length: float) -> Floats:
    """Squared exponential covariance of unit variance: [n, m] for [n, d] and [m, d]."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    result: Floats = np.exp(-np.maximum(squares, 0) / (2 * length**2))
    return result


def _expected_log_s(kernels: Sequence[Kernel]) -> Floats:
    moved = np.array([float(k.read_bytes + k.weight_bytes + k.written_bytes) for k in kernels])
    work = np.array([float(k.work) for k in kernels])
    result: Floats = np.log(_START_S + _WORK_S * work + _BYTE_S * moved)
    return result
