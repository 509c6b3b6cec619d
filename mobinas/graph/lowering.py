"""Turns an architecture, or one op, into a Graph; with `stage_lowering` the only place that knows the wiring.

Cells are wired as in the evaluation networks of DARTS (https://arxiv.org/abs/1806.09055): each first brings
the outputs of its two predecessors to its own width; edges into reduction cells from those two have stride 2.
"""

from dataclasses import dataclass
from typing import assert_never

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import N_INPUTS, Cell
from mobinas.arch.ops import OPS, BatchNorm, Conv, FactorizedReduce, Pool, Relu, Step, Zero
from mobinas.arch.stages import StageBody
from mobinas.errors import ArchitectureError
from mobinas.graph.builder import GraphBuilder
from mobinas.graph.layers import (
    Add,
    BatchNorm2d,
    Concat,
    Conv2d,
    Crop,
    Graph,
    Pool2d,
    ReLU,
    Shape,
    Zeros,
)
from mobinas.graph.stage_lowering import lower_stages

_STEM_WIDTH_FACTOR = 3
_AUXILIARY_CHANNELS = (128, 768)


@dataclass(frozen=True, slots=True)
class _Feature:
    """A cell's output (or the stem's) as its successors see it."""

    position: int
    kind: str
    stage: int


def lower(architecture: Architecture, *, auxiliary: bool = False) -> Graph:
    """The layers that an architecture stands for.

    Args:
        architecture: What to build.
        auxiliary: Also build DARTS' auxiliary classifier (for training) behind the second reduction cell.

    Returns:
        A Graph from the normalised image to the logits, then the auxiliary logits if asked for.

    Raises:
        ArchitectureError: The feature map is too small for an auxiliary classifier, or stages have none.
    """
    match architecture.body:
        case CellBody():
            return _lower_cells(architecture.body, architecture.resolution, architecture.task, auxiliary)
        case StageBody():
            if auxiliary:
                raise ArchitectureError("networks of stages have no auxiliary classifier; train without it")
            return lower_stages(architecture.body, architecture.resolution, architecture.task)
        case _:
            assert_never(architecture.body)


def _lower_cells(body: CellBody, resolution: int, task: Task, auxiliary: bool) -> Graph:
    b = GraphBuilder((task.in_channels, resolution, resolution))
    older, newer = _stem(b, body)
    width, stage, place = body.width, 0, 0
    auxiliary_at = -1
    for index in range(body.depth):
        reduces = index in body.reductions
        if reduces:
            width, stage, place = width * 2, stage + 1, 0
        name = f"stage{stage}/reduce" if reduces else f"stage{stage}/cell{place}"
        place += not reduces
        cell = body.genotype.reduction if reduces else body.genotype.normal
        inputs = (
            _preprocess(b, f"{name}/pre0", older, newer, width),
            _preprocess(b, f"{name}/pre1", newer, newer, width),
        )
        output = _cell(b, name, cell, inputs, width, 2 if reduces else 1)
        older, newer = newer, _Feature(output, "reduce" if reduces else "cell", stage)
        if index == body.reductions[1]:
            auxiliary_at = output
    logits = b.classifier("head", newer.position, task.classes)
    if not auxiliary:
        return b.finish(logits)
    return b.finish(logits, _auxiliary_head(b, auxiliary_at, task.classes, body.stem == "imagenet"))


def lower_op(op: str, shape: Shape, *, stride: int, search: bool = False) -> Graph:
    """The layers of one op on an edge.

    Args:
        op: A key of `OPS`.
        shape: (channels, height, width) of its input.
        stride: 1 or 2.
        search: As in a supernet: batch normalisation without scale and shift, and one after each pooling.

    Returns:
        A Graph whose result has the input's channels and 1/stride of its height and width.
    """
    b = GraphBuilder(shape)
    return b.finish(_fragment(b, op, OPS[op].fragment(stride), 0, stride, affine=not search))


def _stem(b: GraphBuilder, body: CellBody) -> tuple[_Feature, _Feature]:
    channels, width = b.shape(0)[0], body.width
    wide = _STEM_WIDTH_FACTOR * width
    if body.stem == "cifar":
        feature = _Feature(b.conv_bn("stem0", 0, Conv2d(channels, wide, (3, 3), padding=(1, 1))), "stem", 0)
        return feature, feature
    if body.stem == "strided":
        x = b.conv_bn("stem0", 0, Conv2d(channels, wide // 2, (3, 3), padding=(1, 1)))
        x = b.add("stem0/relu", ReLU(), x)
        x = b.conv_bn("stem1", x, Conv2d(wide // 2, wide, (3, 3), (2, 2), (1, 1)))
        feature = _Feature(x, "stem", 0)
        return feature, feature
    half = Conv2d(channels, width // 2, (3, 3), (2, 2), (1, 1))
    x = b.add("stem0/relu", ReLU(), b.conv_bn("stem0/a", 0, half))
    x = b.conv_bn("stem0/b", x, Conv2d(width // 2, width, (3, 3), (2, 2), (1, 1)))
    y = b.add("stem1/relu", ReLU(), x)
    y = b.conv_bn("stem1", y, Conv2d(width, width, (3, 3), (2, 2), (1, 1)))
    return _Feature(x, "stem0", -1), _Feature(y, "stem", 0)


def _preprocess(b: GraphBuilder, name: str, feature: _Feature, newer: _Feature, width: int) -> int:
    # The name tells form and predecessor apart, so that networks of different depth share weights by name.
    if b.shape(feature.position)[1] > b.shape(newer.position)[1]:
        return _factorized_reduce(b, f"{name}:halve_{feature.kind}", feature.position, width)
    x = b.add(f"{name}/relu", ReLU(), feature.position)
    conv = Conv2d(b.shape(x)[0], width, (1, 1))
    same_stage = "" if feature.stage == newer.stage else "_older"
    return b.conv_bn(f"{name}:match_{feature.kind}{same_stage}", x, conv)


def _factorized_reduce(b: GraphBuilder, name: str, source: int, width: int, affine: bool = True) -> int:
    # Batch normalisation acts per channel, so it may come before the concatenation and fold into each half.
    x = b.add(f"{name}/relu", ReLU(), source)
    half = Conv2d(b.shape(x)[0], width // 2, (1, 1), (2, 2))
    first = b.conv_bn(f"{name}/even", x, half, affine)
    second = b.conv_bn(f"{name}/odd", b.add(f"{name}/crop", Crop(), x), half, affine)
    return b.add(f"{name}/concat", Concat(), first, second)


def _cell(b: GraphBuilder, name: str, cell: Cell, inputs: tuple[int, int], width: int, stride: int) -> int:
    values = list(inputs)
    for number, edges in enumerate(cell.nodes, start=N_INPUTS):
        results: list[int] = []
        seen: dict[str, int] = {}
        for edge in edges:
            label = f"{edge.source}:{edge.op}"
            seen[label] = seen.get(label, 0) + 1
            again = f"#{seen[label]}" if seen[label] > 1 else ""
            edge_stride = stride if edge.source < N_INPUTS else 1
            fragment = OPS[edge.op].fragment(edge_stride)
            where = f"{name}/node{number}/{label}{again}"
            results.append(_fragment(b, where, fragment, values[edge.source], edge_stride))
        values.append(results[0] if len(results) == 1 else b.add(f"{name}/node{number}/sum", Add(), *results))
    if len(cell.concat) == 1:
        return values[cell.concat[0]]
    return b.add(f"{name}/concat", Concat(), *(values[number] for number in cell.concat))


def _fragment(
    b: GraphBuilder, name: str, steps: tuple[Step, ...], x: int, stride: int, affine: bool = True
) -> int:
    channels = b.shape(x)[0]
    search = not affine
    for k, step in enumerate(steps):
        here = f"{name}/{k}"
        match step:
            case Relu():
                x = b.add(here, ReLU(), x)
            case Conv():
                x = b.add(here, _conv(step, channels, stride), x)
            case BatchNorm():
                x = b.add(here, BatchNorm2d(channels, affine), x)
            case Pool():
                x = b.add(here, Pool2d(step.kind, 3, stride, 1), x)
                x = b.add(f"{here}_bn", BatchNorm2d(channels, affine=False), x) if search else x
            case FactorizedReduce():
                x = _factorized_reduce(b, here, x, channels, affine)
            case Zero():
                x = b.add(here, Zeros(stride), x)
            case _:
                assert_never(step)
    return x


def _conv(step: Conv, channels: int, stride: int) -> Conv2d:
    strides = (
        stride if step.strided in ("both", "height") else 1,
        stride if step.strided in ("both", "width") else 1,
    )
    padding = tuple(step.dilation * (k - 1) // 2 for k in step.kernel)
    groups = channels if step.depthwise else 1
    return Conv2d(channels, channels, step.kernel, strides, (padding[0], padding[1]), step.dilation, groups)


def _auxiliary_head(b: GraphBuilder, source: int, classes: int, imagenet: bool) -> int:
    narrow, wide = _AUXILIARY_CHANNELS
    channels, height, _ = b.shape(source)
    stride = 2 if imagenet else 3
    if (height - 5) // stride + 1 < 2:
        raise ArchitectureError(
            f"an auxiliary classifier needs a feature map of at least {5 + stride} pixels after the second "
            f"reduction, this one has {height}; train without it or at a higher resolution"
        )
    x = b.add("auxiliary/relu", ReLU(), source)
    x = b.add("auxiliary/pool", Pool2d("avg", 5, stride, 0), x)
    x = b.add("auxiliary/relu0", ReLU(), b.conv_bn("auxiliary/a", x, Conv2d(channels, narrow, (1, 1))))
    x = b.add("auxiliary/relu1", ReLU(), b.conv_bn("auxiliary/b", x, Conv2d(narrow, wide, (2, 2))))
    return b.classifier("auxiliary", x, classes)
