"""What an ONNX model computes apart from its weights, as a digest: equal structure, equal latency."""

import hashlib
from collections.abc import Iterable
from typing import Any

import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from mobinas.arch.genotype import digest_of


def structure_digest(model: onnx.ModelProto) -> str:
    """SHA-256 of a model's structure.

    Nodes, attributes, shapes and types of the constants, inputs, outputs and operator sets count; the values
    of weights, the names of tensors, and metadata do not. Constants of type int64 (shapes, axes, indices)
    count with their values.

    Args:
        model: Any ONNX model; one whose weights lie in files beside it need not have them loaded.

    Returns:
        64 hex digits, equal for two writes of one network with different weights.
    """
    opsets = sorted((entry.domain or "ai.onnx", entry.version) for entry in model.opset_import)
    functions = sorted(f.SerializeToString(deterministic=True) for f in model.functions)
    return digest_of(
        {
            "opsets": opsets,
            "graph": _Namer().graph(model.graph),
            "functions": [hashlib.sha256(function).hexdigest() for function in functions],
        }
    )


class _Namer:
    """Replaces names by their order of appearance."""

    def __init__(self, outer: "_Namer | None" = None) -> None:
        self._outer = outer
        self._numbers: dict[str, int] = {}
        self._constants: dict[str, TensorProto] = {}
        self._dims: dict[str, int] = {} if outer is None else outer._dims

    def graph(self, graph: onnx.GraphProto) -> dict[str, Any]:
        """The graph as plain data without names."""
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        # Older files list their constants among the inputs, too.
        inputs = [value for value in graph.input if value.name not in self._constants]
        for value in inputs:
            self._define(value.name)
        nodes = [self._node(node) for node in graph.node]
        return {
            "inputs": [self._type(value) for value in inputs],
            "nodes": nodes,
            "outputs": [[self._use(value.name), self._type(value)] for value in graph.output],
        }

    def _node(self, node: onnx.NodeProto) -> list[Any]:
        uses = [self._use(name) for name in node.input]
        attributes = sorted(([a.name, *self._attribute(a)] for a in node.attribute), key=lambda a: str(a[0]))
        for name in node.output:
            self._define(name)
        return [node.domain, node.op_type, uses, len(node.output), attributes]

    def _define(self, name: str) -> None:
        if name:
            self._numbers[name] = len(self._numbers)

    def _use(self, name: str) -> Any:
        if name in self._constants and name not in self._numbers:
            self._define(name)
            return ["constant", self._numbers[name], _tensor(self._constants[name])]
        if name in self._numbers or not name:
            return self._numbers.get(name)
        return ["outer", self._outer._use(name)] if self._outer is not None else None

    def _attribute(self, attribute: AttributeProto) -> Iterable[Any]:
        kind = attribute.type
        if kind == AttributeProto.TENSOR:
            return kind, _tensor(attribute.t)
        if kind == AttributeProto.GRAPH:
            return kind, _Namer(self).graph(attribute.g)
        if kind == AttributeProto.GRAPHS:
            return kind, [_Namer(self).graph(graph) for graph in attribute.graphs]
        if kind in (AttributeProto.TENSORS, AttributeProto.SPARSE_TENSOR, AttributeProto.TYPE_PROTO):
            return kind, attribute.SerializeToString(deterministic=True).hex()
        value = helper.get_attribute_value(attribute)
        return kind, repr(list(value) if not isinstance(value, bytes | float | int) else value)

    def _type(self, value: onnx.ValueInfoProto) -> list[Any]:
        tensor = value.type.tensor_type
        dims: list[Any] = []
        for dim in tensor.shape.dim:
            if dim.HasField("dim_value"):
                dims.append(dim.dim_value)
            else:
                dims.append(f"symbol{self._dims.setdefault(dim.dim_param, len(self._dims))}")
        return [tensor.elem_type, dims]


def _tensor(tensor: TensorProto) -> list[Any]:
    known = tensor.data_type == TensorProto.INT64 and tensor.data_location != TensorProto.EXTERNAL
    values = numpy_helper.to_array(tensor).ravel().tolist() if known else None
    return [tensor.data_type, list(tensor.dims), values]
