"""Inputs and outputs of an ONNX model, and their sizes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mobinas.runtime import check_type
from mobinas.targets.sizes import Size, Value

if TYPE_CHECKING:
    import onnx


def inputs_of(model: "onnx.ModelProto") -> list[Value]:
    """What must be given to a model; older files list their constants among the inputs, too."""
    return [_value(one) for one in _given(model)]


def outputs_of(model: "onnx.ModelProto") -> list[Value]:
    """What a model gives."""
    return [_value(one) for one in model.graph.output]


def check_types(model: "onnx.ModelProto") -> None:
    """Refuses inputs that are no tensors of numbers; raises as `mobinas.runtime.check_type` does."""
    for value in _given(model):
        check_type(value.name, _type_of(value.type))


def with_sizes(model: "onnx.ModelProto", sizes: Mapping[str, int], batch: int) -> "onnx.ModelProto":
    """A copy whose inputs have no open sizes.

    Args:
        model: Stays as it is.
        sizes: Of dimensions by their names.
        batch: For first dimensions of inputs that are open and have no name.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # Before version 4 shapes of constants that are no inputs count for nothing, though runtimes take them.
    copy.ir_version = max(copy.ir_version, 4)
    for value in (*copy.graph.input, *copy.graph.output, *copy.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in sizes:
                dimension.dim_value = sizes[dimension.dim_param]
            elif _size(dimension) is None:
                dimension.Clear()  # a size below 0
    for value in _given(copy):
        for dimension in value.type.tensor_type.shape.dim[:1]:
            if _size(dimension) is None:
                dimension.dim_value = batch
    return copy


def _given(model: "onnx.ModelProto") -> "list[onnx.ValueInfoProto]":
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _value(value: "onnx.ValueInfoProto") -> Value:
    tensor = value.type.tensor_type
    known = tensor.HasField("shape")
    return Value(value.name, tuple(map(_size, tensor.shape.dim)) if known else None)


def _size(dimension: "onnx.TensorShapeProto.Dimension") -> Size:
    # Sizes below 0 are how some exporters spell an open one.
    if dimension.HasField("dim_value"):
        return dimension.dim_value if dimension.dim_value >= 0 else None
    return dimension.dim_param or None


def _type_of(kind: "onnx.TypeProto") -> str:
    """As onnxruntime spells it."""
    import onnx

    which = kind.WhichOneof("value") or "of no type"
    if which != "tensor_type":
        return which.removesuffix("_type")
    return f"tensor({onnx.TensorProto.DataType.Name(kind.tensor_type.elem_type).lower()})"
