"""What a network computes, as a small graph of layers with shapes.

Every interpreter (torch module, cost, ONNX, latency features, drawing) walks these nodes in order and ends
its `match` in `typing.assert_never`, so a kind that one of them forgets is a type error.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from typing import Literal

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Input:
    """The image, normalised, as (channels, height, width)."""


@dataclass(frozen=True, slots=True)
class Conv2d:
    """A convolution. `kernel`, `stride`, `padding` are (height, width); padding is symmetric."""

    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: int = 1
    groups: int = 1
    bias: bool = False


@dataclass(frozen=True, slots=True)
class RepConv2d:
    """A convolution with bias that is trained as a sum of branches, each with batch normalisation (RepVGG).

    Attributes:
        merged: What it computes; counted, measured and exported.
        branches: What training sums, each followed by a batch normalisation of its own; None stands for the
            identity. Each adds up with `merged`: kernels are odd and padded by half.
    """

    merged: Conv2d
    branches: tuple[Conv2d | None, ...]


@dataclass(frozen=True, slots=True)
class BatchNorm2d:
    """Batch normalisation over (batch, height, width), epsilon 1e-5."""

    channels: int
    affine: bool = True


@dataclass(frozen=True, slots=True)
class ReLU:
    """max(x, 0)."""


@dataclass(frozen=True, slots=True)
class HardSwish:
    """x * min(max(x + 3, 0), 6) / 6 (MobileNetV3, https://arxiv.org/abs/1905.02244, section 5.2)."""


@dataclass(frozen=True, slots=True)
class HardSigmoid:
    """min(max(x + 3, 0), 6) / 6."""


@dataclass(frozen=True, slots=True)
class Pool2d:
    """Square pooling; padded pixels count neither for the maximum nor for the mean."""

    kind: Literal["max", "avg"]
    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True, slots=True)
class Crop:
    """Drops the first row and the first column."""


@dataclass(frozen=True, slots=True)
class Zeros:
    """All zeros, of the input's shape divided by the stride."""

    stride: int


@dataclass(frozen=True, slots=True)
class Add:
    """Sum of two or more tensors of one shape."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The first input times the second, which has one number per channel, shape (channels, 1, 1)."""


@dataclass(frozen=True, slots=True)
class Concat:
    """Concatenation along the channels."""


@dataclass(frozen=True, slots=True)
class GlobalAvgPool:
    """Mean over height and width; shape (channels, 1, 1)."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer with bias on the flattened input; shape (out_features, 1, 1)."""

    in_features: int
    out_features: int


Activation = ReLU | HardSwish | HardSigmoid
Weighted = Conv2d | RepConv2d | BatchNorm2d | Linear
"""Layers with parameters."""
Layer = Input | Weighted | Activation | Pool2d | Crop | Zeros | Add | Scale | Concat | GlobalAvgPool


@dataclass(frozen=True, slots=True)
class Node:
    """One layer applied to earlier nodes.

    Attributes:
        name: Unique, stable under changes of depth, width and resolution; slashes separate parts, no dots.
        layer: What is computed.
        inputs: Positions of earlier nodes.
        shape: (channels, height, width) of the result; no batch axis.
        segments: How the channels are composed; they sum to `shape[0]`. A narrower twin of the network
            corresponds to the leading channels of each segment, not of the whole.
    """

    name: str
    layer: Layer
    inputs: tuple[int, ...]
    shape: Shape
    segments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in topological order; node 0 is the input.

    Attributes:
        nodes: All reach an output, except perhaps the input.
        outputs: Positions of the logits, and of the auxiliary logits where there are any.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]

    @property
    def input_shape(self) -> Shape:
        """(channels, height, width) of the input."""
        return self.nodes[0].shape

    def merged(self) -> "Graph":
        """The same with every convolution that is trained in branches as the one that it amounts to."""
        nodes = (
            replace(n, layer=n.layer.merged) if isinstance(n.layer, RepConv2d) else n for n in self.nodes
        )
        return Graph(tuple(nodes), self.outputs)

    def input_shapes(self, node: Node) -> Iterator[Shape]:
        """Shapes of the node's inputs, in order."""
        return (self.nodes[i].shape for i in node.inputs)

    def readers(self, live: Container[int] | None = None) -> dict[int, list[int]]:
        """Positions of the nodes that read each node, among those that are live; all by default."""
        readers: dict[int, list[int]] = {}
        for position, node in enumerate(self.nodes):
            if live is None or position in live:
                for i in node.inputs:
                    readers.setdefault(i, []).append(position)
        return readers

    def folding_norms(self, live: Container[int] | None = None) -> dict[int, int]:
        """Positions of convolutions, with that of the batch normalisation that alone reads their result."""
        return {
            i: by[0]
            for i, by in self.readers(live).items()
            if len(by) == 1
            and i not in self.outputs
            and isinstance(conv := self.nodes[i].layer, Conv2d)
            and not conv.bias
            and isinstance(self.nodes[by[0]].layer, BatchNorm2d)
        }
