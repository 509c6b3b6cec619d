"""The kernel calls of an ONNX model: as this machine's runtime executes it, or read from the file alone."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mobinas.errors import PredictorError
from predictors.layout import Call, Sizes

if TYPE_CHECKING:
    import onnx

_RECTIFIERS = {"Relu", "Clip", "LeakyRelu", "HardSigmoid"}
_NOTHING = {"Constant", "Identity", "Dropout"}
# Applied to a convolution's result, in a pass of its own; alone, hard swish runs as two operators.
_ACTIVATIONS = {"Clip", "LeakyRelu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh"}
_ALONE = {"HardSwish": ("HardSwish", "HardSigmoid")}
_BLOCKS = (8, 16)


def calls_of_model(model: "onnx.ModelProto", block: int, batch: int = 1) -> list[Call]:
    """The kernel calls of a model.

    Without blocks the file itself tells them. With blocks, what happens between layouts is only known after
    the runtime's own optimisation, so the model is opened here and runs once under the profiler.

    Args:
        model: Any of fixed image size, with its weights.
        block: Channels per block on the target; 1 where its runtime knows no blocked layout.
        batch: Images per inference; taken where the model leaves it open.

    Raises:
        PredictorError: Shapes cannot be inferred, such as for an open image size.
        MeasurementError: This machine's runtime cannot execute the model.
    """
    if block > 1:
        check_sizes(model)
        return _executed(model, batch)
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


def _executed(model: "onnx.ModelProto", batch: int) -> list[Call]:
    from mobinas.targets.target import Target
    from predictors.worker.trace import trace

    content = model.SerializeToString(deterministic=True)
    return with_activations(model, [Call(*k[:4]) for k in trace(content, Target(batch=batch), runs=1)], batch)


def with_activations(model: "onnx.ModelProto", calls: Sequence[Call], batch: int = 1) -> list[Call]:
    """Adds the activations that convolutions have taken up, which the runtime's profiler does not show.

    An activation behind a convolution that does not run on its own is within it. Of convolutions of equal
    shapes, those that run first are taken to come first in the file.

    Args:
        model: What ran.
        calls: As the profiler showed them.
        batch: Images per inference; taken where the model leaves it open.

    Raises:
        PredictorError: Shapes cannot be inferred, such as for an open image size.
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


def check_sizes(model: "onnx.ModelProto") -> None:
    """Refuses a model whose input is open in more than its batch.

    Raises:
        PredictorError: It is; the text names the open sizes.
    """
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        opened = [d.dim_param or "?" for d in dims[1:] if not d.HasField("dim_value")]
        if opened:
            raise PredictorError(
                f"input '{value.name}' has open sizes ({', '.join(opened)}); export it with fixed sizes"
            )


def shapes_of(model: "onnx.ModelProto", batch: int = 1) -> dict[str, Sizes]:
    """Shapes of all tensors of a model that can be inferred, by name.

    Args:
        model: Any of fixed image size.
        batch: Images per inference; taken where the model leaves it open.

    Raises:
        PredictorError: Shapes cannot be inferred, such as for an open image size.
    """
    import onnx

    check_sizes(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
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
