"""A lowered architecture as onnxruntime executes it, without opening a session.

On processors with wide vectors onnxruntime keeps images in blocks of 8 or 16 channels (NCHWc): convolutions
pad their channels to whole blocks, sums and rectifications move into the convolution before them, and
reorderings appear where a blocked value is read by what knows the plain layout alone. Which of this happens
depends on the neighbours, and it decides what small networks cost: with 24 channels in blocks of 16, every
pooling adds two reorderings. A test holds the result equal to what the runtime's own profiler shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    Linear,
    Node,
    Pool2d,
    ReLU,
    RepConv2d,
    Scale,
    Zeros,
)

# Channels of grouped convolutions, and of dense ones that read blocks, must be a multiple of this.
_ALIGNMENT = 4
Sizes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel call: what runs, and on which shapes.

    Attributes:
        op: As the runtime names it.
        inputs: Shapes of the inputs, weights among them.
        output: Shape of the (first) result.
        blocked: Whether it works on blocks of channels, or reorders to or from them.
        activation: The operator of the model that a convolution applies to its result, where that is known
            and takes time; rectification is free.
    """

    op: str
    inputs: tuple[Sizes, ...]
    output: Sizes
    blocked: bool = False
    activation: str = ""


@dataclass(slots=True)
class Value:
    """What is known of a node's result.

    Attributes:
        blocked: Whether it comes in blocks.
        plain: Whether it exists in the plain layout.
        reordered: Whether a plain one has been brought into blocks, for convolutions and pools alone.
        conv: Position of the call of the convolution that made it; -1 for other values.
    """

    blocked: bool = False
    plain: bool = False
    reordered: bool = False
    conv: int = -1


def calls_of_graph(graph: Graph, block: int, batch: int = 1) -> list[Call]:
    """The kernel calls of a graph.

    Args:
        graph: Of its first output's network.
        block: Channels per block; 1 where the runtime knows no blocked layout.
        batch: Images per inference.
    """
    walk = LayoutWalk(graph, block, batch)
    walk.plain(graph.outputs[0])
    return walk.made()


class LayoutWalk:
    """Visits the nodes of a graph in order and notes what they call.

    Attributes:
        calls: So far; None where a later call has taken one up.
        values: What is known of each node's result.
    """

    def __init__(self, graph: Graph, block: int, batch: int = 1, *, blocked_input: bool = False) -> None:
        """Visits all nodes; `blocked_input` says in which layout the input comes."""
        self.graph = graph
        self.block = block
        self.batch = batch
        self.calls: list[Call | None] = []
        self.values = [Value() for _ in graph.nodes]
        self.values[0] = Value(blocked=blocked_input, plain=not blocked_input)
        norms = graph.folding_norms()
        self.norm_of = norms
        self.folded = set(norms.values())
        self.uses: Mapping[int, list[int]] = graph.readers()
        for position in range(1, len(graph.nodes)):
            self._visit(position)

    def made(self) -> list[Call]:
        """The calls that are left."""
        return [call for call in self.calls if call is not None]

    def _visit(self, position: int) -> None:
        node = self.graph.nodes[position]
        value, sources = self.values[position], node.inputs
        layer = node.layer
        match layer:
            case Input():
                pass
            case Conv2d():
                self._conv(position, node, layer)
            case RepConv2d():
                self._conv(position, node, layer.merged)
            case BatchNorm2d():
                if position in self.folded:
                    self.values[position] = self.values[sources[0]]
                else:
                    self._plainly("BatchNormalization", position, [(node.shape[0],)] * 4)
            case ReLU():
                self._relu(position)
            case HardSwish() | HardSigmoid():
                self._activation(position, layer)
            case Scale():
                self._scale(position, node)
            case Pool2d():
                self._pool("MaxPool" if layer.kind == "max" else "AveragePool", position)
            case GlobalAvgPool():
                self._pool("GlobalAveragePool", position)
            case Crop():
                self._plainly("Slice", position, [(2,)] * 3)
            case Zeros():
                self._emit("ConstantOfShape", [(4,)], self._sizes(position, False))
                value.plain = True
            case Add():
                self._add(position, node)
            case Concat():
                whole = all(self.graph.nodes[i].shape[0] % self.block == 0 for i in sources)
                if self.block > 1 and whole and all(self.values[i].blocked for i in sources):
                    self._emit("Concat", [self._sizes(i, True) for i in sources], self._sizes(position, True))
                    value.blocked = True
                else:
                    self._plainly("Concat", position)
            case Linear():
                flat = (self.batch, layer.in_features)
                self.plain(sources[0])
                self._emit("Flatten", [self._sizes(sources[0], False)], flat)
                # The runtime packs the weights away before it runs, so its profiler does not show them.
                self._emit("Gemm", [flat, (layer.out_features,)], (self.batch, layer.out_features))
                value.plain = True
            case _:
                assert_never(layer)

    def plain(self, position: int) -> None:
        """Makes sure that a value exists in the plain layout."""
        if not self.values[position].plain:
            given, shape = self._sizes(position, True), self._sizes(position, False)
            self._emit("ReorderOutput", [given], shape, blocked=True)
            self.values[position].plain = True

    def _in_blocks(self, position: int) -> None:
        value = self.values[position]
        if not value.blocked and not value.reordered:
            given, shape = self._sizes(position, False), self._sizes(position, True)
            self._emit("ReorderInput", [given], shape, blocked=True)
            value.reordered = True

    def _sizes(self, position: int, blocked: bool) -> Sizes:
        channels, height, width = self.graph.nodes[position].shape
        return (self.batch, self._padded(channels) if blocked else channels, height, width)

    def _padded(self, channels: int) -> int:
        return -(-channels // self.block) * self.block

    def _emit(self, op: str, inputs: list[Sizes], output: Sizes, *, blocked: bool = False) -> int:
        self.calls.append(Call(op, tuple(inputs), output, blocked))
        return len(self.calls) - 1

    def _plainly(self, op: str, position: int, more: list[Sizes] | None = None) -> None:
        sources = self.graph.nodes[position].inputs
        for source in sources:
            self.plain(source)
        inputs = [self._sizes(source, False) for source in sources]
        self._emit(op, [*inputs, *(more or [])], self._sizes(position, False))
        self.values[position].plain = True

    def _conv(self, position: int, node: Node, layer: Conv2d) -> None:
        (source,) = node.inputs
        biased = layer.bias or position in self.norm_of
        inputs, outputs = layer.in_channels, layer.out_channels
        direct = layer.groups == 1 and inputs < self.block
        aligned = inputs % _ALIGNMENT == 0 and (layer.groups in (1, inputs))
        grouped = 1 < layer.groups < inputs and not any(
            channels % (layer.groups * self.block) for channels in (inputs, outputs)
        )
        blocked = self.block > 1 and (direct or aligned or grouped)
        if not blocked or direct:
            self.plain(source)
        else:
            self._in_blocks(source)
        filters = self._padded(outputs) if blocked else outputs
        per_group = inputs if direct or not blocked else self._padded(inputs)
        weights = (filters, per_group if layer.groups == 1 else inputs // layer.groups, *layer.kernel)
        given = [self._sizes(source, blocked and not direct), weights, *([(filters,)] * biased)]
        end = self.norm_of.get(position, position)
        conv = self._emit("Conv", given, self._sizes(end, blocked), blocked=blocked)
        self.values[position] = Value(blocked, not blocked, conv=conv)

    def _fusable(self, position: int) -> int:
        """The convolution that may take up what alone reads its result; -1 for none."""
        return self.values[position].conv if len(self.uses.get(position, ())) == 1 else -1

    def _relu(self, position: int) -> None:
        (source,) = self.graph.nodes[position].inputs
        value, fused = self.values[source], self._fusable(source)
        if fused >= 0:
            call = self.calls[fused]
            assert call is not None
            if not call.blocked:
                self.calls[fused] = Call("FusedConv", call.inputs, call.output)
            self.values[position] = Value(value.blocked, value.plain)
            return
        self._emit("Relu", [self._sizes(source, value.blocked)], self._sizes(position, value.blocked))
        self.values[position] = Value(value.blocked, not value.blocked)

    def _activation(self, position: int, layer: HardSwish | HardSigmoid) -> None:
        """Within the convolution before it; else hard swish is a hard sigmoid and a product."""
        (source,) = self.graph.nodes[position].inputs
        value, fused = self.values[source], self._fusable(source)
        call = self.calls[fused] if fused >= 0 else None
        swish = isinstance(layer, HardSwish)
        if call is not None and (call.blocked or not swish):
            op = "Conv" if call.blocked else "FusedConv"
            self.calls[fused] = replace(call, op=op, activation="HardSwish" if swish else "HardSigmoid")
            self.values[position] = Value(value.blocked, value.plain)
            return
        sizes = self._sizes(position, value.blocked)
        self._emit("HardSigmoid", [sizes], sizes)
        if swish:
            self._emit("Mul", [sizes, sizes], sizes)
        self.values[position] = Value(value.blocked, not value.blocked)

    def _pool(self, op: str, position: int) -> None:
        (source,) = self.graph.nodes[position].inputs
        whole = self.block > 1 and self.graph.nodes[position].shape[0] % self.block == 0
        if not whole or (op == "GlobalAveragePool" and not self.values[source].blocked):
            self._plainly(op, position)
            return
        self._in_blocks(source)
        self._emit(op, [self._sizes(source, True)], self._sizes(position, True), blocked=True)
        self.values[position].blocked = True

    def _scale(self, position: int, node: Node) -> None:
        """A product; in blocks only where nothing is broadcast, on a map of one pixel."""
        sizes = [self._sizes(source, True) for source in node.inputs]
        if self.block > 1 and sizes[0] == sizes[1] and all(self.values[i].blocked for i in node.inputs):
            self._emit("Mul", sizes, sizes[0])
            self.values[position].blocked = True
        else:
            self._plainly("Mul", position)

    def _add(self, position: int, node: Node) -> None:
        first, *rest = node.inputs
        running, fusable = self.values[first], self._fusable(first)
        for second in rest:
            value = self.values[second]
            if self.block > 1 and running.blocked and value.blocked:
                conv = self._blocked_sum(position, fusable if fusable >= 0 else self._fusable(second))
                running, fusable = Value(blocked=True, conv=conv), -1
                continue
            for term in (running, value):
                if not term.plain:
                    given, shape = self._sizes(position, True), self._sizes(position, False)
                    self._emit("ReorderOutput", [given], shape, blocked=True)
                    term.plain = True
            conv = self._plain_sum(position, (fusable, self._fusable(second)))
            running, fusable = Value(plain=True, conv=conv), -1
        self.values[position] = running

    def _plain_sum(self, position: int, fusable: tuple[int, int]) -> int:
        """As `_blocked_sum`, of plain values."""
        sizes = self._sizes(position, False)
        for fused in fusable if self.block > 1 else ():
            call = self.calls[fused] if fused >= 0 else None
            if call is not None and not call.blocked:
                self.calls[fused] = None
                return self._emit("FusedConv", [*call.inputs, sizes], sizes)
        self._emit("Add", [sizes, sizes], sizes)
        return -1

    def _blocked_sum(self, position: int, fused: int) -> int:
        """Emits a sum; the position of the convolution that takes it up, -1 where none does."""
        sizes = self._sizes(position, True)
        call = self.calls[fused] if fused >= 0 else None
        if call is None:
            self._emit("Add", [sizes, sizes], sizes)
            return -1
        # The convolution runs once both terms are there.
        self.calls[fused] = None
        return self._emit("Conv", [*call.inputs, sizes], sizes, blocked=True)
