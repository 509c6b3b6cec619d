"""Latency as a sum over kernels, corrected where networks as a whole tell otherwise.

Kernels timed one by one do not add up to a network: the profiler itself takes time, and caches are warmer or
colder than alone. So every kernel's time gets a relative correction, drawn to 0, which the measured networks
decide. With networks i of n_ik kernels k of tau_k seconds and a base b_i = sum_k n_ik tau_k, the model is

    y_i / b_i = 1 + sum_k g_ik c_k + noise,   g_ik = n_ik tau_k / b_i,   c ~ N(0, K),

where K makes corrections of one kernel, of similar kernels, of one kind and of all kernels alike, and one
more that is the same time for every kernel (c_k proportional to 1 / tau_k): what the profiler adds to each,
or the runtime between them. It is Bayesian linear regression in its dual form (Rasmussen & Williams, 2006,
section 2.1.2), so a prediction stays a sum over kernels: each has one time.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from predictors.kernels import Kernel, log_features
from predictors.models.kernel_times import KernelTimes, smooth

Floats = npt.NDArray[np.float64]

_LENGTH = 1.5
_LAUNCH_S = 1e-6
Deviations = tuple[float, float, float, float, float]
# Of the parts of K (own, similar, kind, all, launch), relative; the evidence chooses among them and their
# scale. A launch counts in microseconds.
_PARTS: tuple[Deviations, ...] = (
    (0.5, 1.0, 1.0, 0.3, 0.0),
    (0.5, 1.0, 1.0, 0.3, 5.0),
    (1.0, 1.0, 0.3, 0.3, 5.0),
    (0.3, 0.3, 1.0, 0.3, 5.0),
)
_SCALES = (0.1, 0.2, 0.4, 0.8)
_NOISES = (0.01, 0.02, 0.03, 0.04, 0.06, 0.1)
_REWEIGHTINGS = 2
_HUBER = 2.5


@dataclass(frozen=True)
class KernelSum:
    """A time for each kernel.

    Attributes:
        times: From the profiler alone.
        scale: Of all of them.
        kernels: Of the measured networks; the corrections' support.
        pull: [len(kernels)], G^T (G K G^T + noise)^-1 r: how strongly each asks for a correction.
        deviations: Standard deviations of the parts of K.
        noise: Relative standard deviation of a network's latency around its sum.
        residuals: [n], log of measured over summed of the networks, each left out in turn (equation 5.12).
    """

    times: KernelTimes
    scale: float
    kernels: tuple[Kernel, ...]
    pull: Floats
    deviations: Deviations
    noise: float
    residuals: Floats

    @classmethod
    def fit(
        cls,
        times: KernelTimes,
        networks: Sequence[Sequence[Kernel]],
        latencies_s: Floats,
        weights: Floats,
    ) -> "KernelSum":
        """Chooses corrections that explain whole networks.

        Outlying networks lose weight (Huber, 1964): one disturbed measurement must not bend all kernels.

        Args:
            times: Of single kernels.
            networks: Kernels of each measured network.
            latencies_s: [n], positive.
            weights: [n], in (0, 1], inverse to the variance of a measurement's error.
        """
        kernels = tuple(sorted({k for network in networks for k in network}, key=_order))
        tau, _ = times.predict(kernels)
        counts = _counts(networks, kernels) * times.growth(networks, kernels)
        scale = float(np.median(latencies_s / (counts @ tau)))
        shares = counts * (scale * tau)
        base = shares.sum(axis=1)
        shares /= base[:, None]
        target = latencies_s / base - 1
        parts = _between_networks(kernels, shares, scale * tau)
        current, fit = weights, _Fit.best(parts, target, weights)
        for _ in range(_REWEIGHTINGS):
            errors = np.abs(fit.residuals) / (1.4826 * np.median(np.abs(fit.residuals)) + 1e-9)
            current = weights * np.minimum(1, (_HUBER / np.maximum(errors, 1e-9)) ** 2)
            fit = _Fit.best(parts, target, current)
        residuals = np.log(np.maximum(latencies_s / base, 1e-3)) - np.log(
            np.maximum(latencies_s / base - fit.residuals, 1e-3)
        )
        return cls(times, scale, kernels, shares.T @ fit.solution, fit.deviations, fit.noise, residuals)

    def kernel_times_s(self, kernels: Sequence[Kernel]) -> tuple[Floats, Floats]:
        """Each kernel's time in a network.

        Returns:
            [n] seconds, and [n] how unsure the profiler's part of it is, as a standard deviation of its log.
        """
        tau, std = self.times.predict(kernels)
        own, similar, kind, every, launch = self.deviations
        correction = own**2 * np.array([self._pulls.get(kernel, 0.0) for kernel in kernels])
        correction += every**2 * self.pull.sum()
        correction += launch**2 * self._launches * _LAUNCH_S / (self.scale * tau)
        for name, places in _by_kind(kernels).items():
            if name in self._support:
                features, pull = self._support[name]
                near = smooth(_features(kernels, places), features, _LENGTH)
                correction[places] += similar**2 * (near @ pull) + kind**2 * pull.sum()
        # A correction below -1 would be a negative time.
        return self.scale * tau * np.maximum(1 + correction, 0.05), std

    @cached_property
    def _pulls(self) -> dict[Kernel, float]:
        return dict(zip(self.kernels, self.pull.tolist(), strict=True))

    @cached_property
    def _launches(self) -> float:
        """How strongly all networks together ask for the same time more for every kernel."""
        return float(self.pull @ (_LAUNCH_S / (self.scale * self.times.predict(self.kernels)[0])))

    @cached_property
    def _support(self) -> dict[str, tuple[Floats, Floats]]:
        """Features and pull of the kernels of each kind."""
        by_kind = _by_kind(self.kernels)
        return {kind: (_features(self.kernels, at), self.pull[at]) for kind, at in by_kind.items()}


def network_covariance(fitted: KernelSum, networks: Sequence[Sequence[Kernel]]) -> Floats:
    """How the relative errors of networks' sums vary together before any is measured: [n, n]."""
    kernels = tuple(sorted({k for network in networks for k in network}, key=_order))
    tau, std = fitted.times.predict(kernels)
    tau = fitted.scale * tau
    shares = _counts(networks, kernels) * tau
    shares /= shares.sum(axis=1)[:, None]
    parts = _between_networks(kernels, shares, tau)
    covariance = np.sum([d**2 * part for d, part in zip(fitted.deviations, parts, strict=True)], axis=0)
    unsure = shares * std
    result: Floats = covariance + unsure @ unsure.T
    return result


@dataclass(frozen=True)
class _Fit:
    solution: Floats
    residuals: Floats
    deviations: Deviations
    noise: float

    @classmethod
    def best(cls, parts: list[Floats], target: Floats, weights: Floats) -> "_Fit":
        """The settings of the highest evidence (equation 5.8).

        One eigendecomposition of W^1/2 K W^1/2 serves every scale and noise of a mixture of parts.
        """
        root = np.sqrt(weights)
        best: tuple[float, int, float, float] | None = None
        spectra = []
        for place, part in enumerate(_PARTS):
            mixed = np.sum([p**2 * matrix for p, matrix in zip(part, parts, strict=True)], axis=0)
            values, vectors = np.linalg.eigh(root[:, None] * mixed * root)
            spectra.append((np.maximum(values, 0), vectors))
            seen = (vectors.T @ (root * target)) ** 2
            for scale, noise in itertools.product(_SCALES, _NOISES):
                variance = scale**2 * spectra[-1][0] + noise**2
                evidence = -0.5 * float((seen / variance + np.log(variance)).sum())
                if best is None or evidence > best[0]:
                    best = (evidence, place, scale, noise)
        assert best is not None
        _, place, scale, noise = best
        values, vectors = spectra[place]
        variance = scale**2 * values + noise**2
        solution = root * (vectors @ ((vectors.T @ (root * target)) / variance))
        inverse_diagonal = weights * (vectors**2 @ (1 / variance))
        own, similar, kind, every, launch = (scale * p for p in _PARTS[place])
        deviations = (own, similar, kind, every, launch)
        return cls(solution, solution / inverse_diagonal, deviations, noise)


def _order(kernel: Kernel) -> tuple[object, ...]:
    return (
        kernel.kind,
        kernel.work,
        kernel.read_bytes,
        kernel.weight_bytes,
        kernel.written_bytes,
        repr(kernel),
    )


def _counts(networks: Sequence[Sequence[Kernel]], kernels: Sequence[Kernel]) -> Floats:
    place = {kernel: i for i, kernel in enumerate(kernels)}
    counts = np.zeros((len(networks), len(kernels)))
    for row, network in zip(counts, networks, strict=True):
        for kernel in network:
            row[place[kernel]] += 1
    return counts


def _by_kind(kernels: Sequence[Kernel]) -> dict[str, npt.NDArray[np.intp]]:
    kinds = np.array([kernel.kind for kernel in kernels], dtype=object)
    return {kind: np.flatnonzero(kinds == kind) for kind in dict.fromkeys(kinds)}


def _features(kernels: Sequence[Kernel], places: npt.NDArray[np.intp]) -> Floats:
    return log_features([kernels[i] for i in places])


def _between_networks(kernels: Sequence[Kernel], shares: Floats, tau: Floats) -> list[Floats]:
    """G P G^T for each part P of K: [n, n]."""
    own, similar, kind = (np.zeros((len(shares), len(shares))) for _ in range(3))
    for places in _by_kind(kernels).values():
        part, features = shares[:, places], _features(kernels, places)
        own += part @ part.T
        similar += part @ smooth(features, features, _LENGTH) @ part.T
        total = part.sum(axis=1)
        kind += np.outer(total, total)
    launches = shares @ (_LAUNCH_S / tau)
    # The shares of a network add up to 1.
    return [own, similar, kind, np.ones_like(own), np.outer(launches, launches)]
