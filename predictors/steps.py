"""A model as a program of steps that depend on each other, and what runtimes make of it.

Where `predictors.kernels` counts work, this keeps who reads whom: on devices that run branches at the same
time, or merge convolutions of one tensor, the wiring decides the latency as much as the work does.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, assert_never

from mobinas.errors import PredictorError
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
from predictors.model_calls import OnnxModel, shapes_of, sized
from predictors.model_file import ModelFile

if TYPE_CHECKING:
    import onnx

KINDS = ("dense", "pointwise", "depthwise", "linear", "pool", "sum", "elementwise", "concat", "other")
_HOSTS = ("dense", "pointwise", "depthwise", "linear", "sum")
_GIVEN, _ZEROS = "given", "zeros"


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel of a model, for one image.

    Attributes:
        kind: One of `KINDS`; or ``given`` for the model's input, ``zeros`` for a constant.
        work: Multiply-accumulates of convolutions and linear layers, taps of pools, elements of others.
        inputs: Positions of the steps that it reads.
        detail: What convolutions must share to be merged: window, stride, groups.
    """

    kind: str
    work: float
    inputs: tuple[int, ...]
    detail: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """Steps in an order in which they can run.

    Attributes:
        steps: All but constants lead to the last one, the model's output.
    """

    steps: tuple[Step, ...]

    def without_constants(self) -> "Program":
        """What is left when everything that does not depend on the model's input is computed beforehand.

        A sum with a constant costs nothing more, as it can be folded into what it is added to.
        """
        constant = [False] * len(self.steps)
        alias = list(range(len(self.steps)))
        for position, step in enumerate(self.steps):
            varying = [i for i in step.inputs if not constant[i]]
            constant[position] = step.kind != _GIVEN and not varying
            if step.kind == "sum" and len(varying) == 1:
                alias[position] = alias[varying[0]]
        if constant[-1]:
            return self
        steps = [replace(step, inputs=tuple(alias[i] for i in step.inputs)) for step in self.steps]
        return _reaching(steps, alias[-1])

    def without_repeats(self) -> "Program":
        """Elementwise steps of one tensor are computed once."""
        first: dict[tuple[object, ...], int] = {}
        alias: list[int] = []
        steps: list[Step] = []
        for position, step in enumerate(self.steps):
            here = replace(step, inputs=tuple(alias[i] for i in step.inputs))
            steps.append(here)
            key = (here.work, here.inputs) if here.kind == "elementwise" else (position,)
            alias.append(first.setdefault(key, position))
        return _reaching(steps, alias[-1])

    def mergeable(self) -> list[int]:
        """Positions of convolutions that a convolution of the same tensor and shape precedes."""
        seen: set[tuple[object, ...]] = set()
        found: list[int] = []
        for position, step in enumerate(self.steps):
            if not step.detail:
                continue
            key = (step.kind, step.detail, step.work, step.inputs)
            if key in seen:
                found.append(position)
            seen.add(key)
        return found

    def rectified_apart(self) -> list[int]:
        """Positions of elementwise steps that cannot be fused into what they read.

        Runtimes fuse them into a convolution or a sum whose result nothing else reads.
        """
        readers = [0] * len(self.steps)
        for step in self.steps:
            for i in step.inputs:
                readers[i] += 1
        return [
            position
            for position, step in enumerate(self.steps)
            if step.kind == "elementwise"
            and not any(readers[i] == 1 and self.steps[i].kind in _HOSTS for i in step.inputs)
        ]


def program_of(graph: Graph) -> Program:
    """The steps of a Graph's first output; batch normalisation behind a convolution is folded into it."""
    steps: list[Step] = []
    place: list[int] = []
    for node in graph.merged().nodes:
        inputs = [place[i] for i in node.inputs]
        folded = isinstance(node.layer, BatchNorm2d) and steps[inputs[0]].detail
        place.append(inputs[0] if folded else _append(steps, _step_of(graph, node), inputs))
    return _reaching(steps, place[graph.outputs[0]])


def _step_of(graph: Graph, node: Node) -> Step:
    layer, size = node.layer, float(math.prod(node.shape))
    match layer:
        case Input():
            return Step(_GIVEN, 0, ())
        case Zeros():
            return Step(_ZEROS, 0, ())
        case Conv2d():
            return _conv(layer.kernel, layer.stride, layer.groups, layer.in_channels, size)
        case RepConv2d():
            raise AssertionError("a merged graph has no branches")
        case BatchNorm2d() | ReLU() | HardSwish() | HardSigmoid() | Crop():
            return Step("elementwise", size, ())
        case Pool2d():
            return Step("pool", size * layer.kernel**2, ())
        case GlobalAvgPool():
            return Step("pool", float(math.prod(graph.nodes[node.inputs[0]].shape)), ())
        case Add() | Scale():
            return Step("sum", size, ())
        case Concat():
            return Step("concat", size, ())
        case Linear():
            return Step("linear", float(layer.in_features * layer.out_features), ())
        case _:
            assert_never(layer)


def _conv(window: tuple[int, ...], stride: tuple[int, ...], groups: int, channels: int, size: float) -> Step:
    taps = math.prod(window)
    depthwise = 1 < groups == channels
    kind = "depthwise" if depthwise else "pointwise" if taps == 1 and groups == 1 else "dense"
    return Step(kind, size * taps * channels / groups, (), (*window, *stride, groups))


def _append(steps: list[Step], step: Step, inputs: list[int]) -> int:
    """Appends a step, a sum of many as a chain of sums of two."""
    if step.kind == _ZEROS:
        inputs = []
    if step.kind == "sum":
        total = inputs[0]
        for term in inputs[1:]:
            steps.append(replace(step, inputs=(total, term)))
            total = len(steps) - 1
        return total
    steps.append(replace(step, inputs=tuple(inputs)))
    return len(steps) - 1


def _reaching(steps: list[Step], output: int) -> Program:
    needed = {output}
    for position in range(output, -1, -1):
        if position in needed:
            needed.update(steps[position].inputs)
    new = {old: position for position, old in enumerate(sorted(needed))}
    return Program(tuple(replace(steps[i], inputs=tuple(new[j] for j in steps[i].inputs)) for i in new))


_SAME = {"Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout", "Cast"}
_ELEMENTWISE = {"Relu", "Clip", "Sigmoid", "HardSwish", "HardSigmoid", "LeakyRelu", "Tanh", "Slice"}
_SUMS = {"Add", "Sum", "Mul", "Sub", "Div"}


def program_of_model(source: OnnxModel) -> Program:
    """The steps of an ONNX model's first output, for a batch of one.

    Args:
        source: Any classifier, as a file or in memory.

    Raises:
        PredictorError: Its sizes are open, or its shapes cannot be inferred.
    """
    file = ModelFile.of(source)
    model = sized(file, file.fixed_batch or 1)
    shapes = shapes_of(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    steps: list[Step] = []
    place: dict[str, int] = {}
    for value in model.graph.input:
        if value.name not in constants:
            place[value.name] = _append(steps, Step(_GIVEN, 0, ()), [])
    for node in model.graph.node:
        inputs = [place[name] for name in node.input if name in place]
        position = inputs[0] if inputs else -1
        folded = node.op_type == "BatchNormalization" and inputs and steps[inputs[0]].detail
        if not inputs or node.op_type in ("Shape", "ConstantOfShape"):
            position = _append(steps, Step(_ZEROS, 0, ()), [])
        elif not folded and node.op_type not in _SAME:
            position = _append(steps, _onnx_step(node, shapes, len(inputs)), inputs)
        place.update(dict.fromkeys(node.output, position))
    output = model.graph.output[0].name
    if output not in place:
        raise PredictorError(f"output '{output}' of {file.name} is a constant; nothing is computed for it")
    return _reaching(steps, place[output])


def _onnx_step(node: "onnx.NodeProto", shapes: dict[str, tuple[int, ...]], n_inputs: int) -> Step:
    kind, shape = node.op_type, _known(shapes, node.output[0])
    given = _known(shapes, node.input[0])
    size = float(math.prod(shape))
    if kind == "Conv":
        weight = shapes[node.input[1]]
        stride = tuple(_attribute(node, "strides", [1] * len(weight[2:])))
        groups = _attribute(node, "group", 1)
        return _conv(weight[2:], stride, groups, weight[1] * groups, size)
    if kind in ("MaxPool", "AveragePool"):
        return Step("pool", size * math.prod(_attribute(node, "kernel_shape", [1])), ())
    if kind in ("GlobalAveragePool", "ReduceMean"):
        return Step("pool", float(math.prod(given)), ())
    if kind in ("Gemm", "MatMul"):
        return Step("linear", size * given[-1], ())
    if kind in _SUMS:
        return Step("sum" if n_inputs > 1 else "elementwise", size, ())
    if kind == "Concat":
        return Step("concat", size, ())
    return Step("elementwise" if kind in _ELEMENTWISE or kind == "BatchNormalization" else "other", size, ())


def _known(shapes: dict[str, tuple[int, ...]], name: str) -> tuple[int, ...]:
    if name not in shapes:
        raise PredictorError(f"the shape of '{name}' cannot be inferred; export the model with fixed sizes")
    return shapes[name]


def _attribute(node: "onnx.NodeProto", name: str, default: Any) -> Any:
    import onnx

    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)
