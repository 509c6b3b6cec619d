"""Exact multiply-accumulates of any ONNX file, for networks that have no Graph."""

import math

import onnx
from onnx import helper, shape_inference


def count_macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image.

    Args:
        model: With static shapes apart from a leading batch axis, which counts as 1.

    Returns:
        The sum over all Conv, Gemm and MatMul nodes.
    """
    graph = shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    return sum(_node_macs(node, shapes) for node in graph.node)


def _node_macs(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    if node.op_type == "Conv":
        return math.prod(shapes[node.output[0]][1:]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "MatMul":
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        flags = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        inner = shapes[node.input[1]][1 if flags.get("transB", 0) else 0]
        return math.prod(shapes[node.output[0]]) * inner
    return 0
