"""What measurements tell a fit."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mobinas.arch.architecture import Architecture
from mobinas.graph.layers import Graph, HardSigmoid, HardSwish
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_writer import write_onnx
from mobinas.targets.measurement import Measurement
from predictors.kernels import kernel_of
from predictors.layout import Call, calls_of_graph
from predictors.model_calls import sized, with_activations
from predictors.models.fit import Fit, Network
from predictors.networks import AnyModel, Executed, Layout, kernels_of

Floats = npt.NDArray[np.float64]

# Measurements err beyond their own interval (the state of the machine), so none counts as exact.
_FLOOR_STD = 0.02
# What onnxruntime's profiler adds to each node where too few networks tell: 2.4 to 3.2 us on a server's core.
_PROFILING_S, _MOST_PROFILING_S = 2.5e-6, 2e-5
_FEW_NETWORKS = 20
_LEAST_S = 3e-7


def fit_of(
    networks: Sequence[Network], measurements: Sequence[Measurement], *, by_traffic: bool = False
) -> Fit:
    """The fitted parts alone, without judging them."""
    latencies_s = np.array([m.median_s for m in measurements])
    return Fit.of(networks, latencies_s, weights_of(measurements), by_traffic=by_traffic)


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
    profiling_s = profiling_time_s(measurements)
    return [_network(m, one, layout, profiling_s) for m, one in zip(models, measurements, strict=True)]


def profiling_time_s(measurements: Sequence[Measurement]) -> float:
    """Seconds that the profiler adds to each node: traces are longer than latencies the more nodes there are.

    The slope of trace over latency against nodes over latency (Theil, 1950; Sen, 1968), where there are
    networks enough.
    """
    from scipy.stats import theilslopes

    traced = [m for m in measurements if m.kernels]
    if len(traced) < _FEW_NETWORKS:
        return _PROFILING_S
    longer = [sum(kernel.seconds for kernel in m.kernels) / m.median_s for m in traced]
    nodes_per_s = [len(m.kernels) / m.median_s for m in traced]
    if len(set(nodes_per_s)) == 1:
        return _PROFILING_S
    return float(np.clip(theilslopes(longer, nodes_per_s).slope, 0.0, _MOST_PROFILING_S))


def _network(model: AnyModel, measurement: Measurement, layout: Layout, profiling_s: float) -> Network:
    if not measurement.kernels:
        return [(kernel, math.nan) for kernel in kernels_of(model, layout)]
    times_s = [max(kernel.seconds - profiling_s, _LEAST_S) for kernel in measurement.kernels]
    # What is left of the profiler slows a network as a whole; what counts is how its time is divided.
    factor = measurement.median_s / sum(times_s)
    calls = _activated(model, [Call(*kernel[:4]) for kernel in measurement.kernels], layout)
    kernels = [kernel_of(call) for call in calls]
    return [(kernel, factor * seconds) for kernel, seconds in zip(kernels, times_s, strict=True)]


def _activated(model: AnyModel, calls: list[Call], layout: Layout) -> list[Call]:
    """The calls with the activations that convolutions have taken up, which profiles do not show."""
    if isinstance(model, Executed):
        return calls
    if not isinstance(model, Architecture | Graph):
        return with_activations(sized(model, layout.batch), calls, layout.batch)
    graph = lower(model) if isinstance(model, Architecture) else model
    if not any(isinstance(node.layer, HardSwish | HardSigmoid) for node in graph.nodes):
        return calls
    known: dict[Call, list[str]] = {}
    for call in calls_of_graph(graph, layout.block, layout.batch):
        known.setdefault(replace(call, activation=""), []).append(call.activation)
    if Counter(calls) != {call: len(activations) for call, activations in known.items()}:
        # A runtime that lays out otherwise; the file tells less surely.
        return with_activations(write_onnx(graph), calls, layout.batch)
    return [replace(call, activation=known[call].pop(0)) for call in calls]


def weights_of(measurements: Sequence[Measurement]) -> Floats:
    """In (0, 1], inverse to the variance of each measurement's error: [n]."""
    half = np.array([(m.interval_s[1] - m.interval_s[0]) / 2 / m.median_s for m in measurements])
    return _FLOOR_STD**2 / (_FLOOR_STD**2 + (half / 1.96) ** 2)
