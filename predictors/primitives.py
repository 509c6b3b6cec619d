"""What single ops cost on a target, as its predictor says and as the runtime's profiler showed."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mobinas.arch.architecture import Architecture
from mobinas.arch.ops import OPS
from mobinas.arch.space import SearchSpace
from mobinas.errors import PredictorError
from mobinas.graph.lowering import lower, lower_op
from predictors.kernels import Kernel, kernel_of
from predictors.layout import LayoutWalk
from predictors.models.latency import LatencyPredictor
from predictors.models.report import Z_90
from predictors.networks import Layout

Bounds = tuple[float, float]
Shape = tuple[int, int]
"""Channels, and height and width in pixels, of what an op on an edge gives."""


@dataclass(frozen=True, slots=True)
class PrimitiveCost:
    """What one op costs at one shape.

    Attributes:
        op: A key of `OPS`.
        stride: Of the edge.
        width: Channels.
        size: Height and width of the result in pixels.
        predicted_s: Sum of the predictor's times of the op's kernels; 0 for an op that has none.
        predicted_bounds_s: 90 % interval.
        measured_s: Sum of what the profiler showed for the same kernels in measured networks; none where one
            of them was never seen.
        measured_bounds_s: What holds 90 % of the looks; none where a kernel was seen once.

    Raises:
        PredictorError: A time that is not finite, or below 0.
    """

    op: str
    stride: int
    width: int
    size: int
    predicted_s: float
    predicted_bounds_s: Bounds
    measured_s: float | None = None
    measured_bounds_s: Bounds | None = None

    def __post_init__(self) -> None:
        measured_s = () if self.measured_s is None else (self.measured_s,)
        times_s = (self.predicted_s, *self.predicted_bounds_s, *measured_s, *(self.measured_bounds_s or ()))
        for seconds in times_s:
            if not (math.isfinite(seconds) and seconds >= 0):
                raise PredictorError(f"{self.op} costs {seconds} s; times are finite and not below 0")


def primitive_costs(
    predictor: LatencyPredictor, shapes: Iterable[Shape], ops: Sequence[str], *, stride: int = 1
) -> list[PrimitiveCost]:
    """What ops cost on their own, each with the rectification and the reorderings that it asks for.

    In a network edges may share these, or a convolution before may take them up.

    Args:
        predictor: Of the target.
        shapes: Of the results; the input has the same channels.
        ops: Keys of `OPS`.
        stride: Of the edges, 1 or 2.

    Returns:
        For each shape all ops, in the order given.
    """
    layout = predictor.layout
    return [
        _cost(predictor, op, stride, width, size, _kernels(op, stride, width, size, layout))
        for width, size in shapes
        for op in ops
    ]


def costs_in(predictor: LatencyPredictor, space: SearchSpace) -> list[PrimitiveCost]:
    """What the ops of a space cost at the stages of its smallest and its largest networks.

    Ops that compute something else where they halve height and width are also given there.
    """
    ops, shapes = space.ops(), shapes_of(space)
    halved = [(width, size) for width, size in shapes if (width // 2, 2 * size) in shapes]
    halving = [op for op in ops if OPS[op].steps_at_stride_2 is not None]
    same = primitive_costs(predictor, shapes, ops)
    return same + primitive_costs(predictor, halved, halving, stride=2)


def shapes_of(space: SearchSpace) -> list[Shape]:
    """Shapes of the stages of the smallest and the largest macro choice, each once, from narrow to wide."""
    shapes: set[Shape] = set()
    for choose in (min, max):
        resolution, depth, width = (
            choose(values) for values in (space.resolutions, space.depths, space.widths)
        )
        shapes.update(_stages(space, resolution, depth, width))
    return sorted(shapes, key=lambda shape: (shape[0] * shape[1], shape[0]))


def _stages(space: SearchSpace, resolution: int, depth: int, width: int) -> set[Shape]:
    any_one = space.single_op_architectures()[0]
    body = replace(any_one.cells, depth=depth, width=width)
    graph = lower(Architecture(body, resolution, space.task))
    # Of ``stage0/cell0/concat``; concatenations within ops have longer names.
    ends = [node.shape for node in graph.nodes if node.name.endswith("/concat") and node.name.count("/") == 2]
    return {(channels // len(body.genotype.normal.concat), size) for channels, size, _ in ends}


def _kernels(op: str, stride: int, width: int, size: int, layout: Layout) -> list[Kernel]:
    graph = lower_op(op, (width, size * stride, size * stride), stride=stride)
    whole = layout.block > 1 and width % layout.block == 0
    walk = LayoutWalk(graph, layout.block, layout.batch, blocked_input=whole)
    return [kernel_of(call) for call in walk.made()]


def _cost(
    predictor: LatencyPredictor, op: str, stride: int, width: int, size: int, kernels: list[Kernel]
) -> PrimitiveCost:
    if not kernels:
        return PrimitiveCost(op, stride, width, size, 0.0, (0.0, 0.0))
    # Kernels of one op are much alike: they are taken to err, and to scatter, together.
    times_s = predictor.kernel_times_s(kernels)
    predicted_s = float(times_s.sum())
    deviation = float(np.average(predictor.kernel_deviations(kernels), weights=times_s))
    seen_s, scatter = predictor.seen_kernel_times_s(kernels)
    measured_s = float(seen_s.sum())
    if math.isnan(measured_s):
        return PrimitiveCost(op, stride, width, size, predicted_s, _around(predicted_s, deviation))
    spread = float(np.average(scatter, weights=seen_s))
    measured_bounds_s = None if math.isnan(spread) else _around(measured_s, spread)
    bounds_s = _around(predicted_s, deviation)
    return PrimitiveCost(op, stride, width, size, predicted_s, bounds_s, measured_s, measured_bounds_s)


def _around(seconds: float, deviation: float) -> Bounds:
    factor = math.exp(Z_90 * deviation)
    return seconds / factor, seconds * factor
