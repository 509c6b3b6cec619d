import numpy as np
import onnx
import pytest

from mobinas.targets.target import Target
from predictors.generic import generic_networks
from predictors.kernels import kernel_of
from predictors.layout import Call
from predictors.worker.trace import trace


@pytest.mark.parametrize("seed", [0, 1])
def test_networks_are_valid_and_repeat(seed: int) -> None:
    models = generic_networks(12, seed)
    assert [m.SerializeToString() for m in models[:3]] == [
        m.SerializeToString() for m in generic_networks(3, seed)
    ]
    sizes = set()
    for model in models:
        onnx.checker.check_model(model)
        sizes.add(model.graph.input[0].type.tensor_type.shape.dim[2].dim_value)
    assert len(sizes) > 2


def test_networks_hold_the_kernels_of_the_field() -> None:
    kinds: set[str] = set()
    for model in generic_networks(24):
        calls = trace(model.SerializeToString(), Target.local(), runs=1)
        kinds |= {kernel_of(Call(*call[:4])).kind.removesuffix("_blocked") for call in calls}
    wanted = {"conv", "pointwise", "depthwise", "grouped", "vector_conv", "linear", "global_pool", "max_pool"}
    assert wanted | {"unary", "slow_unary", "binary", "broadcast", "concat", "transpose"} <= kinds


def test_sizes_of_work_are_spread() -> None:
    works = []
    for model in generic_networks(24):
        calls = [
            kernel_of(Call(*call[:4])) for call in trace(model.SerializeToString(), Target.local(), runs=1)
        ]
        works.append(sum(kernel.work for kernel in calls if kernel.weight_bytes))
    assert np.max(works) > 10 * np.min(works)
