"""Turns a body of stages into a Graph; see `mobinas.graph.lowering.lower`."""

from typing import assert_never

from mobinas.arch.architecture import Task
from mobinas.arch.blocks import Activation
from mobinas.arch.stages import Act, ConvBias, ConvBn, GlobalPool, Residual, SqueezeExcite, StageBody
from mobinas.graph.builder import GraphBuilder
from mobinas.graph.layers import (
    Add,
    Conv2d,
    GlobalAvgPool,
    Graph,
    HardSigmoid,
    HardSwish,
    Linear,
    ReLU,
    RepConv2d,
    Scale,
)

_ACTIVATIONS: dict[Activation, ReLU | HardSwish] = {"relu": ReLU(), "hardswish": HardSwish()}


def lower_stages(body: StageBody, resolution: int, task: Task) -> Graph:
    """The layers that a body of stages stands for.

    Args:
        body: What to build.
        resolution: Height and width of the image in pixels.
        task: Channels in and classes out.

    Returns:
        A Graph from the normalised image to the logits.
    """
    b = GraphBuilder((task.in_channels, resolution, resolution))
    results = [0]
    for name, operation in body.operations(task.in_channels):
        x = results[-1]
        match operation:
            case ConvBn(branched=False):
                results.append(b.conv_bn(name, x, _conv(operation, operation.kernel)))
            case ConvBn():
                results.append(b.add(name, _branched(operation), x))
            case Act():
                results.append(b.add(name, _ACTIVATIONS[operation.kind], x))
            case SqueezeExcite():
                results.append(_excited(b, name, x, operation))
            case Residual():
                results.append(b.add(name, Add(), x, results[-1 - operation.back]))
            case GlobalPool():
                results.append(b.add(name, GlobalAvgPool(), x))
            case ConvBias():
                results.append(b.add(name, Conv2d(operation.inputs, operation.outputs, (1, 1), bias=True), x))
            case _:
                assert_never(operation)
    return b.finish(b.add("head/linear", Linear(b.shape(results[-1])[0], task.classes), results[-1]))


def _conv(of: ConvBn, kernel: int, *, bias: bool = False) -> Conv2d:
    pad = kernel // 2 if kernel % 2 else 0
    pairs = (kernel, kernel), (of.stride, of.stride), (pad, pad)
    return Conv2d(of.inputs, of.outputs, *pairs, groups=of.groups, bias=bias)


def _branched(of: ConvBn) -> RepConv2d:
    """RepVGG, figure 2: k x k, 1x1 and, where it fits, identity."""
    identity = (None,) if of.inputs == of.outputs and of.stride == 1 else ()
    return RepConv2d(_conv(of, of.kernel, bias=True), (_conv(of, of.kernel), _conv(of, 1), *identity))


def _excited(b: GraphBuilder, name: str, x: int, of: SqueezeExcite) -> int:
    """Squeeze-excitation (https://arxiv.org/abs/1709.01507, figure 2) with MobileNetV3's hard sigmoid."""
    gate = b.add(f"{name}/pool", GlobalAvgPool(), x)
    gate = b.add(f"{name}/squeeze", Conv2d(of.channels, of.squeezed, (1, 1), bias=True), gate)
    gate = b.add(f"{name}/relu", ReLU(), gate)
    gate = b.add(f"{name}/excite", Conv2d(of.squeezed, of.channels, (1, 1), bias=True), gate)
    return b.add(f"{name}/scale", Scale(), x, b.add(f"{name}/gate", HardSigmoid(), gate))
