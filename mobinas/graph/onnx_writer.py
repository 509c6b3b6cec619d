"""Writes a Graph as an ONNX model, without torch.

Batch normalisation is folded into the convolution before it, as every exporter and runtime would do, and what
is trained in branches becomes the one convolution that these amount to; tensors
carry the names of the Graph's nodes. The bytes depend on nothing but the arguments.
"""

import math
from collections.abc import Mapping
from typing import assert_never

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, TensorProto, helper

from mobinas.errors import ExportError
from mobinas.graph.layers import (
    Add,
    BatchNorm2d,
    Concat,
    Conv2d,
    Crop,
    GlobalAvgPool,
    Graph,
    HardSigmoid,
    HardSwish,
    Input,
    Linear,
    Node,
    Pool2d,
    ReLU,
    RepConv2d,
    Scale,
    Zeros,
)
from mobinas.graph.rep import add_branch

INPUT_NAME = "image"
OUTPUT_NAME = "logits"
# The oldest opset with all that is written here in its present form, and the IR version that came with it:
# runtimes on devices lag behind.
OPSET = 17
_IR_VERSION = 8
_EPSILON = 1e-5
_END = np.iinfo(np.int64).max

Floats = npt.NDArray[np.float32]


def write_onnx(
    graph: Graph,
    weights: Mapping[str, Floats] | None = None,
    *,
    seed: int = 0,
    metadata: Mapping[str, str] | None = None,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """The Graph as an ONNX model of one input and one output.

    Args:
        graph: What to write; only its first output, an auxiliary classifier is left out.
        weights: Arrays by ``<node name>.weight``, ``.bias``, ``.running_mean``, ``.running_var``: the state
            of a `GraphModule` without the leading ``layers.``; of branches, ``<node name>.branches.0.conv``
            and so on, as there. Without them, weights are drawn at random (He
            et al., 2015, https://arxiv.org/abs/1502.01852, equation 10), batch normalisation is the identity.
        seed: Of the random weights.
        metadata: Texts by key for the model's ``metadata_props``.
        opset: Version of the default operator set, at least 17.

    Returns:
        A model from ``image`` [batch, channels, height, width] to ``logits`` [batch, classes], both float32
        with a symbolic batch; a graph of one op ends in its feature map instead.

    Raises:
        ExportError: A weight is missing, has the wrong shape, or is not finite; an opset below 17.
    """
    if opset < OPSET:
        raise ExportError(f"opset is {opset}; this writer needs at least {OPSET}")
    model = onnx.ModelProto(ir_version=_IR_VERSION, producer_name="mobinas")
    model.opset_import.add(domain="", version=opset)
    model.graph.name = "mobinas"
    output = graph.nodes[graph.outputs[0]]
    flat = isinstance(output.layer, Linear)
    model.graph.input.append(_value(INPUT_NAME, graph.input_shape))
    model.graph.output.append(_value(OUTPUT_NAME, output.shape[:1] if flat else output.shape))
    _Writer(graph, _Weights(weights, np.random.default_rng(seed)), model.graph).write()
    for key, text in sorted((metadata or {}).items()):
        model.metadata_props.add(key=key, value=text)
    return model


def _value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])


class _Weights:
    """Trained arrays by name, or random ones."""

    def __init__(self, trained: Mapping[str, Floats] | None, rng: np.random.Generator) -> None:
        self._trained = trained
        self._rng = rng

    @property
    def are_trained(self) -> bool:
        """Whether these were given, rather than drawn."""
        return self._trained is not None

    def _look_up(self, name: str, shape: tuple[int, ...]) -> Floats:
        assert self._trained is not None
        if name not in self._trained:
            raise ExportError(f"no weights '{name}'; give the state of a module built from this very graph")
        array = np.asarray(self._trained[name], dtype=np.float32)
        if array.shape != shape:
            raise ExportError(f"weights '{name}' have shape {array.shape}; the graph needs {shape}")
        if not np.isfinite(array).all():
            raise ExportError(f"weights '{name}' are not finite; train again with a lower learning rate")
        return array

    def matrix(self, name: str, shape: tuple[int, ...], gain: float) -> Floats:
        """Weights of [outputs, inputs per output, ...]; random ones have variance gain / inputs."""
        if self._trained is not None:
            return self._look_up(name, shape)
        std = math.sqrt(gain / math.prod(shape[1:]))
        return self._rng.standard_normal(shape, dtype=np.float32) * np.float32(std)

    def bias(self, name: str, size: int) -> Floats:
        """An offset per output; zeros where weights are random."""
        return np.zeros(size, np.float32) if self._trained is None else self._look_up(name, (size,))

    def batch_norm(self, name: str, layer: BatchNorm2d) -> tuple[Floats, Floats, Floats, Floats]:
        """Scale, shift, mean and variance of a batch normalisation."""
        ones, zeros = np.ones(layer.channels, np.float32), np.zeros(layer.channels, np.float32)
        if self._trained is None:
            return ones, zeros, zeros, ones
        shape = (layer.channels,)
        scale = self._look_up(f"{name}.weight", shape) if layer.affine else ones
        shift = self._look_up(f"{name}.bias", shape) if layer.affine else zeros
        variance = self._look_up(f"{name}.running_var", shape)
        if (variance < 0).any():
            raise ExportError(f"weights '{name}.running_var' are negative; recalibrate batch normalisation")
        return scale, shift, self._look_up(f"{name}.running_mean", shape), variance

    def branched(self, name: str, layer: RepConv2d, gain: float) -> tuple[Floats, Floats]:
        """Weight and bias of the convolution that branches amount to."""
        of = layer.merged
        shape = (of.out_channels, of.in_channels // of.groups, *of.kernel)
        if self._trained is None:
            return self.matrix(name, shape, gain), np.zeros(of.out_channels, np.float32)
        weight, bias = np.zeros(shape), np.zeros(of.out_channels)
        for k, branch in enumerate(layer.branches):
            here, taps = f"{name}.branches.{k}", None
            if branch is not None:
                size = (of.out_channels, of.in_channels // of.groups, *branch.kernel)
                taps = self._look_up(f"{here}.conv.weight", size).astype(np.float64)
            scale, shift = affine(*self.batch_norm(f"{here}.bn", BatchNorm2d(of.out_channels)))
            add_branch(weight, bias, of, branch, taps, scale, shift)
        return weight.astype(np.float32), bias.astype(np.float32)


class _Writer:
    """Puts ONNX nodes and initialisers into a GraphProto.

    The messages are filled in place: `onnx.helper` takes three times as long, and thousands of architectures
    may be written for one latency profile.
    """

    def __init__(self, graph: Graph, weights: _Weights, onnx_graph: onnx.GraphProto) -> None:
        self._onnx_graph = onnx_graph
        self._constants: set[str] = set()
        self._graph = graph
        self._weights = weights
        self._live = reached(graph, graph.outputs[0])
        self._folded = graph.folding_norms(self._live)
        # The tensor that holds each node's value.
        self._tensors = [node.name for node in graph.nodes]
        self._tensors[0] = INPUT_NAME

    def write(self) -> None:
        """Writes every node that the first output depends on."""
        end = self._graph.outputs[0]
        if end == 0:
            self._emit("Identity", [INPUT_NAME], OUTPUT_NAME)
        else:
            self._tensors[end] = OUTPUT_NAME
        norms = set(self._folded.values())
        for position, node in enumerate(self._graph.nodes):
            if position in self._live and position not in norms:
                inputs = [self._tensors[i] for i in node.inputs]
                self._layer(position, node, inputs)

    def _layer(self, position: int, node: Node, inputs: list[str]) -> None:
        layer, name, output = node.layer, node.name, self._tensors[position]
        match layer:
            case Input():
                pass
            case Conv2d():
                self._conv(position, layer, inputs)
            case RepConv2d():
                weight, bias = self._weights.branched(name, layer, self._gain(node))
                self._emit_conv(node, layer.merged, inputs, weight, bias, output)
            case BatchNorm2d():
                arrays = self._weights.batch_norm(name, layer)
                parts = ("weight", "bias", "running_mean", "running_var")
                more = [self._constant(f"{name}.{p}", a) for p, a in zip(parts, arrays, strict=True)]
                self._emit("BatchNormalization", inputs + more, output, epsilon=_EPSILON)
            case ReLU():
                self._emit("Relu", inputs, output)
            case HardSwish():
                self._emit("HardSwish", inputs, output)
            case HardSigmoid():
                self._emit("HardSigmoid", inputs, output, alpha=1 / 6, beta=0.5)
            case Pool2d():
                self._pool(layer, inputs, output)
            case Crop():
                ints = {"starts": [1, 1], "ends": [_END, _END], "axes": [2, 3]}
                more = [self._constant(f"crop.{k}", np.array(v, np.int64)) for k, v in ints.items()]
                self._emit("Slice", inputs + more, output)
            case Zeros():
                self._zeros(node, inputs, output)
            case Add():
                self._add(inputs, output)
            case Scale():
                self._emit("Mul", inputs, output)
            case Concat():
                self._emit("Concat", inputs, output, axis=1)
            case GlobalAvgPool():
                self._emit("GlobalAveragePool", inputs, output)
            case Linear():
                self._linear(name, layer, inputs, output)
            case _:
                assert_never(layer)

    def _conv(self, position: int, layer: Conv2d, inputs: list[str]) -> None:
        node = self._graph.nodes[position]
        shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel)
        weight = self._weights.matrix(f"{node.name}.weight", shape, self._gain(node))
        norm, bias, output = self._folded.get(position), None, self._tensors[position]
        if norm is not None:
            weight, bias = self._fold(weight, self._graph.nodes[norm])
            output = self._tensors[norm]
        elif layer.bias:
            bias = self._weights.bias(f"{node.name}.bias", layer.out_channels)
        self._emit_conv(node, layer, inputs, weight, bias, output)

    def _gain(self, node: Node) -> float:
        # Rectification halves the mean square, which the gain of 2 makes up for.
        return 2.0 if isinstance(self._graph.nodes[node.inputs[0]].layer, ReLU | HardSwish) else 1.0

    def _emit_conv(
        self, node: Node, layer: Conv2d, inputs: list[str], weight: Floats, bias: Floats | None, output: str
    ) -> None:
        more = [] if bias is None else [self._constant(f"{node.name}.bias", bias)]
        self._emit(
            "Conv",
            [*inputs, self._constant(f"{node.name}.weight", weight), *more],
            output,
            dilations=[layer.dilation] * 2,
            group=layer.groups,
            kernel_shape=list(layer.kernel),
            pads=list(layer.padding * 2),
            strides=list(layer.stride),
        )

    def _fold(self, weight: Floats, norm: Node) -> tuple[Floats, Floats]:
        assert isinstance(norm.layer, BatchNorm2d)
        arrays = self._weights.batch_norm(norm.name, norm.layer)
        if not self._weights.are_trained:
            return weight, arrays[1]
        scale, shift = affine(*arrays)
        return (weight * scale[:, None, None, None]).astype(np.float32), shift.astype(np.float32)

    def _pool(self, layer: Pool2d, inputs: list[str], output: str) -> None:
        pads, strides, kernel = [layer.padding] * 4, [layer.stride] * 2, [layer.kernel] * 2
        op, more = ("MaxPool", {}) if layer.kind == "max" else ("AveragePool", {"count_include_pad": 0})
        self._emit(op, inputs, output, kernel_shape=kernel, pads=pads, strides=strides, **more)

    def _zeros(self, node: Node, inputs: list[str], output: str) -> None:
        # Not a product with 0, which would pass NaN on.
        self._emit("Shape", inputs, f"{node.name}.batch", start=0, end=1)
        rest = self._constant(f"{node.name}.rest", np.array(node.shape, np.int64))
        self._emit("Concat", [f"{node.name}.batch", rest], f"{node.name}.shape", axis=0)
        self._emit("ConstantOfShape", [f"{node.name}.shape"], output)

    def _add(self, inputs: list[str], output: str) -> None:
        # A chain of Add, as torch computes it; the runtime fuses Add with convolutions, but not Sum.
        total = inputs[0]
        for k, term in enumerate(inputs[1:], start=2):
            result = output if k == len(inputs) else f"{output}.first{k}"
            self._emit("Add", [total, term], result)
            total = result

    def _linear(self, name: str, layer: Linear, inputs: list[str], output: str) -> None:
        shape = (layer.out_features, layer.in_features)
        weight = self._constant(f"{name}.weight", self._weights.matrix(f"{name}.weight", shape, 1.0))
        bias = self._constant(f"{name}.bias", self._weights.bias(f"{name}.bias", layer.out_features))
        self._emit("Flatten", inputs, f"{name}.flat", axis=1)
        self._emit("Gemm", [f"{name}.flat", weight, bias], output, transB=1)

    def _constant(self, name: str, array: Floats | npt.NDArray[np.int64]) -> str:
        if name not in self._constants:
            self._constants.add(name)
            kind = TensorProto.INT64 if array.dtype == np.int64 else TensorProto.FLOAT
            little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
            self._onnx_graph.initializer.add(
                name=name, data_type=kind, dims=array.shape, raw_data=little_endian.tobytes()
            )
        return name

    def _emit(self, op: str, inputs: list[str], output: str, **attributes: int | float | list[int]) -> None:
        node = self._onnx_graph.node.add(op_type=op, name=output, input=inputs, output=[output])
        for key, value in sorted(attributes.items()):
            match value:
                case int():
                    node.attribute.add(name=key, type=AttributeProto.INT, i=value)
                case float():
                    node.attribute.add(name=key, type=AttributeProto.FLOAT, f=value)
                case list():
                    node.attribute.add(name=key, type=AttributeProto.INTS, ints=value)


def affine(
    gamma: Floats, beta: Floats, mean: Floats, variance: Floats
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scale and shift, in double precision, of a batch normalisation by its running statistics."""
    scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + _EPSILON)
    return scale, beta.astype(np.float64) - mean * scale


def reached(graph: Graph, end: int) -> set[int]:
    """Positions of the nodes that a node depends on, itself and the input included."""
    live = {0, end}
    for position in range(end, 0, -1):
        if position in live:
            live.update(graph.nodes[position].inputs)
    return live
