"""A model cut into kernels: the units of work whose times add up to its latency.

Architectures are cut from their lowered Graph, ONNX files from their nodes; both roads give the same kernels
for the same network. Batch normalisation behind a convolution costs nothing, since it is folded into it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np
import numpy.typing as npt

from mobinas.errors import PredictorError
from mobinas.graph.layers import (
    Add,
    BatchNorm2d,
    Concat,
    Conv2d,
    Crop,
    GlobalAvgPool,
    Graph,
    Input,
    Linear,
    Node,
    Pool2d,
    ReLU,
    Shape,
    Zeros,
)

if TYPE_CHECKING:
    import onnx

# onnxruntime's blocked layout (NCHWc) takes convolutions of channels in multiples of 4, padded to 8;
# between it and the plain layout lie reorderings. Seen in optimised graphs of cells of 2 to 16 channels.
_ALIGNMENT = 4
_BLOCK = 8
_FLOAT_BYTES = 4

KINDS = (
    "conv",
    "conv_blocked",
    "pointwise",
    "pointwise_blocked",
    "depthwise",
    "depthwise_blocked",
    "max_pool",
    "avg_pool",
    "relu",
    "add",
    "concat",
    "concat_blocked",
    "crop",
    "global_pool",
    "linear",
    "batch_norm",
    "other",
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """One unit of work, for one image.

    Attributes:
        kind: One of `KINDS`.
        work: Multiply-accumulates, with channels padded as the runtime pads them; or taps, or elements.
        size_bytes: Read and written: inputs, result and weights.
        macs: Multiply-accumulates as `mobinas.graph.cost` counts them.
    """

    kind: str
    work: int
    size_bytes: int
    macs: int = 0


def kernels_of(graph: Graph) -> list[Kernel]:
    """The kernels of a lowered architecture (of its first output's network).

    Args:
        graph: Without auxiliary output, as `lower` gives it by default.

    Returns:
        In topological order; layers that cost nothing have none.
    """
    kernels: list[Kernel] = []
    for node in graph.nodes:
        kernels += kernels_of_node(graph, node)
    return kernels


def kernels_of_node(graph: Graph, node: Node) -> list[Kernel]:
    """The kernels of one node of a Graph."""
    inputs = [graph.nodes[i].shape for i in node.inputs]
    layer, shape = node.layer, node.shape
    match layer:
        case Input():
            return []
        case Conv2d():
            return [_conv(inputs[0], shape, layer.kernel, layer.groups)]
        case BatchNorm2d():
            folded = isinstance(graph.nodes[node.inputs[0]].layer, Conv2d)
            return [] if folded else [_elementwise("batch_norm", 1, shape)]
        case ReLU():
            return [_elementwise("relu", 1, shape)]
        case Pool2d():
            return [_pool(f"{layer.kind}_pool", inputs[0], shape, layer.kernel**2)]
        case Crop():
            return [_elementwise("crop", 1, shape)]
        case Zeros():
            return [_elementwise("other", 0, shape)]
        case Add():
            return [_elementwise("add", 2, shape)] * (len(node.inputs) - 1)
        case Concat():
            return [_concat(inputs, shape)]
        case GlobalAvgPool():
            return [_pool("global_pool", inputs[0], shape, inputs[0][1] * inputs[0][2])]
        case Linear():
            return [_linear(layer.in_features, layer.out_features)]
        case _:
            assert_never(layer)


def kernels_of_model(model: "onnx.ModelProto") -> list[Kernel]:
    """The kernels of an ONNX model, for a batch of one.

    Args:
        model: Any classifier of fixed image size; kinds that MOBINAS does not build count as ``other``.

    Returns:
        In the order of the file's nodes; nodes that only rename or reshape have none.

    Raises:
        PredictorError: Shapes cannot be inferred, such as for an open image size.
    """
    shapes = _shapes_of(model)
    kernels: list[Kernel] = []
    convolved: set[str] = set()
    for node in model.graph.node:
        kernels += _of_onnx_node(node, shapes, convolved)
        if node.op_type == "Conv":
            convolved.update(node.output)
    return kernels


_FREE = {"Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Shape", "Constant", "Dropout", "Cast"}
_ELEMENTWISE = {"Relu": "relu", "Clip": "relu", "Slice": "crop", "Sigmoid": "relu", "HardSwish": "relu"}


def _of_onnx_node(
    node: "onnx.NodeProto", shapes: dict[str, tuple[int, ...]], convolved: set[str]
) -> list[Kernel]:
    kind = node.op_type
    if kind in _FREE:
        return []
    given = [_image(shapes[name]) for name in node.input if name in shapes]
    shape = _image(shapes.get(node.output[0], ()))
    if kind == "Conv":
        taps = shapes[node.input[1]][2:]
        return [
            _conv(given[0], shape, (taps[0], taps[-1] if len(taps) > 1 else 1), _attribute(node, "group", 1))
        ]
    if kind in _ELEMENTWISE:
        return [_elementwise(_ELEMENTWISE[kind], 1, shape)]
    if kind in ("Add", "Sum", "Mul"):
        return [_elementwise("add", 2, shape)] * (len(node.input) - 1)
    if kind == "Concat":
        return [_concat(given, shape)]
    if kind in ("MaxPool", "AveragePool"):
        window = int(np.prod(_attribute(node, "kernel_shape", [1])))
        return [_pool("max_pool" if kind == "MaxPool" else "avg_pool", given[0], shape, window)]
    if kind in ("GlobalAveragePool", "ReduceMean"):
        return [_pool("global_pool", given[0], shape, given[0][1] * given[0][2])]
    if kind in ("Gemm", "MatMul") and len(shapes.get(node.input[1], ())) == 2:
        return [_linear(*sorted(shapes[node.input[1]], key=lambda size: size == shape[0]))]
    if kind == "BatchNormalization":
        return [] if node.input[0] in convolved else [_elementwise("batch_norm", 1, shape)]
    return [_elementwise("other", len(given), shape)]


def _shapes_of(model: "onnx.ModelProto") -> dict[str, tuple[int, ...]]:
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph
    except Exception as error:
        # onnx raises its own InferenceError as well as plain RuntimeError.
        raise PredictorError(
            f"the shapes of this model cannot be inferred: {error}".splitlines()[0]
        ) from error
    shapes = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        sizes = tuple(d.dim_value if d.HasField("dim_value") else 1 for d in dims)
        opened = [d.dim_param or "?" for d in dims[1:] if not d.HasField("dim_value")]
        if opened and value.name in {v.name for v in inferred.input}:
            raise PredictorError(
                f"input '{value.name}' has open sizes ({', '.join(opened)}); export the model with fixed ones"
            )
        shapes[value.name] = sizes
    return shapes


def _attribute(node: "onnx.NodeProto", name: str, default: Any) -> Any:
    import onnx

    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)


def _image(sizes: tuple[int, ...]) -> Shape:
    """(channels, height, width) of [batch, channels, ...], missing axes being 1."""
    body = (*sizes[1:], 1, 1, 1)
    return body[0], body[1], body[2] * int(np.prod(sizes[4:])) if len(sizes) > 4 else body[2]


def _count(shape: Shape) -> int:
    return shape[0] * shape[1] * shape[2]


def _conv(given: Shape, shape: Shape, kernel: tuple[int, int], groups: int) -> Kernel:
    inputs, outputs = given[0], shape[0]
    pixels, taps = shape[1] * shape[2], kernel[0] * kernel[1]
    weights = outputs * (inputs // groups) * taps
    size_bytes = _FLOAT_BYTES * (_count(given) + _count(shape) + weights)
    depthwise = groups > 1 and groups == inputs
    kind = "depthwise" if depthwise else "pointwise" if taps == 1 and groups == 1 else "conv"
    # An image of fewer channels than a block enters the blocked layout without being aligned.
    aligned = outputs % _ALIGNMENT == 0 and (
        inputs % _ALIGNMENT == 0 or (inputs < _ALIGNMENT and not depthwise)
    )
    if not aligned:
        return Kernel(kind, weights * pixels, size_bytes, weights * pixels)
    padded = -(-outputs // _BLOCK) * _BLOCK
    work = padded * (inputs // groups) * taps * pixels
    return Kernel(f"{kind}_blocked", work, size_bytes, weights * pixels)


def _elementwise(kind: str, reads: int, shape: Shape) -> Kernel:
    return Kernel(kind, _count(shape), _FLOAT_BYTES * (reads + 1) * _count(shape))


def _pool(kind: str, given: Shape, shape: Shape, taps: int) -> Kernel:
    return Kernel(kind, _count(shape) * taps, _FLOAT_BYTES * (_count(given) + _count(shape)))


def _concat(given: list[Shape], shape: Shape) -> Kernel:
    blocked = all(part[0] % _BLOCK == 0 for part in given)
    return Kernel("concat_blocked" if blocked else "concat", _count(shape), 2 * _FLOAT_BYTES * _count(shape))


def _linear(inputs: int, outputs: int) -> Kernel:
    weights = inputs * outputs
    return Kernel("linear", weights, _FLOAT_BYTES * (weights + inputs + outputs), weights)


# All but the last are terms that a latency is made of; the last is for comparison.
FEATURE_NAMES = (*(f"{kind}.{term}" for kind in KINDS for term in ("count", "work", "size_bytes")), "macs")
_PLACE = {kind: 3 * i for i, kind in enumerate(KINDS)}


def feature_vector(kernels: Iterable[Kernel]) -> npt.NDArray[np.float64]:
    """Sums over kernels, by kind: how many, their work, their bytes; and all multiply-accumulates.

    Returns:
        [len(FEATURE_NAMES)], in that order; additive, so the vector of a network is the sum of its parts'.
    """
    vector = np.zeros(len(FEATURE_NAMES))
    for kernel in kernels:
        place = _PLACE[kernel.kind]
        vector[place] += 1
        vector[place + 1] += kernel.work
        vector[place + 2] += kernel.size_bytes
        vector[-1] += kernel.macs
    return vector
