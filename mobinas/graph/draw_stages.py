"""Where things lie in a picture of a network of stages, computed without any drawing library.

From left to right: image, stem, stages, head. Each is a card with the channels and size of its result below
it; a stage's card holds one box per block, or two where there are many: the first and how often it repeats.
Stages that are left out are not drawn.

Lengths are in heights of a box; x grows to the right, y downwards.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mobinas.arch.architecture import Architecture
from mobinas.arch.blocks import BLOCKS, HEADS, STEMS
from mobinas.arch.stages import IDENTITY, Stage, StageBody
from mobinas.graph.layers import Graph, Shape
from mobinas.graph.lowering import lower

BOX_WIDTH = 7.2
SMALL_WIDTH = 3.6
_GAP = 0.25
_PADDING = 0.35
_CARD_GAP = 1.1
TITLE_HEIGHT = 0.9
CAPTION_HEIGHT = 0.9
_MOST = 4

Kind = Literal["image", "stem", "block", "head"]


@dataclass(frozen=True, slots=True)
class StageBox:
    """One block, or another part; (x, y) is its centre.

    Attributes:
        kind: What it is part of.
        block: A key of `BLOCKS` where it is a block.
        text: What stands in it.
    """

    kind: Kind
    text: str
    x: float
    y: float
    width: float
    height: float = 1.0
    block: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """Boxes that belong together; (x, y) is the centre.

    Attributes:
        title: Stands above it.
        caption: Stands below it: channels, height and width of its result.
    """

    title: str
    caption: str
    boxes: tuple[StageBox, ...]
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class StageDrawing:
    """A network's picture within (0, 0) to (width, height).

    Attributes:
        cards: From the image to the head.
        arrows: (x, y, x, y), each from a card's right side to the next one's left side.
    """

    cards: tuple[Card, ...]
    arrows: tuple[tuple[float, float, float, float], ...]
    width: float
    height: float


def draw_stages(architecture: Architecture) -> StageDrawing:
    """Computes the picture of a network of stages.

    Raises:
        ArchitectureError: It is one of cells.
    """
    parts = list(_parts(architecture, architecture.stages))
    tallest = max(_height(texts) for _, _, _, texts, _ in parts)
    y = TITLE_HEIGHT + tallest / 2
    cards: list[Card] = []
    left = 0.0
    for title, caption, kind, texts, block in parts:
        inner = BOX_WIDTH if kind in ("block", "head") else SMALL_WIDTH
        width, height = inner + 2 * _PADDING, _height(texts)
        x, top = left + width / 2, y - height / 2 + _PADDING + 0.5
        boxes = (
            StageBox(kind, text, x, top + k * (1 + _GAP), inner, block=block) for k, text in enumerate(texts)
        )
        cards.append(Card(title, caption, tuple(boxes), x, y, width, height))
        left += width + _CARD_GAP
    arrows = ((a.x + a.width / 2, y, b.x - b.width / 2, y) for a, b in itertools.pairwise(cards))
    return StageDrawing(tuple(cards), tuple(arrows), left - _CARD_GAP, y + tallest / 2 + CAPTION_HEIGHT)


def _height(texts: list[str]) -> float:
    return 2 * _PADDING + len(texts) + (len(texts) - 1) * _GAP


_Part = tuple[str, str, Kind, list[str], str]  # title, caption, kind, texts, block


def _parts(architecture: Architecture, body: StageBody) -> Iterator[_Part]:
    graph = lower(architecture)
    yield "", _sizes(graph.input_shape), "image", ["image"], ""
    convs = [
        f"patches of {c.kernel}" if c.kernel == c.stride else f"{c.kernel}x{c.kernel}{_halving(c.stride)}"
        for c in STEMS[body.stem]
    ]
    yield f"stem, {body.activation}", _sizes(_result(graph, "stem")), "stem", convs, ""
    for number, stage in enumerate(body.stages):
        if stage.block != IDENTITY:
            shape = _result(graph, f"stage{number}/")
            yield f"stage {number}", _sizes(shape), "block", _blocks(stage), stage.block
    texts = [_HEAD_WORDS[step].format(body.head_width) for step in HEADS[body.head]]
    yield "head", f"{architecture.task.classes} classes", "head", [*texts, "linear"], ""


_HEAD_WORDS = {"pool": "mean", "widen": "1x1 to {}", "widen_pooled": "1x1 to {}"}


def _blocks(stage: Stage) -> list[str]:
    words = [stage.block]
    if BLOCKS[stage.block].kernels:
        words.append(f"{stage.kernel}x{stage.kernel}")
    if BLOCKS[stage.block].expansions:
        words.append(f"e{stage.expansion}")
    if stage.se:
        words.append("SE")
    name = " ".join(words)
    first = name + _halving(stage.stride)
    if stage.depth <= _MOST:
        return [first, *[name] * (stage.depth - 1)]
    return [first, f"{stage.depth - 1} more"]


def _halving(stride: int) -> str:
    return f" /{stride}" if stride > 1 else ""


def _result(graph: Graph, prefix: str) -> Shape:
    return next(node.shape for node in reversed(graph.nodes) if node.name.startswith(prefix))


def _sizes(shape: Shape) -> str:
    channels, height, width = shape
    return f"{channels} x {height} x {width}"
