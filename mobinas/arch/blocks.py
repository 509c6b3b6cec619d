"""The blocks of a network of stages, its stems and heads, as data.

A block is a fragment: a few steps in a row, which `mobinas.arch.stages` places at their channels and
`mobinas.graph.lower` turns into layers. Everything else (torch modules, costs, ONNX, latency features,
encodings, drawings) follows, so a new block is one line in `BLOCKS`. Batch normalisation follows every
convolution; an activation stands where the publication has it.

Taken from

- ResNet (https://arxiv.org/abs/1512.03385, figure 2): the sum before the last activation, in ``conv``.
- RepVGG (https://arxiv.org/abs/2101.03697, section 3): three branches in training, one 3x3 convolution after
  it, in ``rep``; MobileOne (https://arxiv.org/abs/2206.04040) does the same.
- PP-LCNet (https://arxiv.org/abs/2109.15099, section 3 and figure 2): ``ds``, a depthwise and a pointwise
  convolution, each activated, and no sum; squeeze-excitation between them, in the last blocks alone.
- MobileNetV2 (https://arxiv.org/abs/1801.04381, table 1): ``mbconv``, a linear end, no 1x1 at expansion 1.
  Its kernels and expansions are those of MnasNet (https://arxiv.org/abs/1807.11626), ProxylessNAS
  (https://arxiv.org/abs/1812.00332), FBNet (https://arxiv.org/abs/1812.03443) and once-for-all
  (https://arxiv.org/abs/1908.09791).
- MobileNetV3 (https://arxiv.org/abs/1905.02244, sections 5.1 to 5.3): squeeze-excitation on the expanded
  channels with a hard sigmoid and a quarter of the channels inside, hard swish, the head widened behind the
  pooling.
- MobileNetV4 (https://arxiv.org/abs/2404.10518, figure 4): the four modes of ``uib``.
- EfficientNetV2 (https://arxiv.org/abs/2104.00298, figure 2): ``fused``; with two groups CPUBone
  (https://arxiv.org/abs/2603.26425).
- "Bag of tricks" (https://arxiv.org/abs/1812.01187, section 4) and "Early convolutions help transformers see
  better" (https://arxiv.org/abs/2106.14881): stems of several convolutions; ConvMixer
  (https://arxiv.org/abs/2201.09792): patches.
"""

from dataclasses import dataclass
from typing import Literal

Activation = Literal["relu", "hardswish"]
ACTIVATIONS: tuple[Activation, ...] = ("relu", "hardswish")
SQUEEZE = 4
"""Squeeze-excitation has this part of the channels inside."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution without bias and batch normalisation; padded so that only stride shrinks the map.

    Attributes:
        name: Its role in the block; part of the names of its weights.
        to: Its channels: as many as it reads, ``inner`` (input times expansion) or ``out`` (the stage's).
        pointwise: Whether it is 1x1 whatever the stage's kernel.
        depthwise: One filter per channel instead of a full mixture.
        groups: Of channels that do not mix.
        strided: Whether the block's stride acts here.
        branched: Whether it is trained as parallel k x k, 1x1 and identity branches.
    """

    name: str
    to: Literal["same", "inner", "out"]
    pointwise: bool = False
    depthwise: bool = False
    groups: int = 1
    strided: bool = False
    branched: bool = False


@dataclass(frozen=True, slots=True)
class Activate:
    """The network's activation."""


@dataclass(frozen=True, slots=True)
class Excite:
    """Squeeze-excitation, where the stage has it."""


@dataclass(frozen=True, slots=True)
class AddInput:
    """Adds the block's input, where channels and size allow."""


BlockStep = Convolution | Activate | Excite | AddInput
ACT, SE, SUM = Activate(), Excite(), AddInput()


@dataclass(frozen=True, slots=True)
class Block:
    """A kind of block.

    Attributes:
        name: As used in stages.
        steps: What it computes.
        kernels: Sides of its kernels on offer, in pixels; empty where it has none to choose.
        expansions: Its expansions on offer; empty where it does not expand.
        steps_at_expansion_1: What it computes at expansion 1, where that differs.
    """

    name: str
    steps: tuple[BlockStep, ...]
    kernels: tuple[int, ...] = ()
    expansions: tuple[int, ...] = ()
    steps_at_expansion_1: tuple[BlockStep, ...] | None = None

    def fragment(self, expansion: int) -> tuple[BlockStep, ...]:
        """The steps at this expansion."""
        plain = self.steps_at_expansion_1
        return plain if expansion == 1 and plain is not None else self.steps

    @property
    def can_stride(self) -> bool:
        """Whether it can halve height and width."""
        return any(isinstance(step, Convolution) and step.strided for step in self.steps)

    @property
    def can_excite(self) -> bool:
        """Whether it has a place for squeeze-excitation."""
        return SE in self.steps

    @property
    def groups(self) -> int:
        """Groups that its channels must divide into."""
        return max((step.groups for step in self.steps if isinstance(step, Convolution)), default=1)


_DENSE = Convolution("conv", "out", strided=True)
_REP = Convolution("rep", "out", strided=True, branched=True)
_FUSED = Convolution("expand", "inner", strided=True)
_PAIRED = Convolution("expand", "inner", strided=True, groups=2)
_EXPAND = Convolution("expand", "inner", pointwise=True)
_DEPTHWISE = Convolution("depthwise", "same", depthwise=True, strided=True)
_START = Convolution("start", "same", depthwise=True)
_STRIDED_START = Convolution("start", "same", depthwise=True, strided=True)
_PROJECT = Convolution("project", "out", pointwise=True)

_SEPARABLE = (_DEPTHWISE, ACT, SE, _PROJECT)
_INVERTED = (_EXPAND, ACT, *_SEPARABLE, SUM)
_EXPANDED = (_EXPAND, ACT, SE, _PROJECT, SUM)
_SMALL, _ALL, _UIB = (3, 5), (3, 5, 7), (2, 3, 4, 6)

BLOCKS: dict[str, Block] = {
    block.name: block
    for block in (
        Block("conv", (_DENSE, SE, SUM, ACT), _SMALL),
        Block("rep", (_REP, SE, ACT), (3,)),
        Block("ds", (*_SEPARABLE, ACT), _SMALL),
        Block("mbconv", _INVERTED, _ALL, (1, 3, 4, 6), steps_at_expansion_1=(*_SEPARABLE, SUM)),
        Block("uib_ib", _INVERTED, _SMALL, _UIB),
        Block("uib_extra", (_START, *_INVERTED), _SMALL, _UIB),
        Block("uib_convnext", (_STRIDED_START, *_EXPANDED), _SMALL, _UIB),
        Block("uib_ffn", _EXPANDED, (), _UIB),
        Block("fused", (_FUSED, ACT, SE, _PROJECT, SUM), (3,), (2, 4)),
        Block("fused_g2", (_PAIRED, ACT, SE, _PROJECT, SUM), (3,), (2, 4)),
        Block("identity", ()),
    )
}


@dataclass(frozen=True, slots=True)
class StemConv:
    """A convolution of a stem, with batch normalisation and activation.

    Attributes:
        kernel: Its side in pixels; one as large as the stride cuts patches.
        stride: Input pixels per pixel of the result, along one axis.
        part: It has this part of the stem's channels.
    """

    kernel: int
    stride: int
    part: int = 1


STEMS: dict[str, tuple[StemConv, ...]] = {
    "3x3": (StemConv(3, 1),),
    "3x3_s2": (StemConv(3, 2),),
    "double_s2": (StemConv(3, 2, 2), StemConv(3, 1)),
    "double_s4": (StemConv(3, 2, 2), StemConv(3, 2)),
    "patch2": (StemConv(2, 2),),
    "patch4": (StemConv(4, 4),),
}

HeadStep = Literal["widen", "pool", "widen_pooled"]
HEADS: dict[str, tuple[HeadStep, ...]] = {
    "linear": ("pool",),
    "wide": ("widen", "pool"),
    "wide_pooled": ("pool", "widen_pooled"),
}
"""What precedes the classifier; a 1x1 convolution to a wider layer acts on the map, or on its mean."""


def stem_stride(stem: str) -> int:
    """Input pixels per pixel of a stem's result, along one axis."""
    stride = 1
    for conv in STEMS[stem]:
        stride *= conv.stride
    return stride


def patch_size(stem: str) -> int:
    """Side in pixels of the patches that a stem cuts; 1 where it cuts none."""
    return max(conv.kernel if conv.kernel == conv.stride else 1 for conv in STEMS[stem])
