"""Small ONNX models of many kinds, for tests of what is made of any file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str | None] | None
# Opset 17 goes with IR version 8.
_OPSET, _IR = 17, 8


def value(name: str, dims: Dims, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """An input or output."""
    return helper.make_tensor_value_info(name, dtype, dims)


def weights(name: str, *shape: int) -> onnx.TensorProto:
    """Seeded numbers."""
    rng = np.random.default_rng(0)
    return numpy_helper.from_array((0.1 * rng.standard_normal(shape)).astype(np.float32), name)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
    **more: Any,
) -> onnx.ModelProto:
    """A model; `more` goes to ``make_model``."""
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", _OPSET), *more.pop("domains", ())]
    return helper.make_model(graph, opset_imports=opsets, **{"ir_version": _IR, **more})


def mapped(dims: Dims, result: Dims = None, dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Every number to another, so that the result has the shape of the input."""
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    if dtype == TensorProto.FLOAT:
        node = helper.make_node("Relu", ["x"], ["y"])
    return model_of([node], [value("x", dims, dtype)], [value("y", dims if result is None else result)])


def convolved(dims: Dims, result: Dims) -> onnx.ModelProto:
    """Images [batch, 3, height, width] to [batch, 4]."""
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    return model_of(nodes, [value("x", dims)], [value("y", result)], [weights("k", 4, 3, 3, 3)])


def turned(dims: Dims, result: Dims) -> onnx.ModelProto:
    """A matrix whose axes change places."""
    node = helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])
    return model_of([node], [value("x", dims)], [value("y", result)])


def product(x: Dims, z: Dims, result: Dims) -> onnx.ModelProto:
    """The matrix product of two inputs."""
    node = helper.make_node("MatMul", ["x", "z"], ["y"])
    return model_of([node], [value("x", x), value("z", z)], [value("y", result)])


def outside(tensor: onnx.TensorProto, location: str, *, start: int = 0, length: bool = True) -> bytes:
    """Moves a constant into a file beside the model; returns its bytes."""
    content = bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    about = {"location": location, "offset": str(start), **({"length": str(len(content))} if length else {})}
    for key, text in about.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, text
    return content


def matrix(where: str = "graph") -> tuple[onnx.ModelProto, onnx.TensorProto]:
    """A matrix product, and its weights in the ``graph``, a ``node``, a ``branch`` or a ``function``."""
    ins, outs = [value("x", ["batch", 32])], [value("y", ["batch", 32])]
    w = weights("w", 32, 32)
    constant = helper.make_node("Constant", [], ["w"], value=w)
    times = helper.make_node("MatMul", ["x", "w"], ["y"])
    if where == "node":
        model = model_of([constant, times], ins, outs)
        return model, model.graph.node[0].attribute[0].t
    if where == "branch":
        yes = helper.make_graph([times], "yes", [], [value("y", None)], [w])
        no = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "no", [], [value("y", None)])
        choice = helper.make_node("If", ["c"], ["y"], then_branch=yes, else_branch=no)
        model = model_of([choice], [*ins, value("c", [], TensorProto.BOOL)], outs)
        branch = next(a.g for a in model.graph.node[0].attribute if a.name == "then_branch")
        return model, branch.initializer[0]
    if where == "function":
        own = [helper.make_opsetid("", _OPSET)]
        function = helper.make_function("own", "Times", ["x"], ["y"], [constant, times], own)
        call = helper.make_node("Times", ["x"], ["y"], domain="own")
        model = model_of([call], ins, outs, functions=[function], domains=[helper.make_opsetid("own", 1)])
        return model, model.functions[0].node[0].attribute[0].t
    model = model_of([times], ins, outs, [w])
    return model, model.graph.initializer[0]


def saved(folder: Path, model: onnx.ModelProto, files: dict[str, bytes]) -> Path:
    """A model in a folder of its own, with files beside it."""
    for location, content in files.items():
        (folder / location).parent.mkdir(parents=True, exist_ok=True)
        (folder / location).write_bytes(content)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path
