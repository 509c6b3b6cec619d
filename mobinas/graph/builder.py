"""Puts a Graph together, node by node, with shapes inferred and equal work shared."""

from typing import assert_never

from mobinas.graph.layers import (
    Add,
    BatchNorm2d,
    Concat,
    Conv2d,
    Crop,
    GlobalAvgPool,
    Graph,
    HardSigmoid,
    HardSwish,
    Input,
    Layer,
    Linear,
    Node,
    Pool2d,
    ReLU,
    RepConv2d,
    Scale,
    Shape,
    Weighted,
    Zeros,
)


class GraphBuilder:
    """Collects nodes; `finish` returns the Graph.

    Layers without parameters are shared: what leaves one node by several edges is rectified or pooled once.
    """

    def __init__(
        self, input_shape: Shape, segments: tuple[int, ...] | None = None, *, share: bool = True
    ) -> None:
        """Begins with the image; without `share`, every call of `add` appends a node."""
        self._nodes = [Node("input", Input(), (), input_shape, segments or (input_shape[0],))]
        self._share = share
        self._shared: dict[tuple[Layer, tuple[int, ...]], int] = {}

    def shape(self, position: int) -> Shape:
        """(channels, height, width) of a node."""
        return self._nodes[position].shape

    def add(self, name: str, layer: Layer, *inputs: int) -> int:
        """Appends a node, or finds an equal one where the layer has no parameters.

        Returns:
            The node's position.
        """
        shareable = self._share and not isinstance(layer, Weighted)
        key = (layer, inputs)
        if shareable and key in self._shared:
            return self._shared[key]
        sources = [self._nodes[i] for i in inputs]
        shape = _infer_shape(layer, [source.shape for source in sources])
        node = Node(name, layer, inputs, shape, _infer_segments(layer, sources, shape[0]))
        self._nodes.append(node)
        self._shared[key] = len(self._nodes) - 1
        return len(self._nodes) - 1

    def conv_bn(self, name: str, source: int, conv: Conv2d, affine: bool = True) -> int:
        """Appends a convolution and batch normalisation; returns the position of the latter."""
        x = self.add(f"{name}/conv", conv, source)
        return self.add(f"{name}/bn", BatchNorm2d(conv.out_channels, affine), x)

    def classifier(self, name: str, source: int, classes: int) -> int:
        """Appends a global mean and a linear layer; returns the position of the latter."""
        pooled = self.add(f"{name}/pool", GlobalAvgPool(), source)
        return self.add(f"{name}/linear", Linear(self.shape(pooled)[0], classes), pooled)

    def finish(self, *outputs: int) -> Graph:
        """The Graph of all nodes that the outputs depend on."""
        live = {0, *outputs}
        for position in reversed(range(len(self._nodes))):
            if position in live:
                live.update(self._nodes[position].inputs)
        new = {old: position for position, old in enumerate(sorted(live))}
        nodes = tuple(
            Node(n.name, n.layer, tuple(new[i] for i in n.inputs), n.shape, n.segments)
            for n in (self._nodes[old] for old in new)
        )
        return Graph(nodes, tuple(new[i] for i in outputs))


def _infer_shape(layer: Layer, shapes: list[Shape]) -> Shape:
    channels, height, width = shapes[0]
    match layer:
        case RepConv2d():
            return _infer_shape(layer.merged, shapes)
        case Conv2d():
            span = [layer.dilation * (k - 1) for k in layer.kernel]
            return (
                layer.out_channels,
                (height + 2 * layer.padding[0] - span[0] - 1) // layer.stride[0] + 1,
                (width + 2 * layer.padding[1] - span[1] - 1) // layer.stride[1] + 1,
            )
        case Pool2d():
            sizes = [(s + 2 * layer.padding - layer.kernel) // layer.stride + 1 for s in (height, width)]
            return (channels, sizes[0], sizes[1])
        case Crop():
            return (channels, height - 1, width - 1)
        case Zeros():
            return (channels, height // layer.stride, width // layer.stride)
        case Concat():
            return (sum(shape[0] for shape in shapes), height, width)
        case GlobalAvgPool():
            return (channels, 1, 1)
        case Linear():
            return (layer.out_features, 1, 1)
        case Input() | BatchNorm2d() | ReLU() | HardSwish() | HardSigmoid() | Add() | Scale():
            return shapes[0]
        case _:
            assert_never(layer)


def _infer_segments(layer: Layer, sources: list[Node], channels: int) -> tuple[int, ...]:
    match layer:
        case Concat():
            return tuple(segment for source in sources for segment in source.segments)
        case RepConv2d():
            return _infer_segments(layer.merged, sources, channels)
        case Conv2d():
            # A depthwise filter keeps its channel where it was; a mixture starts a new order.
            depthwise = layer.groups == layer.in_channels == layer.out_channels
            return sources[0].segments if depthwise else (channels,)
        case Linear():
            return (channels,)
        case Add():
            same = len({source.segments for source in sources}) == 1
            return sources[0].segments if same else (channels,)
        case Input() | BatchNorm2d() | ReLU() | HardSwish() | HardSigmoid() | Pool2d() | Crop() | Zeros():
            return sources[0].segments
        case Scale() | GlobalAvgPool():
            return sources[0].segments
        case _:
            assert_never(layer)
