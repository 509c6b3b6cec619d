"""Networks of NAS-Bench-201 (Dong & Yang, 2020, https://arxiv.org/abs/2001.00326) as Graphs.

A cell has four nodes; each of its six edges holds one of five operations, and a node is the sum of its edges.
The network: a 3x3 stem of 16 channels, three stages of five cells at 16, 32 and 64 channels with a residual
block of stride 2 between them, batch normalisation and ReLU, global pooling, a linear layer; input 32x32.
A convolution is ReLU, convolution, batch normalisation.
"""

from collections.abc import Sequence

from mobinas.graph.builder import GraphBuilder
from mobinas.graph.layers import (
    Add,
    BatchNorm2d,
    Conv2d,
    GlobalAvgPool,
    Graph,
    Linear,
    Pool2d,
    ReLU,
    Zeros,
)

OP_NAMES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_LAST = 3
_NONE, _SKIP, _CONV_1X1, _CONV_3X3 = range(4)
_CHANNELS = (16, 32, 64)
_CELLS = 5
_RESOLUTION = 32


def network(ops: Sequence[int], *, classes: int = 10, zero_fed: bool = False) -> Graph:
    """The network of a cell.

    Args:
        ops: Index into `OP_NAMES` for each of `EDGES`.
        classes: Of the linear layer.
        zero_fed: Keeps operations that see only zeros, since edges before them hold ``none``; some exports
            do. What does not reach the output is dropped in any case.

    Returns:
        A Graph that `write_onnx` can write.
    """
    # Devices of the published tables pool twice what is read twice.
    net = GraphBuilder((3, _RESOLUTION, _RESOLUTION), share=False)
    here = _conv(net, "stem", 0, _CHANNELS[0], 3, rectified=False)
    for stage, channels in enumerate(_CHANNELS):
        if stage:
            here = _residual(net, f"reduce{stage}", here, channels)
        for cell in range(_CELLS):
            here = _cell(net, f"stage{stage}/cell{cell}", here, ops, zero_fed)
    here = net.add("head/relu", ReLU(), net.add("head/norm", BatchNorm2d(_CHANNELS[-1]), here))
    here = net.add("head/pool", GlobalAvgPool(), here)
    here = net.add("head/linear", Linear(_CHANNELS[-1], classes), here)
    return net.finish(here)


def live_edges(ops: Sequence[int], *, zero_fed: bool = False) -> tuple[bool, ...]:
    """Whether each of `EDGES` carries the input (or, where those count, zeros) to the output."""
    fed, used = {0}, {_LAST}
    for (source, node), op in sorted(zip(EDGES, ops, strict=True)):
        if op != _NONE and source in fed:
            fed.add(node)
    for (source, node), op in sorted(zip(EDGES, ops, strict=True), key=lambda item: -item[0][1]):
        if op != _NONE and node in used:
            used.add(source)
    return tuple(
        op != _NONE and (zero_fed or source in fed) and node in used
        for (source, node), op in zip(EDGES, ops, strict=True)
    )


def _cell(net: GraphBuilder, name: str, given: int, ops: Sequence[int], zero_fed: bool) -> int:
    live = live_edges(ops, zero_fed=zero_fed)
    nodes = {0: given}
    for node in range(1, _LAST + 1):
        parts: list[int] = []
        for (source, to), op, lives in zip(EDGES, ops, live, strict=True):
            if to != node or not lives:
                continue
            if source not in nodes:
                nodes[source] = net.add(f"{name}/zeros{source}", Zeros(1), given)
            parts.append(_edge(net, f"{name}/edge{source}{node}", nodes[source], op))
        if parts:
            nodes[node] = parts[0] if len(parts) == 1 else net.add(f"{name}/sum{node}", Add(), *parts)
    return nodes[_LAST] if _LAST in nodes else net.add(f"{name}/zeros", Zeros(1), given)


def _edge(net: GraphBuilder, name: str, source: int, op: int) -> int:
    if op == _SKIP:
        return source
    channels = net.shape(source)[0]
    if op == _CONV_1X1:
        return _conv(net, name, source, channels, 1)
    if op == _CONV_3X3:
        return _conv(net, name, source, channels, 3)
    return net.add(f"{name}/pool", Pool2d("avg", 3, 1, 1), source)


def _conv(
    net: GraphBuilder,
    name: str,
    source: int,
    channels: int,
    kernel: int,
    *,
    stride: int = 1,
    rectified: bool = True,
) -> int:
    inner = net.add(f"{name}/relu", ReLU(), source) if rectified else source
    padding = (kernel // 2, kernel // 2)
    layer = Conv2d(net.shape(source)[0], channels, (kernel, kernel), (stride, stride), padding)
    conv = net.add(f"{name}/conv", layer, inner)
    return net.add(f"{name}/norm", BatchNorm2d(channels), conv)


def _residual(net: GraphBuilder, name: str, given: int, channels: int) -> int:
    inner = _conv(net, f"{name}/a", given, channels, 3, stride=2)
    inner = _conv(net, f"{name}/b", inner, channels, 3)
    pooled = net.add(f"{name}/pool", Pool2d("avg", 2, 2, 0), given)
    shortcut = net.add(f"{name}/shortcut", Conv2d(net.shape(given)[0], channels, (1, 1)), pooled)
    return net.add(f"{name}/sum", Add(), inner, shortcut)
