"""What measurements tell a fit."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mobinas.targets.measurement import Measurement
from predictors.kernels import kernel_of
from predictors.layout import Call
from predictors.models.fit import Fit, Network
from predictors.networks import AnyModel, Layout, kernels_of

Floats = npt.NDArray[np.float64]

# Measurements err beyond their own interval (the state of the machine), so none counts as exact.
_FLOOR_STD = 0.02
# onnxruntime's profiler adds this to each node: 1.6 us by regression of 300 cell networks' latencies on their
# kernels' sum and number, 2.9 us of 120 generic ones. With it 94 / 99 % of cells were within 5 / 10 %,
# without it 93 / 98 %.
_PROFILING_S, _LEAST_S = 1.5e-6, 3e-7


def fit_of(networks: Sequence[Network], measurements: Sequence[Measurement]) -> Fit:
    """The fitted parts alone, without judging them."""
    return Fit.of(networks, np.array([m.median_s for m in measurements]), weights_of(measurements))


def layout_of(measurements: Sequence[Measurement]) -> Layout:
    """Blocks and batch, as the executed convolutions show them."""
    convolutions = [k for m in measurements for k in m.kernels if k.op in ("Conv", "FusedConv")]
    block = math.gcd(*(k.output[1] for k in convolutions if k.blocked), 16)
    batch = Counter(k.output[0] for k in convolutions).most_common(1)[0][0] if convolutions else 1
    return Layout(block if any(k.blocked for k in convolutions) else 1, batch)


def timed_networks(
    models: Sequence[AnyModel],
    measurements: Sequence[Measurement],
    layout: Layout,
) -> list[Network]:
    """Kernels of each measured model with their times; without a trace, times that are not numbers."""
    return [_network(m, one, layout) for m, one in zip(models, measurements, strict=True)]


def _network(model: AnyModel, measurement: Measurement, layout: Layout) -> Network:
    if not measurement.kernels:
        return [(kernel, math.nan) for kernel in kernels_of(model, layout)]
    times_s = [max(kernel.seconds - _PROFILING_S, _LEAST_S) for kernel in measurement.kernels]
    # What is left of the profiler slows a network as a whole; what counts is how its time is divided.
    factor = measurement.median_s / sum(times_s)
    kernels = [kernel_of(Call(*kernel[:4])) for kernel in measurement.kernels]
    return [(kernel, factor * seconds) for kernel, seconds in zip(kernels, times_s, strict=True)]


def weights_of(measurements: Sequence[Measurement]) -> Floats:
    """In (0, 1], inverse to the variance of each measurement's error: [n]."""
    half = np.array([(m.interval_s[1] - m.interval_s[0]) / 2 / m.median_s for m in measurements])
    return _FLOOR_STD**2 / (_FLOOR_STD**2 + (half / 1.96) ** 2)
