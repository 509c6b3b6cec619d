"""Opening the batch of a traced model."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.onnx_batch import TRACED_BATCH, open_batch


def traced(op: str, shape: Sequence[int], leading: int = TRACED_BATCH) -> onnx.ModelProto:
    """One node that takes images and a shape."""
    constant = numpy_helper.from_array(np.array(shape, np.int64), "shape")
    graph = helper.make_graph(
        [
            helper.make_node(
                op, ["image", "shape"], ["logits"], **({"allowzero": 1} if op == "Reshape" else {})
            )
        ],
        "main",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [leading, 2, 3, 1])],
        [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, [leading, *(6 if s == -1 else s for s in shape[1:])]
            )
        ],
        [constant],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("size", [6, -1])
def test_a_flattening_runs_for_every_batch(size: int) -> None:
    model = traced("Reshape", [TRACED_BATCH, size])
    before = model.SerializeToString(deterministic=True)
    opened = open_batch(model)
    assert opened is not None
    onnx.checker.check_model(opened, full_check=True)
    session = ort.InferenceSession(opened.SerializeToString())
    for n in (1, 5):
        images = np.random.default_rng(n).standard_normal((n, 2, 3, 1)).astype(np.float32)
        np.testing.assert_array_equal(session.run(None, {"image": images})[0], images.reshape(n, 6))
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    "model",
    [
        traced("Expand", [TRACED_BATCH, 2, 3, 4]),
        traced("Reshape", [2 * TRACED_BATCH, 3]),
        traced("Reshape", [6, TRACED_BATCH]),
        traced("Reshape", [TRACED_BATCH, -1, -1]),
        traced("Reshape", [TRACED_BATCH, 6], leading=4),
    ],
    ids=["expand", "merged with another axis", "not leading", "two open axes", "another batch"],
)
def test_a_batch_that_sank_in_deeper_is_left_alone(model: onnx.ModelProto) -> None:
    assert open_batch(model) is None
