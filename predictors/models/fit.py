"""The fitted parts of a latency predictor: times of kernels, their sum's correction, and what both miss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from predictors.kernels import Kernel
from predictors.models.kernel_sum import KernelSum
from predictors.models.kernel_times import KernelTimes, traffic_of
from predictors.models.residual import Residual, composition
from predictors.networks import Adder

Floats = npt.NDArray[np.float64]
Network = Sequence[tuple[Kernel, float]]
"""Kernels with their times in seconds, or with NaN where nobody timed them."""

_GROUPS = {
    "conv": 0,
    "image_conv": 0,
    "pointwise": 0,
    "vector_conv": 0,
    "linear": 0,
    "depthwise": 1,
    "grouped": 1,
    "max_pool": 2,
    "avg_pool": 2,
    "global_pool": 2,
    "unary": 3,
    "slow_unary": 3,
    "binary": 3,
    "broadcast": 3,
    "batch_norm": 3,
}
_OTHER_GROUP = 4
_N_GROUPS = 5
# Sums without traces are fitted again from the times that the fit before gave its kernels.
_ROUNDS_WITHOUT_TRACES = 3
# How much of a kernel's own uncertainty stays in a network's, as neighbours err together in part.
_TOGETHER = 0.5
_UNSURE = 0.3
_MARGIN = 0.25
_ENOUGH_TO_CHOOSE = 40


@dataclass(frozen=True)
class Fit:
    """Everything that prediction needs.

    Attributes:
        kernels: Times of kernels within networks.
        residual: What their sums miss.
        traced: Whether the runtime told times of kernels; without, those in `kernels` are inferred.
    """

    kernels: KernelSum
    residual: Residual
    traced: bool

    @classmethod
    def of(
        cls, networks: Sequence[Network], latencies_s: Floats, weights: Floats, *, by_traffic: bool = False
    ) -> "Fit":
        """Fits all parts.

        Args:
            networks: Of each, its kernels.
            latencies_s: [n].
            weights: [n] in (0, 1], inverse to the variance of a measurement's error.
            by_traffic: Whether times of kernels may grow with their network's traffic, see
                `grows_with_traffic`.
        """
        plain = [[kernel for kernel, _ in network] for network in networks]
        traced = [network for network in networks if not any(np.isnan(s) for _, s in network)]
        times = KernelTimes.fit(traced, by_traffic=by_traffic)
        kernels = KernelSum.fit(times, plain, latencies_s, weights)
        for _ in range(0 if traced else _ROUNDS_WITHOUT_TRACES):
            asked = list(dict.fromkeys(kernel for network in plain for kernel in network))
            known = dict(zip(asked, kernels.kernel_times_s(asked)[0].tolist(), strict=True))
            times = KernelTimes.fit([[(kernel, known[kernel]) for kernel in network] for network in plain])
            kernels = KernelSum.fit(times, plain, latencies_s, weights)
        fit = cls(kernels, Residual.fit(np.zeros((1, 1 + _N_GROUPS)), np.zeros(1)), bool(traced))
        residual = Residual.fit(composition(fit.seconds_of(fit.sums_of(plain))), kernels.residuals)
        return cls(kernels, residual, bool(traced))

    def columns(self, kernels: Sequence[Kernel]) -> Floats:
        """What adds up over a network.

        Returns:
            [n, columns]: its seconds by groups of kernels, how unsure they are, how they grow with the
            network's traffic (twice, see `seconds_of`), and the bytes of that.
        """
        seconds, deviation = self.kernels.kernel_times_s(kernels)
        groups = [_GROUPS.get(kernel.kind.removesuffix("_blocked"), _OTHER_GROUP) for kernel in kernels]
        slopes = self.kernels.times.slopes(kernels)
        columns = np.zeros((len(kernels), _N_GROUPS + 4))
        columns[np.arange(len(kernels)), groups] = seconds
        columns[:, _N_GROUPS] = seconds * deviation
        columns[:, _N_GROUPS + 1] = seconds * slopes
        columns[:, _N_GROUPS + 2] = seconds * slopes**2
        columns[:, _N_GROUPS + 3] = [kernel.written_bytes for kernel in kernels]
        return columns

    def sums_of(self, networks: Sequence[Sequence[Kernel]]) -> Floats:
        """Sums of `columns` over networks: [n, columns]."""
        adder = Adder(self.columns)
        return np.stack([adder.sum_of(network) for network in networks])

    def seconds_of(self, sums: Floats) -> Floats:
        """Seconds by groups of kernels at each network's own traffic: [n, groups]."""
        seconds = sums[:, :_N_GROUPS]
        above = self.kernels.times.above_typical(np.log(sums[:, _N_GROUPS + 3] + 1.0))
        mean, square = (sums[:, _N_GROUPS + i] / seconds.sum(axis=1) for i in (1, 2))
        # The mean over kernels of exp(above * slope), to the second order.
        growth = np.exp(above * mean + above**2 * (square - mean**2) / 2)
        result: Floats = seconds * growth[:, None]
        return result

    def kernel_deviations(self, kernels: Sequence[Kernel]) -> Floats:
        """Relative deviations of networks of one kernel each, right up to a factor: [n]."""
        result: Floats = np.hypot(self.kernels.noise, _TOGETHER * self.kernels.kernel_times_s(kernels)[1])
        return result

    def predict(self, sums: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """Latencies from sums of `columns` over networks, [n, columns].

        Returns:
            [n] seconds; [n] relative deviation, right up to a factor; [n] whether such networks are known.
        """
        seconds = self.seconds_of(sums)
        total_s = seconds.sum(axis=1)
        inputs = composition(seconds)
        correction, spread = self.residual.predict(inputs)
        unsure = sums[:, _N_GROUPS] / sums[:, :_N_GROUPS].sum(axis=1)
        deviation = np.hypot(self.kernels.noise * spread, _TOGETHER * unsure)
        known = self.residual.inputs
        low, high = known.min(axis=0), known.max(axis=0)
        margin = _MARGIN * (high - low) + 0.05
        inside = ((inputs >= low - margin) & (inputs <= high + margin)).all(axis=1)
        return total_s * np.exp(correction), deviation, inside & (unsure < _UNSURE)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Plain arrays that `from_arrays` reads."""
        sums, times, residual = self.kernels, self.kernels.times, self.residual
        return {
            **_kernel_arrays("times", times.kernels),
            "times_log_s": times.log_s,
            "times_looks": times.looks,
            "times_scatter": times.scatter,
            "times_traffic": times.traffic,
            "known_traffic": np.array(times.known_traffic),
            "by_traffic": np.array(times.by_traffic),
            "traced": np.array(self.traced),
            **_kernel_arrays("sum", sums.kernels),
            "sum_pull": sums.pull,
            "sum_numbers": np.array([sums.scale, sums.noise, *sums.deviations]),
            "residual_inputs": residual.inputs,
            "residual_weights": residual.weights,
            "residual_inverse": residual.inverse,
            "residual_numbers": np.array([residual.length, residual.ratio]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "Fit":
        """Reads what `to_arrays` gave."""
        names = ("log_s", "looks", "scatter", "traffic")
        log_s, looks, scatter, traffic = (arrays[f"times_{name}"] for name in names)
        least, typical, most = (float(x) for x in arrays["known_traffic"])
        times = KernelTimes(
            _kernels("times", arrays),
            *(log_s, looks, scatter, traffic),
            known_traffic=(least, typical, most),
            by_traffic=bool(arrays["by_traffic"]),
        )
        scale, noise, own, similar, kind, every, launch = (float(x) for x in arrays["sum_numbers"])
        deviations = (own, similar, kind, every, launch)
        sums = KernelSum(
            times, scale, _kernels("sum", arrays), arrays["sum_pull"], deviations, noise, np.zeros(0)
        )
        length, ratio = (float(x) for x in arrays["residual_numbers"])
        inputs, weights, inverse = (arrays[f"residual_{name}"] for name in ("inputs", "weights", "inverse"))
        return cls(sums, Residual(inputs, weights, inverse, length, ratio), bool(arrays["traced"]))


def grows_with_traffic(networks: Sequence[Network], latencies_s: Floats, weights: Floats) -> bool:
    """Whether times that grow with a network's traffic carry on beyond the networks that were seen.

    Within one space traffic grows with the sizes of kernels, and what belongs to one may be taken for the
    other. So the quarter of most traffic is predicted from the rest, and that of least, both ways.

    Args:
        networks: Of each, its kernels with their times.
        latencies_s: [n].
        weights: [n], as of `Fit.of`.
    """
    if len(networks) < _ENOUGH_TO_CHOOSE or any(np.isnan(s) for network in networks for _, s in network):
        return False
    plain = [[kernel for kernel, _ in network] for network in networks]
    order = np.argsort([traffic_of(network) for network in plain], kind="stable")
    quarter = len(order) // 4

    def error(held: npt.NDArray[np.intp], kept: npt.NDArray[np.intp], by_traffic: bool) -> float:
        given = [networks[i] for i in kept], latencies_s[kept], weights[kept]
        fit = Fit.of(*given, by_traffic=by_traffic)
        predicted_s, _, _ = fit.predict(fit.sums_of([plain[i] for i in held]))
        return float(np.square(np.log(predicted_s / latencies_s[held])).sum())

    ends = (order[-quarter:], order[:-quarter]), (order[:quarter], order[quarter:])
    without, grown = (sum(error(*end, by_traffic) for end in ends) for by_traffic in (False, True))
    return grown < without


_SIZES = [field.name for field in fields(Kernel)][1:]


def _kernel_arrays(name: str, kernels: Sequence[Kernel]) -> dict[str, npt.NDArray[Any]]:
    sizes = [[getattr(kernel, size) for size in _SIZES] for kernel in kernels]
    return {
        f"{name}_kinds": np.array([kernel.kind for kernel in kernels], dtype=np.str_),
        f"{name}_sizes": np.array(sizes, dtype=np.int64).reshape(len(kernels), len(_SIZES)),
    }


def _kernels(name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Kernel, ...]:
    kinds, sizes = arrays[f"{name}_kinds"].tolist(), arrays[f"{name}_sizes"].tolist()
    return tuple(Kernel(kind, *row) for kind, row in zip(kinds, sizes, strict=True))
