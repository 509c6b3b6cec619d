from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mobinas.errors import MeasurementError, TargetError
from mobinas.runtime import available_providers, open_session, run_batches, runtime_version
from mobinas.targets.target import Target


def relu_model(
    *sizes: int | str | None,
    op: str = "Relu",
    domain: str = "",
    opset: int = 17,
    ir_version: int = 8,
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, dtype, sizes) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], domain=domain)], "g", values[:1], values[1:]
    )
    opsets = [helper.make_opsetid(*one) for one in {"": opset, domain: 1 if domain else opset}.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def test_batches_are_cut_and_joined() -> None:
    images = np.random.default_rng(0).standard_normal((7, 2, 3, 3)).astype(np.float32)
    session = open_session(relu_model("batch", 2, 3, 3), Target(), any_batch=True)
    np.testing.assert_array_equal(run_batches(session, images, batch=3), np.maximum(images, 0))


def test_timing_fixes_the_batch_and_reads_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(relu_model("batch", 2, 3, 3), path)
    session = open_session(path, Target(batch=4, graph_optimisation="none"))
    assert session.get_inputs()[0].shape == [4, 2, 3, 3]


def test_open_dimensions_are_bound_by_name() -> None:
    model = relu_model("batch", 2, "height", "width")
    session = open_session(model, Target(batch=3), bindings=(("height", 5), ("width", 7)))
    assert session.get_inputs()[0].shape == [3, 2, 5, 7]
    with pytest.raises(MeasurementError, match=r"\(width\); bind it"):
        open_session(model, Target(), bindings=(("height", 5),))
    with pytest.raises(MeasurementError, match="no open dimension 'hight'; did you mean 'height'"):
        open_session(relu_model("batch", "height"), Target(), bindings=(("height", 5), ("hight", 7)))
    with pytest.raises(MeasurementError, match="no open dimension 'height'; all its sizes are fixed"):
        open_session(relu_model(1, 2), Target(), bindings=(("height", 5),))


def test_the_fake_target_still_computes() -> None:
    session = open_session(relu_model(1, 2).SerializeToString(), Target.fake())
    assert run_batches(session, np.array([[-1.0, 2.0]], np.float32), batch=1).tolist() == [[0.0, 2.0]]


def test_versions_and_providers() -> None:
    assert "CPUExecutionProvider" in available_providers()
    assert runtime_version().startswith("onnxruntime ")


def test_unknown_provider_names_those_at_hand() -> None:
    with pytest.raises(TargetError, match=r"NoExecutionProvider.*CPUExecutionProvider"):
        open_session(relu_model(1, 2), Target(provider="NoExecutionProvider"))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (b"not a model", "cannot open the model in memory"),
        (Path("gone.onnx"), r"no model file gone\.onnx"),
        (relu_model("batch", 2, "height", 3), r"dimension 2 .*\(height\); bind it: --bind height=224"),
        (relu_model(1, None), r"dimension 1 .*no name to bind"),
        (relu_model(3, 2, 4, 4), "fixed batch of 3"),
        (relu_model(1, 2, op="NoSuchOp"), r"onnxruntime \S+ has no operator NoSuchOp in the model's opset"),
        (relu_model(1, 2, op="Odd", domain="my.ops"), r"has no operator my\.ops:Odd; install the onnx"),
        (relu_model(1, 2, opset=99), r"knows opsets of ai\.onnx up to \d+, the model is of 99"),
        (relu_model(1, 2, ir_version=99), r"knows IR versions up to \d+, the model is of 99"),
        (relu_model(1, 2, op="Sin", opset=22, dtype=16), r"no operator Sin \(opset 22\) for these types"),
    ],
)
def test_a_model_that_cannot_be_timed_gives_one_line(model: object, text: str) -> None:
    with pytest.raises(MeasurementError, match=text) as caught:
        open_session(model, Target())  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_truncated_file_gives_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(relu_model(1, 2).SerializeToString()[:-20])
    with pytest.raises(MeasurementError, match=r"m\.onnx"):
        open_session(path, Target())


def test_images_of_another_shape_and_none() -> None:
    session = open_session(relu_model("batch", 2, 3, 3), Target(), any_batch=True)
    with pytest.raises(MeasurementError, match="images of 5x3x3"):
        run_batches(session, np.zeros((1, 5, 3, 3), np.float32))
    with pytest.raises(MeasurementError, match="no images"):
        run_batches(session, np.zeros((0, 2, 3, 3), np.float32))
