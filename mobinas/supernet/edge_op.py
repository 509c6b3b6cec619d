"""One op on all edges that leave one node, as one computation.

Parameterless layers (ReLU, pooling, batch normalisation without scale) give every edge the same result and
run once; convolutions with weights of their own run as one convolution with k times the channels. Pointwise
convolutions melt into their batch normalisation, and where these close the op, into a `Term` of a sum over
ops. Dilated depthwise convolutions run in phases, as do the layers behind them.
"""

import torch
from torch import Tensor, nn

from mobinas.graph.layers import BatchNorm2d, Concat, Conv2d, Graph, Input, Layer, ReLU
from mobinas.nets.conv import conv2d, to_phases
from mobinas.nets.module import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, compute_layer
from mobinas.supernet.normed_sum import PointwiseNorm, Term, edge_weights, normed_sum

_FEW_CHANNELS = 16


class EdgeConv(nn.Module):
    """One convolution per edge, as one call.

    Attributes:
        weight: [edges * out_channels, in_channels / groups, height, width], edge after edge.
    """

    def __init__(self, layer: Conv2d, edges: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layer, self.edges = layer, edges
        shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel)
        self.weight = edge_weights(edges, shape, generator)

    def forward(self, x: Tensor, per_edge: bool, rows: list[int] | None = None, phases: int = 1) -> Tensor:
        """Convolves an input of each edge (`per_edge`) or one for all; `rows` and `phases` as in `Term`."""
        layer, k = self.layer, self.edges
        weight: Tensor = self.weight
        if rows is not None:
            k, weight = len(rows), weight.view(k, -1, *weight.shape[1:])[rows].flatten(0, 1)
        groups = layer.groups * (k if per_edge else 1)
        dilation = (layer.dilation // phases, layer.dilation // phases)
        padding = (layer.padding[0] // phases, layer.padding[1] // phases)
        return conv2d(x, weight, None, layer.stride, padding, dilation, groups)


class EdgeNorm(nn.Module):
    """Batch normalisation without parameters; statistics per edge where the values differ by edge."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, edges: int) -> None:
        super().__init__()
        self.edges = edges
        self.register_buffer("running_mean", torch.zeros(edges * channels))
        self.register_buffer("running_var", torch.ones(edges * channels))

    def forward(self, x: Tensor, rows: list[int] | None = None) -> Tensor:
        """Normalises [batch, edges * channels, height, width], of these edges."""
        mean, var = self.running_mean, self.running_var
        if rows is not None and self.edges > 1:
            mean, var = (s.view(self.edges, -1)[rows].flatten() for s in (mean, var))
        # In channels_last, torch takes 13 times as long for 4 channels; from 16 on it is the other way round.
        few = x.device.type == "cpu" and x.shape[1] < _FEW_CHANNELS
        result = nn.functional.batch_norm(
            x.contiguous() if few else x,
            mean,
            var,
            None,
            None,
            self.training,
            BATCH_NORM_MOMENTUM,
            BATCH_NORM_EPSILON,
        ).contiguous(memory_format=torch.channels_last)
        if self.training and mean is not self.running_mean:
            for all_edges, these in ((self.running_mean, mean), (self.running_var, var)):
                all_edges.view(self.edges, -1)[rows] = these.view(len(rows or ()), -1)
        return result


class EdgeOp(nn.Module):
    """One op on the k edges that leave a node.

    Attributes:
        shared: Whether the op has no weights, so that all edges get one and the same result.
    """

    def __init__(self, graph: Graph, edges: int, generator: torch.Generator) -> None:
        super().__init__()
        self.graph, self.edges = graph, edges
        self._melted = _pointwise_before_norm(graph, edges)
        self._rectified = _melted_before_relu(graph, self._melted)
        self._phased = _closing_dilated(graph, self._melted)
        self._per_edge = _which_differ_by_edge(graph)
        self.shared = not self._per_edge[graph.outputs[0]]
        self.layers = nn.ModuleDict()
        for position, (node, differs) in enumerate(zip(graph.nodes, self._per_edge, strict=True)):
            match node.layer:
                case Conv2d(in_channels=n, out_channels=m) if position in self._melted:
                    self.layers[node.name] = PointwiseNorm(n, m, edges, generator)
                case Conv2d():
                    self.layers[node.name] = EdgeConv(node.layer, edges, generator)
                case BatchNorm2d() if node.inputs[0] not in self._melted:
                    self.layers[node.name] = EdgeNorm(node.layer.channels, edges if differs else 1)
                case _:
                    pass

    def forward(
        self, x: Tensor, weights: Tensor | None, seen: "SeenLayers", rows: list[int] | None = None
    ) -> Tensor | Term:
        """Applies the op.

        Args:
            x: [batch, channels, height, width], the node's value.
            weights: [edges], what the result is multiplied with, None for 1; ignored where `shared`.
            seen: Results on `x` that ops of one node share; filled here.
            rows: The edges to compute, where not all of them; `weights` is of these.

        Returns:
            [batch, edges * channels, height, width] weighted, edge after edge, or the term of a sum that
            stands for it; where `shared`, the one [batch, channels, height, width] unweighted.
        """
        values: list[Tensor] = []
        edges, last = self.edges if rows is None else len(rows), self.graph.outputs[0]
        for position, node in enumerate(self.graph.nodes):
            inputs = [values[i] for i in node.inputs]
            differs = bool(node.inputs) and self._per_edge[node.inputs[0]]
            match node.layer:
                case Input():
                    values.append(x)
                case Conv2d():
                    phases = self._phased.get(position, 1)
                    if node.layer.groups > 1 and not differs:
                        inputs = [seen.repeated(seen.phases(inputs[0], phases), edges)]
                        differs = True
                    if position not in self._melted:
                        inputs = [self.layers[node.name](inputs[0], differs, rows, phases)]
                    values.append(inputs[0])
                case BatchNorm2d() if node.inputs[0] in self._melted:
                    norm = self.layers[self.graph.nodes[node.inputs[0]].name]
                    assert isinstance(norm, PointwiseNorm)
                    if position == last:
                        return Term(inputs[0], norm, weights, rows, max([1, *self._phased.values()]))
                    term = Term(inputs[0], norm, None, rows)
                    values.append(normed_sum([term], rectified=position in self._rectified))
                case ReLU() if node.inputs[0] in self._rectified:
                    values.append(inputs[0])
                case BatchNorm2d():
                    values.append(self.layers[node.name](inputs[0], rows))
                case _ if node.inputs == (0,):
                    values.append(seen.layer(node.layer, x))
                case _:
                    values.append(_plain(node.layer, inputs, edges if self._per_edge[position] else 1))
        result = values[last]
        if self.shared or weights is None:
            return result
        return result * weights.repeat_interleave(result.shape[1] // edges).view(1, -1, 1, 1)


class SeenLayers:
    """What the ops of one node compute alike: parameterless layers on its value, and copies per edge."""

    def __init__(self) -> None:
        self._layers: dict[Layer, Tensor] = {}
        self._copies: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._phases: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def layer(self, layer: Layer, x: Tensor) -> Tensor:
        """A parameterless layer on the node's value."""
        if layer not in self._layers:
            self._layers[layer] = compute_layer(layer, [x])
        return self._layers[layer]

    def phases(self, x: Tensor, d: int) -> Tensor:
        """`to_phases` of x."""
        if d == 1:
            return x
        if (id(x), d) not in self._phases:
            # x is kept, so that its id stays its own.
            self._phases[id(x), d] = x, to_phases(x, d)
        return self._phases[id(x), d][1]

    def repeated(self, x: Tensor, edges: int) -> Tensor:
        """The channels of x once for each edge."""
        if edges == 1:
            return x
        if (id(x), edges) not in self._copies:
            # Unlike repeat, cat keeps channels_last, where depthwise convolutions are several times faster.
            self._copies[id(x), edges] = x, torch.cat([x] * edges, dim=1)
        return self._copies[id(x), edges][1]


def _only_reader(graph: Graph, position: int) -> type[Layer] | None:
    readers = graph.readers().get(position, [])
    return type(graph.nodes[readers[0]].layer) if len(readers) == 1 else None


def _closing_dilated(graph: Graph, melted: frozenset[int]) -> dict[int, int]:
    """The dilated depthwise convolution between a shared value and the closing pointwise one, if any.

    Its dilation by its position: it may run in phases, and all that follows, too.
    """
    closing = graph.nodes[graph.outputs[0]]
    if not isinstance(closing.layer, BatchNorm2d) or closing.inputs[0] not in melted:
        return {}
    position = graph.nodes[closing.inputs[0]].inputs[0]
    layer, shape = graph.nodes[position].layer, graph.nodes[position].shape
    if not isinstance(layer, Conv2d) or layer.dilation == 1 or layer.stride != (1, 1) or layer.groups == 1:
        return {}
    d = layer.dilation
    fits = shape[1] % d == shape[2] % d == 0 and all(
        k % 2 and p == d * (k - 1) // 2 for k, p in zip(layer.kernel, layer.padding, strict=True)
    )
    alone = not _which_differ_by_edge(graph)[graph.nodes[position].inputs[0]]
    return {position: d} if fits and alone and _only_reader(graph, position) is Conv2d else {}


def _melted_before_relu(graph: Graph, melted: frozenset[int]) -> frozenset[int]:
    """Positions of the batch normalisations of `melted` that nothing but a ReLU reads."""
    return frozenset(
        position
        for position, node in enumerate(graph.nodes)
        if isinstance(node.layer, BatchNorm2d)
        and node.inputs[0] in melted
        and _only_reader(graph, position) is ReLU
    )


def _pointwise_before_norm(graph: Graph, edges: int) -> frozenset[int]:
    """Positions of the 1x1 convolutions that nothing but a batch normalisation reads."""
    differ = _which_differ_by_edge(graph)
    return frozenset(
        position
        for position, node in enumerate(graph.nodes)
        if isinstance(node.layer, Conv2d)
        and (node.layer.kernel, node.layer.stride, node.layer.padding) == ((1, 1), (1, 1), (0, 0))
        and node.layer.groups == 1
        and (edges == 1 or differ[node.inputs[0]])
        and _only_reader(graph, position) is BatchNorm2d
    )


def _which_differ_by_edge(graph: Graph) -> list[bool]:
    differs: list[bool] = []
    for node in graph.nodes:
        differs.append(isinstance(node.layer, Conv2d) or any(differs[i] for i in node.inputs))
    return differs


def _plain(layer: Layer, inputs: list[Tensor], edges: int) -> Tensor:
    if isinstance(layer, Concat) and edges > 1:
        pieces = zip(*(part.chunk(edges, dim=1) for part in inputs), strict=True)
        return torch.cat([one for edge in pieces for one in edge], dim=1)
    return compute_layer(layer, inputs)


class Preprocessing(nn.Module):
    """What brings a cell's input to its channels and size."""

    def __init__(self, graph: Graph, generator: torch.Generator) -> None:
        super().__init__()
        self.op = EdgeOp(graph, 1, generator)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to the cell's channels and size."""
        result = self.op(x, None, SeenLayers())
        return normed_sum([result]) if isinstance(result, Term) else result
