import random

import numpy as np
import pytest

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import published
from mobinas.arch.ops import op_set
from mobinas.arch.space import SearchSpace
from mobinas.errors import PredictorError
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_writer import write_onnx
from predictors.kernels import FEATURE_NAMES, feature_vector, kernels_of, kernels_of_model

SPACE = SearchSpace(Task(10, 1), (8, 16), (3, 4), (2, 4, 8, 12), (op_set("all"),))


@pytest.mark.parametrize("seed", range(8))
def test_a_graph_and_its_file_have_the_same_kernels(seed: int) -> None:
    graph = lower(SPACE.sample(random.Random(seed)))
    expected = feature_vector(kernels_of(graph))
    np.testing.assert_array_equal(feature_vector(kernels_of_model(write_onnx(graph))), expected)


@pytest.mark.parametrize("seed", range(4))
def test_macs_agree_with_the_cost_counter(seed: int) -> None:
    graph = lower(SPACE.sample(random.Random(seed)))
    assert feature_vector(kernels_of(graph))[FEATURE_NAMES.index("macs")] == cost(graph).macs


def test_channels_choose_the_layout() -> None:
    def kinds(width: int) -> set[str]:
        graph = lower(Architecture(CellBody(published("DARTS_V2"), 3, width), 16, Task(10)))
        return {kernel.kind for kernel in kernels_of(graph)}

    assert {"depthwise_blocked", "concat_blocked"} <= kinds(8)
    assert "depthwise" in kinds(2)
    assert "concat" in kinds(4)
    assert "depthwise" not in kinds(4)


def test_open_image_sizes_are_refused() -> None:
    model = write_onnx(lower(SPACE.sample(random.Random(0))))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(PredictorError, match=r"open sizes \(height\)"):
        kernels_of_model(model)
