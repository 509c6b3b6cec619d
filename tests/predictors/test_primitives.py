"""What single ops cost: sums over their own kernels, predicted and as the profiler showed them."""

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.space import SearchSpace, preset
from mobinas.errors import PredictorError
from mobinas.graph.lowering import lower, lower_op
from mobinas.targets import KernelTime
from mobinas.targets.measurement import Measurement
from mobinas.targets.target import Target
from predictors.kernels import Kernel, kernel_of
from predictors.layout import Call, calls_of_graph
from predictors.measure import measure
from predictors.models.fit import Fit
from predictors.models.kernel_times import KernelTimes
from predictors.models.latency import LatencyPredictor
from predictors.primitives import PrimitiveCost, costs_in, primitive_costs, shapes_of
from predictors.profile import WIDE_SPACE
from predictors.runners.fake import fake_latency_s
from predictors.sampling import sample_for_profile

OPS = ("skip_connect", "conv_3x3", "sep_conv_3x3", "max_pool_3x3")
SPACE = SearchSpace(Task(10, 1), (8, 16), (3, 4), (4, 8), (OPS,), nodes=2)
MODELS = sample_for_profile(SPACE, 24, random.Random(0))
SEEN = measure(MODELS, Target.fake())
BLIND = LatencyPredictor.fit(MODELS, SEEN)
BLOCK = 8


def true_s(kernel: Kernel) -> float:
    return fake_latency_s([kernel])


def traced(measurement: Measurement, architecture: Architecture, factor: float) -> Measurement:
    """As a runtime with blocks would have told it, the odd networks slower."""
    calls = calls_of_graph(lower(architecture), BLOCK)
    times_s = [factor * true_s(kernel_of(call)) for call in calls]
    # The profiler itself takes 1.5 us per node.
    kernels = tuple(KernelTime(*call_of(call), s + 1.5e-6) for call, s in zip(calls, times_s, strict=True))
    return replace(measurement, kernels=kernels, blocks_s=((sum(times_s),),) * 3)


def call_of(call: Call) -> tuple[str, tuple[tuple[int, ...], ...], tuple[int, ...], bool]:
    return call.op, call.inputs, call.output, call.blocked


PROFILED = LatencyPredictor.fit(
    MODELS, [traced(m, a, 1.0 + 0.1 * (i % 2)) for i, (m, a) in enumerate(zip(SEEN, MODELS, strict=True))]
)


@pytest.mark.parametrize("op", OPS[1:])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_prediction_is_the_sum_of_the_kernels(op: str, stride: int) -> None:
    (cost,) = primitive_costs(BLIND, [(8, 8)], [op], stride=stride)
    graph = lower_op(op, (8, 8 * stride, 8 * stride), stride=stride)
    kernels = [kernel_of(call) for call in calls_of_graph(graph, 1)]
    assert cost.predicted_s == pytest.approx(BLIND.kernel_times_s(kernels).sum())
    low_s, high_s = cost.predicted_bounds_s
    assert low_s < cost.predicted_s < high_s
    assert low_s * high_s == pytest.approx(cost.predicted_s**2)
    assert (cost.op, cost.stride, cost.width, cost.size) == (op, stride, 8, 8)


def test_nothing_counts_as_measured_where_the_runtime_tells_no_times(tmp_path: Path) -> None:
    BLIND.save(tmp_path)
    for predictor in (BLIND, LatencyPredictor.load(tmp_path)):
        costs = costs_in(predictor, SPACE)
        assert costs
        assert all(cost.measured_s is None and cost.measured_bounds_s is None for cost in costs)


def test_whole_blocks_come_without_reordering() -> None:
    """By hand: a rectification and a convolution in blocks."""
    image = (1, 16, 8, 8)
    calls = (
        Call("Relu", (image,), image),
        Call("Conv", (image, (16, 16, 3, 3), (16,)), image, blocked=True),
    )
    kernels = [kernel_of(call) for call in calls]
    (cost,) = primitive_costs(PROFILED, [(16, 8)], ["conv_3x3"])
    assert cost.predicted_s == pytest.approx(PROFILED.kernel_times_s(kernels).sum())
    reordering = kernel_of(Call("ReorderInput", ((1, 4, 8, 8),), (1, 8, 8, 8), blocked=True))
    (odd,) = primitive_costs(PROFILED, [(4, 8)], ["conv_3x3"])
    assert (
        odd.predicted_s > PROFILED.kernel_times_s([reordering])[0] + PROFILED.kernel_times_s(kernels[:1])[0]
    )


def test_what_was_measured_is_what_the_profiler_showed() -> None:
    shapes = [(width, size) for width in (8, 16, 32) for size in (2, 4, 8, 16)]
    costs = primitive_costs(PROFILED, shapes, ["max_pool_3x3"])
    seen = [cost for cost in costs if cost.measured_s is not None]
    assert len(seen) >= 2
    for cost in seen:
        image = (1, cost.width, cost.size, cost.size)
        truth_s = true_s(kernel_of(Call("MaxPool", (image,), image, blocked=True)))
        assert cost.measured_s is not None
        assert truth_s * (1 - 1e-9) <= cost.measured_s <= 1.1 * truth_s * (1 + 1e-9)
        assert cost.predicted_s == pytest.approx(cost.measured_s, rel=0.2)
    scattered = [cost for cost in seen if cost.measured_bounds_s is not None]
    assert scattered
    for cost in scattered:
        assert cost.measured_bounds_s is not None and cost.measured_s is not None
        assert math.prod(cost.measured_bounds_s) == pytest.approx(cost.measured_s**2)
    (unseen,) = primitive_costs(PROFILED, [(16, 9)], ["max_pool_3x3"])
    assert unseen.measured_s is None
    assert unseen.predicted_s > 0


def test_one_kernel_that_was_never_seen_leaves_the_op_unmeasured() -> None:
    """The rectification of a 16 x 8 image is known, a 7 x 7 convolution is not."""
    relu = kernel_of(Call("Relu", ((1, 16, 8, 8),), (1, 16, 8, 8)))
    assert PROFILED.seen_kernel_times_s([relu])[0] > 0
    (cost,) = primitive_costs(PROFILED, [(16, 8)], ["sep_conv_7x7"])
    assert cost.measured_s is None


def test_scatter_is_that_of_the_looks() -> None:
    a, b = (kernel_of(Call("Relu", ((1, 8, n, n),), (1, 8, n, n))) for n in (4, 8))
    times = KernelTimes.fit([[(a, 1e-5), (a, 4e-5)], [(a, 2e-5), (b, 1e-4)]])
    seconds, scatter = times.seen_s([b, a, replace(a, work=1)])
    np.testing.assert_allclose(seconds, [1e-4, 2e-5, np.nan])
    np.testing.assert_allclose(scatter, [np.nan, math.log(2), np.nan])
    assert KernelTimes().seen_s([a])[0].tolist() == pytest.approx([np.nan], nan_ok=True)


@pytest.mark.parametrize("predictor", [BLIND, PROFILED], ids=["blind", "profiled"])
def test_what_was_seen_outlasts_the_disk(predictor: LatencyPredictor, tmp_path: Path) -> None:
    fit = predictor._fit
    again = Fit.from_arrays(fit.to_arrays())
    assert again.traced == fit.traced == (predictor is PROFILED)
    np.testing.assert_array_equal(again.kernels.times.scatter, fit.kernels.times.scatter)
    predictor.save(tmp_path)
    assert costs_in(LatencyPredictor.load(tmp_path), SPACE) == costs_in(predictor, SPACE)


def test_shapes_are_those_of_the_smallest_and_the_largest_networks() -> None:
    small, large = [(8, 24), (16, 12), (32, 6)], [(32, 48), (64, 24), (128, 12)]
    assert shapes_of(WIDE_SPACE) == [*small, *large]
    assert max(shapes_of(preset("mobile", Task(10)))) == (512, 7)
    one = SearchSpace(Task(10), (32,), (5,), (16,), (OPS,))
    assert shapes_of(one) == [(16, 32), (32, 16), (64, 8)]


def test_an_unchanged_value_is_free_and_halving_it_is_not() -> None:
    costs = [cost for cost in costs_in(BLIND, SPACE) if cost.op == "skip_connect"]
    assert all((cost.predicted_s > 0) == (cost.stride == 2) for cost in costs)
    halved = {(cost.width, cost.size) for cost in costs if cost.stride == 2}
    assert halved == {(8, 4), (16, 2), (16, 8), (32, 4)}
    assert {cost.op for cost in costs_in(BLIND, SPACE) if cost.stride == 2} == {"skip_connect"}


@pytest.mark.parametrize("seconds", [-1e-6, math.nan, math.inf])
def test_impossible_times_are_refused(seconds: float) -> None:
    with pytest.raises(PredictorError, match="conv_3x3 costs"):
        PrimitiveCost("conv_3x3", 1, 8, 8, 1e-5, (1e-6, 1e-4), seconds)
