"""The primitives of a cell, as data.

An op is a fragment: a short sequence of steps that `mobinas.graph.lower` turns into layers. Everything
else (torch modules, costs, ONNX, latency features, encodings, drawings) follows from the one lowering, so
a new op is one line in `OPS`. Shapes and strides follow the DARTS search space (Liu et al., 2019,
https://arxiv.org/abs/1806.09055); convolutions run in the order ReLU, convolution, batch normalisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mobinas.errors import ArchitectureError, did_you_mean


@dataclass(frozen=True, slots=True)
class Relu:
    """max(x, 0)."""


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution without bias that keeps the number of channels; padded so that only stride shrinks it.

    Attributes:
        kernel: Height and width in pixels.
        dilation: Distance between the taps, in pixels.
        depthwise: One filter per channel instead of a full mixture.
        strided: The axes on which the op's stride acts here.
    """

    kernel: tuple[int, int]
    dilation: int = 1
    depthwise: bool = False
    strided: Literal["both", "height", "width", "none"] = "both"


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """Batch normalisation (affine outside of search)."""


@dataclass(frozen=True, slots=True)
class Pool:
    """3x3 pooling; padding is not counted in the mean. In search a batch normalisation follows it."""

    kind: Literal["max", "avg"]


@dataclass(frozen=True, slots=True)
class FactorizedReduce:
    """Halves height and width: two 1x1 convolutions of stride 2, one shifted by a pixel, concatenated."""


@dataclass(frozen=True, slots=True)
class Zero:
    """All zeros; exists in search only."""


Step = Relu | Conv | BatchNorm | Pool | FactorizedReduce | Zero


@dataclass(frozen=True, slots=True)
class Op:
    """A primitive of the cell space.

    Attributes:
        name: As used in genotypes.
        steps: What it computes.
        steps_at_stride_2: What it computes on an edge that halves height and width, where that differs.
    """

    name: str
    steps: tuple[Step, ...]
    steps_at_stride_2: tuple[Step, ...] | None = None

    def fragment(self, stride: int) -> tuple[Step, ...]:
        """The steps on an edge of this stride (1 or 2)."""
        return self.steps_at_stride_2 if stride == 2 and self.steps_at_stride_2 is not None else self.steps


def _conv(size: int) -> tuple[Step, ...]:
    return (Relu(), Conv((size, size)), BatchNorm())


def _separable(size: int) -> tuple[Step, ...]:
    pointwise = Conv((1, 1), strided="none")
    first = (Relu(), Conv((size, size), depthwise=True), pointwise, BatchNorm())
    second = (Relu(), Conv((size, size), depthwise=True, strided="none"), pointwise, BatchNorm())
    return first + second


def _dilated(size: int) -> tuple[Step, ...]:
    depthwise = Conv((size, size), dilation=2, depthwise=True)
    return (Relu(), depthwise, Conv((1, 1), strided="none"), BatchNorm())


OPS: dict[str, Op] = {
    op.name: op
    for op in (
        Op("none", (Zero(),)),
        Op("skip_connect", (), (FactorizedReduce(),)),
        Op("conv_3x3", _conv(3)),
        Op("conv_5x5", _conv(5)),
        Op("sep_conv_3x3", _separable(3)),
        Op("sep_conv_5x5", _separable(5)),
        Op("sep_conv_7x7", _separable(7)),
        Op("dil_conv_3x3", _dilated(3)),
        Op("dil_conv_5x5", _dilated(5)),
        Op(
            "conv_7x1_1x7",
            (Relu(), Conv((1, 7), strided="width"), Conv((7, 1), strided="height"), BatchNorm()),
        ),
        Op("max_pool_3x3", (Pool("max"),)),
        Op("avg_pool_3x3", (Pool("avg"),)),
    )
}

OP_SETS: dict[str, tuple[str, ...]] = {
    "darts": (
        "none",
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
        "max_pool_3x3",
        "avg_pool_3x3",
    ),
    "seed": (
        "none",
        "skip_connect",
        "conv_3x3",
        "conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
        "max_pool_3x3",
        "avg_pool_3x3",
    ),
    "all": tuple(OPS),
}


def op_set(spec: str | Sequence[str]) -> tuple[str, ...]:
    """Resolves a named set of ops, or checks a list of op names.

    Args:
        spec: A key of `OP_SETS`, or the names of ops.

    Returns:
        Distinct op names, in the order of the set or list.

    Raises:
        ArchitectureError: An unknown set or op, a repeated op, or no op besides ``none``.
    """
    if isinstance(spec, str):
        if spec not in OP_SETS:
            raise ArchitectureError(f"unknown op set '{spec}'{did_you_mean(spec, OP_SETS)}")
        return OP_SETS[spec]
    names = tuple(spec)
    for name in names:
        if name not in OPS:
            raise ArchitectureError(f"unknown op '{name}'{did_you_mean(name, OPS)}")
    if len(set(names)) != len(names):
        raise ArchitectureError(f"an op is listed twice in {list(names)}; name each op once")
    if not set(names) - {"none"}:
        raise ArchitectureError("a space needs at least one op besides 'none'")
    return names
