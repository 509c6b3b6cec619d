"""A kernel call as what decides its time: its kind, its arithmetic, the memory that it moves."""

from dataclasses import dataclass, fields
from functools import lru_cache
from math import prod, sqrt

import numpy as np
import numpy.typing as npt

from predictors.layout import Call, Sizes

Floats = npt.NDArray[np.float64]

_FLOAT_BYTES = 4
_WINDOW = 9
# Images have fewer channels than any block; the runtime has a kernel of its own for them.
_IMAGE_CHANNELS = 4

_UNARY = {"Relu", "Clip", "LeakyRelu", "HardSigmoid", "Neg", "Abs", "Cast"}
_SLOW_UNARY = {"HardSwish", "Sigmoid", "QuickGelu", "Gelu", "Tanh", "Erf", "Exp", "Sqrt", "Softmax"}
_BINARY = {"Add", "Sum", "Mul", "Sub", "Div", "Max", "Min", "Pow"}
_VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Shape", "Constant"}
_LINEAR = {"Gemm", "FusedGemm", "MatMul", "FusedMatMul"}
_MOVES = {
    "Concat": "concat",
    "Slice": "slice",
    "Split": "slice",
    "Transpose": "transpose",
    "Pad": "slice",
    "ReorderInput": "reorder_input",
    "ReorderOutput": "reorder_output",
    "BatchNormalization": "batch_norm",
}
# What an activation within a convolution takes per element, relative to a clip.
_EPILOGUES = {"": 0, "Clip": 1, "LeakyRelu": 1, "HardSigmoid": 2, "HardSwish": 2}
_SLOW_EPILOGUE = 4
_GLOBAL = {"GlobalAveragePool", "GlobalMaxPool", "ReduceMean"}


# Every kind, without the suffix ``_blocked`` of those that work on blocks of channels.
KINDS = (
    "conv",
    "image_conv",
    "pointwise",
    "vector_conv",
    "linear",
    "depthwise",
    "grouped",
    "max_pool",
    "avg_pool",
    "global_pool",
    "unary",
    "slow_unary",
    "binary",
    "broadcast",
    "batch_norm",
    "concat",
    "slice",
    "transpose",
    "reorder_input",
    "reorder_output",
    "view",
    "other",
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """One unit of work; kernels that are equal take equal time.

    Attributes:
        kind: Such as ``pointwise_blocked``; what the sizes mean to the time differs by kind.
        work: Multiply-accumulates, or elements written, with channels padded as the runtime pads them.
        read_bytes: Of the inputs that are no weights.
        weight_bytes: Of the weights.
        written_bytes: Of the result.
        in_channels: Of the first input.
        out_channels: Of the result.
        pixels: Height times width of the result.
        taps: Of the window.
        stride: Along one axis.
        epilogue: Of an activation within a convolution, 0 for none or a rectification, which is free: what it
            takes per element, relative to a clip.
    """

    kind: str
    work: int
    read_bytes: int
    weight_bytes: int
    written_bytes: int
    in_channels: int
    out_channels: int
    pixels: int
    taps: int = 1
    stride: int = 1
    epilogue: int = 0


# What a kernel is described by beside its kind, as logarithms.
LOG_FEATURES = tuple(field.name for field in fields(Kernel))[1:]


def log_features(kernels: list[Kernel]) -> Floats:
    """[n, len(LOG_FEATURES)], log(1 + x) of each."""
    values = [[getattr(kernel, name) for name in LOG_FEATURES] for kernel in kernels]
    return np.log1p(np.array(values, dtype=np.float64).reshape(len(kernels), len(LOG_FEATURES)))


@lru_cache(maxsize=65536)
def kernel_of(call: Call) -> Kernel:
    """The kernel behind a call of any operator; unknown ones are of the kind ``other``."""
    op, output = call.op, call.output
    blocked = "_blocked" if call.blocked else ""
    ranks = [*map(len, call.inputs[:2]), len(output)]
    if op in ("Conv", "FusedConv", "NhwcFusedConv") and ranks == [4, 4, 4]:
        return _conv(call, blocked)
    # Without its input's shape, which does not follow from every operator, a kernel is of the kind ``other``.
    if op in _LINEAR and all(ranks) and call.inputs:
        return _linear(call)
    if op in ("MaxPool", "AveragePool") and call.inputs:
        kind = "max_pool" if op == "MaxPool" else "avg_pool"
        stride = _stride(call.inputs[0], output)
        return _kernel(f"{kind}{blocked}", call.inputs, output, work=prod(output) * _WINDOW, stride=stride)
    if op in _GLOBAL and call.inputs:
        return _kernel(f"global_pool{blocked}", call.inputs, output, work=prod(call.inputs[0]))
    if op in _BINARY:
        equal = len({prod(sizes) for sizes in call.inputs}) == 1
        return _kernel("binary" if equal else "broadcast", call.inputs, output)
    if op in _VIEWS:
        return _kernel("view", (), (1,))
    if op in _MOVES:
        # Slices read what they write.
        inputs = (output,) if op in ("Slice", "Split") else call.inputs
        return _kernel(_MOVES[op], inputs, output)
    kind = "unary" if op in _UNARY else "slow_unary" if op in _SLOW_UNARY else "other"
    return _kernel(kind, call.inputs, output)


def _kernel(
    kind: str,
    inputs: tuple[Sizes, ...],
    output: Sizes,
    *,
    work: int | None = None,
    weights: int = 0,
    in_channels: int | None = None,
    taps: int = 1,
    stride: int = 1,
    epilogue: int = 0,
) -> Kernel:
    channels = output[1] if len(output) > 1 else 1
    return Kernel(
        kind=kind,
        work=prod(output) if work is None else work,
        read_bytes=_FLOAT_BYTES * sum(map(prod, inputs)),
        weight_bytes=_FLOAT_BYTES * weights,
        written_bytes=_FLOAT_BYTES * prod(output),
        in_channels=channels if in_channels is None else in_channels,
        out_channels=channels,
        pixels=prod(output[2:]),
        taps=taps,
        stride=stride,
        epilogue=epilogue,
    )


def _conv(call: Call, blocked: str) -> Kernel:
    image, weights, *more = call.inputs
    channels, taps, pixels = image[1], prod(weights[2:]), prod(call.output[2:])
    if weights[1] == 1 and channels > 1:
        kind = "depthwise"
    elif weights[1] < channels:
        kind = "grouped"
    elif pixels == 1 and taps == 1:
        kind = "vector_conv"
    elif taps == 1:
        kind = "pointwise"
    else:
        kind = "image_conv" if channels < _IMAGE_CHANNELS else "conv"
    return _kernel(
        kind + blocked,
        (image, *(sizes for sizes in more if len(sizes) > 1)),
        call.output,
        work=prod(weights) * pixels * call.output[0],
        weights=prod(weights),
        in_channels=channels,
        taps=taps,
        stride=_stride(image, call.output),
        epilogue=_EPILOGUES.get(call.activation, _SLOW_EPILOGUE),
    )


def _linear(call: Call) -> Kernel:
    rows = call.inputs[0]
    inputs, outputs = rows[-1], call.output[-1]
    many = prod(call.output[:-1])
    return _kernel(
        "linear",
        call.inputs[:1],
        call.output,
        work=many * inputs * outputs,
        weights=inputs * outputs,
        in_channels=inputs,
    )


def _stride(image: Sizes, output: Sizes) -> int:
    return max(1, round(sqrt(prod(image[2:]) / max(1, prod(output[2:])))))
