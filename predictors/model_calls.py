"""The kernel calls of an ONNX model: as this machine's runtime executes it, or read from the file alone."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mobinas.errors import MeasurementError, PredictorError
from predictors.layout import Call, Sizes
from predictors.model_file import ModelFile

if TYPE_CHECKING:
    import onnx

OnnxModel: TypeAlias = "Path | onnx.ModelProto | ModelFile"

_RECTIFIERS = {"Relu", "Clip", "LeakyRelu", "HardSigmoid"}
_NOTHING = {"Constant", "Identity", "Dropout"}
# Applied to a convolution's result, in a pass of its own; alone, hard swish runs as two operators.
_ACTIVATIONS = {"Clip", "LeakyRelu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh"}
_ALONE = {"HardSwish": ("HardSwish", "HardSigmoid")}
_BLOCKS = (8, 16)


def calls_of_model(model: OnnxModel, block: int, batch: int = 1) -> list[Call]:
    """The kernel calls of a model.

    Without blocks the file itself tells them. With blocks, what happens between layouts is only known after
    the runtime's own optimisation, so the model is opened here and runs once under the profiler.

    Args:
        model: A file or a model in memory, with its weights.
        block: Channels per block on the target; 1 where its runtime knows no blocked layout.
        batch: Images per inference; taken where the model leaves it open.

    Raises:
        PredictorError: Open sizes beside the batch that are not bound, or shapes that cannot be inferred.
        MeasurementError: This machine's runtime cannot execute the model.
    """
    file = ModelFile.of(model)
    outline = sized(file, batch)
    if block > 1:
        return with_activations(outline, _executed(file, batch), batch)
    return _read(outline, batch)


def _read(model: "onnx.ModelProto", batch: int) -> list[Call]:
    shapes = shapes_of(model, batch)
    readers = Counter(name for node in model.graph.node for name in node.input)
    weights = {tensor.name for tensor in model.graph.initializer}
    calls: list[Call] = []
    producer: dict[str, int] = {}
    for node in model.graph.node:
        result = node.output[0]
        before = producer.get(node.input[0], -1) if node.input else -1
        follows = before >= 0 and readers[node.input[0]] == 1
        if node.op_type in _NOTHING:
            continue
        if follows and node.op_type == "BatchNormalization" and calls[before].op == "Conv":
            call = calls[before]
            calls[before] = Call(call.op, (*call.inputs[:2], call.output[1:2]), call.output)
            producer[result] = before
            continue
        if follows and node.op_type in _RECTIFIERS and calls[before].op == "Conv":
            free = node.op_type == "Relu"
            calls[before] = replace(calls[before], op="FusedConv", activation="" if free else node.op_type)
            continue
        if node.op_type == "Conv" or node.op_type == "BatchNormalization":
            producer[result] = len(calls)
        if node.op_type == "HardSwish":
            calls += _hard_swish(shapes[result])
            continue
        packed = node.op_type in ("Gemm", "MatMul")
        inputs = [
            shapes[name]
            for name in node.input
            if name in shapes and not (packed and name in weights and len(shapes[name]) == 2)
        ]
        calls.append(Call(node.op_type, tuple(inputs), shapes.get(result, (1,))))
    return calls


def _hard_swish(shape: Sizes) -> list[Call]:
    return [Call("HardSigmoid", (shape,), shape), Call("Mul", (shape, shape), shape)]


def _executed(file: ModelFile, batch: int) -> list[Call]:
    from mobinas.targets.target import Target
    from predictors.worker.trace import trace

    sizes = tuple(file.sizes(batch).items())
    try:
        return [Call(*k[:4]) for k in trace(file.source, Target(batch=batch), runs=1, sizes=sizes)]
    except MeasurementError as error:
        raise MeasurementError(f"{file.name}: {error}") from error


def with_activations(model: "onnx.ModelProto", calls: Sequence[Call], batch: int = 1) -> list[Call]:
    """Adds the activations that convolutions have taken up, which the runtime's profiler does not show.

    An activation behind a convolution that does not run on its own is within it. Of convolutions of equal
    shapes, those that run first are taken to come first in the file.

    Args:
        model: What ran, its inputs of fixed sizes.
        calls: As the profiler showed them.
        batch: Images per inference; taken where the model leaves it open.

    Raises:
        PredictorError: Shapes cannot be inferred.
    """
    if not any(node.op_type in _ACTIVATIONS for node in model.graph.node):
        return list(calls)
    shapes = shapes_of(model, batch)
    readers = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    alone = Counter((call.op, call.output) for call in calls)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    ends = [_end(node.output[0], readers) for node in convolutions]
    behind = {readers[end][0].output[0] for end in ends if len(readers[end]) == 1}
    for node in model.graph.node:
        if node.op_type in _ACTIVATIONS and node.output[0] not in behind:
            _ran_alone(node.op_type, shapes.get(node.output[0], ()), alone)
    taken_up: dict[tuple[Sizes, ...], list[str]] = defaultdict(list)
    for node, end in zip(convolutions, ends, strict=True):
        only = readers[end][0].op_type if len(readers[end]) == 1 else ""
        output = shapes.get(end, ())
        fused = only in _ACTIVATIONS and not _ran_alone(only, output, alone)
        key = (
            _in_blocks(shapes.get(node.input[0], ())),
            shapes.get(node.input[1], ())[2:],
            _in_blocks(output),
        )
        taken_up[key].append(only if fused else "")
    result = []
    for call in calls:
        if call.op in ("Conv", "FusedConv"):
            key = (_in_blocks(call.inputs[0]), call.inputs[1][2:], _in_blocks(call.output))
            call = replace(call, activation=taken_up[key].pop(0) if taken_up[key] else "")
        result.append(call)
    return result


def _end(result: str, readers: "Mapping[str, list[onnx.NodeProto]]") -> str:
    """What a convolution's result becomes by batch normalisation and sums that alone read it."""
    while [reader.op_type for reader in readers[result]] in (["BatchNormalization"], ["Add"]):
        result = readers[result][0].output[0]
    return result


def _ran_alone(op: str, shape: Sizes, alone: "Counter[tuple[str, Sizes]]") -> bool:
    """Whether a call of an activation of this shape, plain or padded to blocks, is left; it is taken away."""
    padded = ((*shape[:1], -(-shape[1] // block) * block, *shape[2:]) for block in _BLOCKS if len(shape) > 1)
    for form in (shape, *padded):
        for name in _ALONE.get(op, (op,)):
            if alone[name, form]:
                alone[name, form] -= 1
                return True
    return False


def _in_blocks(sizes: Sizes) -> Sizes:
    """Sizes with channels in whole blocks, equal for a plain value and the same in blocks."""
    return (*sizes[:1], -(-sizes[1] // _BLOCKS[-1]), *sizes[2:]) if len(sizes) > 1 else sizes


def sized(model: OnnxModel, batch: int) -> "onnx.ModelProto":
    """A model without large weights, its inputs of fixed sizes.

    Args:
        model: A file or a model in memory.
        batch: Images per inference; taken where the model leaves it open.

    Raises:
        PredictorError: Its sizes are open beside the batch and not bound, or its inputs are not of numbers.
    """
    file = ModelFile.of(model)
    try:
        return file.sized(batch)
    except MeasurementError as error:
        raise PredictorError(str(error)) from error


def shapes_of(model: "onnx.ModelProto", batch: int = 1) -> dict[str, Sizes]:
    """Shapes of all tensors of a model that can be inferred, by name.

    Args:
        model: Of fixed input sizes, see `sized`.
        batch: Images per inference; taken where a shape stays open.

    Raises:
        PredictorError: Shapes cannot be inferred.
    """
    try:
        inferred = _inferred(model).graph
    except Exception as error:
        # onnx raises its own InferenceError as well as plain RuntimeError.
        raise PredictorError(
            f"the shapes of this model cannot be inferred: {error}".splitlines()[0]
        ) from error
    shapes = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(d.dim_value if d.HasField("dim_value") else batch for d in dims)
    return shapes


def _inferred(model: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx

    infer = partial(onnx.shape_inference.infer_shapes, data_prop=True)
    try:
        return infer(model)
    except onnx.shape_inference.InferenceError:
        # Shapes that were noted at export may belong to other sizes of the inputs.
        bare = onnx.ModelProto()
        bare.CopyFrom(model)
        del bare.graph.value_info[:]
        for value in bare.graph.output:
            value.type.tensor_type.ClearField("shape")
        return infer(bare)
