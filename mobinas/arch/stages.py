"""A body of stages: runs of equal blocks, and the sequence of operations that they stand for."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any, TypeVar, assert_never

from mobinas.arch.blocks import (
    ACTIVATIONS,
    BLOCKS,
    HEADS,
    SQUEEZE,
    STEMS,
    Activate,
    Activation,
    AddInput,
    Block,
    Convolution,
    Excite,
    patch_size,
    stem_stride,
)
from mobinas.errors import ArchitectureError, did_you_mean

IDENTITY = "identity"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ConvBn:
    """A convolution and batch normalisation. An odd kernel is padded by half of it, an even one not at all.

    Attributes:
        inputs: Channels read.
        outputs: Channels written.
        kernel: Its side in pixels.
        stride: Along both axes.
        groups: Of channels that do not mix.
        branched: Whether it is trained as parallel k x k, 1x1 and identity branches.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    groups: int = 1
    branched: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """An activation."""

    kind: Activation


@dataclass(frozen=True, slots=True)
class SqueezeExcite:
    """Squeeze-excitation of so many channels, with so many inside."""

    channels: int
    squeezed: int


@dataclass(frozen=True, slots=True)
class Residual:
    """The sum with the value of so many operations before."""

    back: int


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """Mean over height and width."""


@dataclass(frozen=True, slots=True)
class ConvBias:
    """A 1x1 convolution with bias on the pooled value."""

    inputs: int
    outputs: int


Operation = ConvBn | Act | SqueezeExcite | Residual | GlobalPool | ConvBias
Named = tuple[str, Operation]


@dataclass(frozen=True, slots=True)
class Stage:
    """Equal blocks in a row; the first one brings the map to the stage's channels and size.

    Attributes:
        block: A key of `BLOCKS`; ``identity`` leaves the stage out.
        width: Channels of its result; where it is left out, those that it is given.
        depth: Number of blocks.
        stride: 1 or 2, of the first block.
        kernel: Side of its kernels in pixels, odd; 1 for blocks without one to choose.
        expansion: Inner channels per channel read; 1 for blocks that do not expand.
        se: Whether its blocks have squeeze-excitation.
    """

    block: str
    width: int
    depth: int = 1
    stride: int = 1
    kernel: int = 1
    expansion: int = 1
    se: bool = False

    def __post_init__(self) -> None:
        check_known("block", self.block, BLOCKS)
        for name in ("width", "depth", "stride", "kernel", "expansion"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                hint = _HINTS.get(name, "")
                raise ArchitectureError(f"{name} is {value!r}; it must be a whole number of at least 1{hint}")
        if type(self.se) is not bool:
            raise ArchitectureError(f"se is {self.se!r}; it is true or false")
        if self.stride > 2:
            raise ArchitectureError(f"stride is {self.stride}; a stage has stride 1 or 2")
        self._check_block(BLOCKS[self.block])

    def _check_block(self, block: Block) -> None:
        name = block.name
        if block.kernels and (self.kernel < 3 or self.kernel % 2 == 0):
            raise ArchitectureError(f"kernel is {self.kernel}; block '{name}' needs an odd one of at least 3")
        if not block.kernels and self.kernel != 1:
            raise ArchitectureError(f"kernel is {self.kernel}; block '{name}' has none to choose, leave it 1")
        if not block.expansions and self.expansion != 1:
            raise ArchitectureError(
                f"expansion is {self.expansion}; block '{name}' does not expand, leave it 1"
            )
        if self.stride > 1 and not block.can_stride:
            raise ArchitectureError(f"stride is {self.stride}; block '{name}' can only keep the size")
        if self.se and not block.can_excite:
            raise ArchitectureError(f"block '{name}' has no place for squeeze-excitation; leave se false")


_HINTS = {
    "depth": "; block 'identity' leaves a stage out",
    "expansion": ", else the block has no channels inside",
}


@dataclass(frozen=True, slots=True)
class StageBody:
    """Stem, stages and head.

    Attributes:
        stem: A key of `STEMS`.
        stem_width: Channels of the stem's result.
        stages: In order.
        head: A key of `HEADS`.
        head_width: Channels of the wider layer; 0 for the head ``linear``, which has none.
        activation: Of all blocks, the stem and the head.

    Raises:
        ArchitectureError: A rule is broken; the text names value and rule.
    """

    stem: str
    stem_width: int
    stages: tuple[Stage, ...]
    head: str = "linear"
    head_width: int = 0
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_known("stem", self.stem, STEMS)
        check_known("head", self.head, HEADS)
        check_known("activation", self.activation, ACTIVATIONS)
        if type(self.stem_width) is not int or self.stem_width < max(c.part for c in STEMS[self.stem]):
            raise ArchitectureError(f"stem_width is {self.stem_width!r}; stem '{self.stem}' needs channels")
        wants = self.head != "linear"
        if type(self.head_width) is not int or (self.head_width < 1 if wants else self.head_width != 0):
            rule = "at least 1 channel" if wants else "no wider layer, leave it 0"
            raise ArchitectureError(f"head_width is {self.head_width!r}; head '{self.head}' needs {rule}")
        object.__setattr__(self, "stages", as_tuple("stages", self.stages))
        if not self.stages or not all(isinstance(stage, Stage) for stage in self.stages):
            raise ArchitectureError("a body needs at least one Stage; block 'identity' leaves one out")
        for _ in self.operations(1):
            pass

    @property
    def stride(self) -> int:
        """Input pixels per pixel of the last stage, along one axis."""
        total = stem_stride(self.stem)
        for stage in self.stages:
            total *= stage.stride
        return total

    @property
    def patch(self) -> int:
        """The resolution must be a multiple of this."""
        return patch_size(self.stem)

    def input_widths(self) -> tuple[int, ...]:
        """Channels that each stage is given."""
        return (self.stem_width, *(stage.width for stage in self.stages[:-1]))

    def operations(self, in_channels: int) -> Iterator[Named]:
        """What the body computes between the image and the classifier, operation by operation.

        Identity blocks leave none, and nothing but its name tells which stage an operation comes from: bodies
        with equal operations, names apart, compute the same.

        Args:
            in_channels: Channels of the image.

        Yields:
            Names (slashes separate parts) and operations; each reads the result of the one before.
        """
        yield from self._stem(in_channels)
        width = self.stem_width
        for number, stage in enumerate(self.stages):
            if stage.block == IDENTITY and stage.width != width:
                raise ArchitectureError(
                    f"stage {number} is left out ('identity') with width {stage.width}; it keeps the {width} "
                    "channels that it is given"
                )
            for place in range(stage.depth):
                stride = stage.stride if place == 0 else 1
                where = f"stage{number}/block{place}/{stage.block}"
                try:
                    for name, operation in _block(stage, width, stride, self.activation):
                        yield f"{where}/{name}", operation
                except ArchitectureError as error:
                    raise ArchitectureError(f"stage {number} ('{stage.block}'): {error}") from None
                width = stage.width
        yield from self._head(width)

    def _stem(self, channels: int) -> Iterator[Named]:
        for number, conv in enumerate(STEMS[self.stem]):
            width = self.stem_width // conv.part
            yield f"stem{number}", ConvBn(channels, width, conv.kernel, conv.stride)
            yield f"stem{number}/act", Act(self.activation)
            channels = width

    def _head(self, width: int) -> Iterator[Named]:
        for step in HEADS[self.head]:
            match step:
                case "pool":
                    yield "head/pool", GlobalPool()
                case "widen":
                    yield "head/wide", ConvBn(width, self.head_width, 1)
                    yield "head/wide/act", Act(self.activation)
                case "widen_pooled":
                    yield "head/wide", ConvBias(width, self.head_width)
                    yield "head/wide/act", Act(self.activation)
                case _:
                    assert_never(step)

    def canonical(self, in_channels: int) -> list[list[Any]]:
        """The operations without their names as plain data; equal for bodies that compute the same."""
        return [[type(one).__name__, *astuple(one)] for _, one in self.operations(in_channels)]

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal body."""
        data = asdict(self)
        return {"kind": "stages", **data, "stages": [dict(stage) for stage in data["stages"]]}

    @classmethod
    def from_json(cls, data: Any) -> "StageBody":
        """Reads what `to_json` wrote.

        Raises:
            ArchitectureError: The data are not of that form, or break a rule.
        """
        wanted = f"a body of stages is {{'kind': 'stages', {', '.join(_fields(cls))}}}"
        if not isinstance(data, Mapping) or data.get("kind") != "stages":
            kind = data.get("kind", "no kind") if isinstance(data, Mapping) else type(data).__name__
            raise ArchitectureError(f"{wanted}; this one is of kind '{kind}'")
        rest = {name: value for name, value in data.items() if name != "kind"}
        if not isinstance(rest.get("stages"), list | tuple):
            raise ArchitectureError(f"{wanted}; its stages are a list")
        stages = tuple(
            _read(Stage, one, f"stage {i}", f"stage {i}: ") for i, one in enumerate(rest["stages"])
        )
        return _read(cls, {**rest, "stages": stages}, "a body of stages")


def check_known(what: str, name: Any, known: Collection[str]) -> None:
    """Refuses a name that is not among those known.

    Raises:
        ArchitectureError: It is not; the text names the nearest.
    """
    if not isinstance(name, str) or name not in known:
        raise ArchitectureError(f"unknown {what} '{name}'{did_you_mean(str(name).lower(), known)}")


def as_tuple(what: str, values: Any) -> tuple[Any, ...]:
    """Any sequence as a tuple.

    Raises:
        ArchitectureError: A single value, or a text.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ArchitectureError(f"{what} is {values!r}; give a list, if only of one")
    return tuple(values)


def _fields(kind: type[Any]) -> tuple[str, ...]:
    return tuple(kind.__dataclass_fields__)


def _read(kind: type[T], data: Any, what: str, where: str = "") -> T:
    """Makes a dataclass of a mapping, with one line for what does not fit."""
    fields = _fields(kind)
    if not isinstance(data, Mapping):
        raise ArchitectureError(f"{what} is {data!r}; it must be an object with {', '.join(fields)}")
    for name in data:
        if name not in fields:
            raise ArchitectureError(f"{what} has an unknown key '{name}'{did_you_mean(str(name), fields)}")
    try:
        return kind(**data)
    except TypeError:
        lacking = [name for name in fields if name not in data]
        raise ArchitectureError(f"{what} lacks some of {', '.join(lacking)}") from None
    except ArchitectureError as error:
        raise ArchitectureError(f"{where}{error}") from None


def _block(stage: Stage, inputs: int, stride: int, activation: Activation) -> Iterator[Named]:
    """The operations of one block."""
    channels, role, done = inputs, "", 0
    for step in BLOCKS[stage.block].fragment(stage.expansion):
        match step:
            case Convolution():
                outputs = {"same": channels, "inner": stage.expansion * inputs, "out": stage.width}[step.to]
                role = step.name
                yield role, _convolution(step, channels, outputs, stage.kernel, stride)
                channels = outputs
            case Activate():
                yield f"{role}/act", Act(activation)
            case Excite():
                if not stage.se:
                    continue
                yield f"{role}/se", SqueezeExcite(channels, _squeezed(channels))
            case AddInput():
                if stride > 1 or channels != inputs:
                    continue
                yield "sum", Residual(done)
            case _:
                assert_never(step)
        done += 1


def _convolution(step: Convolution, inputs: int, outputs: int, kernel: int, stride: int) -> ConvBn:
    groups = inputs if step.depthwise else step.groups
    if inputs % groups or outputs % groups:
        raise ArchitectureError(
            f"{inputs} and {outputs} channels do not divide into {groups} groups; choose even widths"
        )
    side = 1 if step.pointwise else kernel
    return ConvBn(inputs, outputs, side, stride if step.strided else 1, groups, step.branched)


def _squeezed(channels: int) -> int:
    if channels < SQUEEZE:
        raise ArchitectureError(
            f"squeeze-excitation over {channels} channels leaves none inside (a quarter); widen it or leave "
            "se false"
        )
    return channels // SQUEEZE
