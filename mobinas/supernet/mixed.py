"""All candidate ops on all edges that leave one node, computed together.

A mixed op (Liu et al., 2019, eq. 2) is a weighted sum of every op on an edge. Edges that leave the same node
read the same tensor, so the ops of one kind on k edges are one computation: parameterless layers (ReLU,
pooling, batch normalisation without scale) give every edge the same result and run once; convolutions with
weights of their own run as one convolution with k times the channels. Pointwise convolutions melt into their
batch normalisation, and where these close the ops, into the sum over ops (`normed_sum`). All of it equals the
plain sum over edges and ops, which the tests keep as their oracle.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mobinas.graph.layers import BatchNorm2d, Concat, Conv2d, Graph, Input, Layer, ReLU
from mobinas.graph.lowering import lower_op
from mobinas.nets.conv import conv2d
from mobinas.nets.module import BATCH_NORM_MOMENTUM, compute_layer
from mobinas.supernet.normed_sum import PointwiseNorm, Term, normed_sum

_EPSILON = 1e-5


class _EdgeConv(nn.Module):
    """One convolution per edge, as one call.

    Attributes:
        weight: [edges * out_channels, in_channels / groups, height, width], edge after edge.
    """

    def __init__(self, layer: Conv2d, edges: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layer, self.edges = layer, edges
        taps = (layer.in_channels // layer.groups, *layer.kernel)
        self.weight = nn.Parameter(torch.empty(edges * layer.out_channels, *taps))
        # He, fan out, as for one edge alone; a view of one edge's filters has the right fan.
        for part in self.weight.detach().chunk(edges):
            nn.init.kaiming_normal_(part, mode="fan_out", nonlinearity="relu", generator=generator)

    def forward(self, x: Tensor, per_edge: bool, rows: list[int] | None = None) -> Tensor:
        layer, k = self.layer, self.edges
        weight: Tensor = self.weight
        if rows is not None:
            k, weight = len(rows), weight.view(k, -1, *weight.shape[1:])[rows].flatten(0, 1)
        groups = layer.groups * (k if per_edge else 1)
        dilation = (layer.dilation, layer.dilation)
        return conv2d(x, weight, None, layer.stride, layer.padding, dilation, groups)


class _EdgeNorm(nn.Module):
    """Batch normalisation without parameters; statistics per edge where the values differ by edge."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, edges: int) -> None:
        super().__init__()
        self.edges = edges
        self.register_buffer("running_mean", torch.zeros(edges * channels))
        self.register_buffer("running_var", torch.ones(edges * channels))

    def forward(self, x: Tensor, rows: list[int] | None = None) -> Tensor:
        mean, var = self.running_mean, self.running_var
        if rows is not None and self.edges > 1:
            mean, var = (s.view(self.edges, -1)[rows].flatten() for s in (mean, var))
        result = nn.functional.batch_norm(
            x, mean, var, None, None, self.training, BATCH_NORM_MOMENTUM, _EPSILON
        )
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
        self._per_edge = _which_differ_by_edge(graph)
        self.shared = not self._per_edge[graph.outputs[0]]
        self.layers = nn.ModuleDict()
        for position, (node, differs) in enumerate(zip(graph.nodes, self._per_edge, strict=True)):
            match node.layer:
                case Conv2d(in_channels=n, out_channels=m) if position in self._melted:
                    self.layers[node.name] = PointwiseNorm(n, m, edges, generator)
                case Conv2d():
                    self.layers[node.name] = _EdgeConv(node.layer, edges, generator)
                case BatchNorm2d() if node.inputs[0] not in self._melted:
                    self.layers[node.name] = _EdgeNorm(node.layer.channels, edges if differs else 1)
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
                    if node.layer.groups > 1 and not differs:
                        inputs, differs = [seen.repeated(inputs[0], edges)], True
                    melts = position in self._melted
                    values.append(inputs[0] if melts else self.layers[node.name](inputs[0], differs, rows))
                case BatchNorm2d() if node.inputs[0] in self._melted:
                    norm = self.layers[self.graph.nodes[node.inputs[0]].name]
                    assert isinstance(norm, PointwiseNorm)
                    if position == last:
                        return Term(inputs[0], norm, weights, rows)
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

    def layer(self, layer: Layer, x: Tensor) -> Tensor:
        """A parameterless layer on the node's value."""
        if layer not in self._layers:
            self._layers[layer] = compute_layer(layer, [x])
        return self._layers[layer]

    def repeated(self, x: Tensor, edges: int) -> Tensor:
        """The channels of x once for each edge."""
        if edges == 1:
            return x
        key = id(x), edges
        if key not in self._copies:
            # Unlike repeat, cat keeps channels_last, where depthwise convolutions are several times faster.
            # x is kept, so that its id stays its own.
            self._copies[key] = x, torch.cat([x] * edges, dim=1)
        return self._copies[key][1]


def _readers(graph: Graph) -> dict[int, list[type[Layer]]]:
    readers: dict[int, list[type[Layer]]] = {}
    for node in graph.nodes:
        for i in node.inputs:
            readers.setdefault(i, []).append(type(node.layer))
    return readers


def _melted_before_relu(graph: Graph, melted: frozenset[int]) -> frozenset[int]:
    """Positions of the batch normalisations of `melted` that nothing but a ReLU reads."""
    readers = _readers(graph)
    return frozenset(
        position
        for position, node in enumerate(graph.nodes)
        if isinstance(node.layer, BatchNorm2d)
        and node.inputs[0] in melted
        and readers.get(position) == [ReLU]
    )


def _pointwise_before_norm(graph: Graph, edges: int) -> frozenset[int]:
    """Positions of the 1x1 convolutions that nothing but a batch normalisation reads."""
    readers = _readers(graph)
    differ = _which_differ_by_edge(graph)
    return frozenset(
        position
        for position, node in enumerate(graph.nodes)
        if isinstance(node.layer, Conv2d)
        and (node.layer.kernel, node.layer.stride, node.layer.padding) == ((1, 1), (1, 1), (0, 0))
        and node.layer.groups == 1
        and (edges == 1 or differ[node.inputs[0]])
        and readers.get(position) == [BatchNorm2d]
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


class MixedEdges(nn.Module):
    """The mixed ops on all edges that leave one node.

    Attributes:
        ops: Names of the ops, ``none`` included.
        edges: How many edges leave the node.
    """

    def __init__(
        self,
        ops: Sequence[str],
        edges: int,
        shape: tuple[int, int, int],
        stride: int,
        generator: torch.Generator,
    ) -> None:
        """Builds all ops.

        Args:
            ops: Keys of `OPS`.
            edges: How many edges leave the node.
            shape: (channels, height, width) of what the mixed ops read.
            stride: 1 or 2, of all these edges.
            generator: Draws the initial weights.
        """
        super().__init__()
        self.ops, self.edges = tuple(ops), edges
        self.by_op = nn.ModuleDict(
            {
                op: EdgeOp(lower_op(op, shape, stride=stride, search=True), edges, generator)
                for op in ops
                if op != "none"
            }
        )

    def forward(self, x: Tensor, weights: Tensor, computed: Tensor | None = None) -> list[Tensor | None]:
        """The weighted sum of all ops on each edge.

        Args:
            x: [batch, channels, height, width].
            weights: [edges, ops].
            computed: [edges, ops], which ops to compute on which edges; None for all.

        Returns:
            For each edge [batch, channels, height / stride, width / stride], or None where nothing arrives.
        """
        return [*self._mixed(x, weights)] if computed is None else self._some(x, weights, computed)

    def _some(self, x: Tensor, weights: Tensor, computed: Tensor) -> list[Tensor | None]:
        results: list[Tensor | None] = [None] * self.edges
        seen = SeenLayers()
        for column, op in enumerate(self.ops):
            rows: list[int] = computed[:, column].nonzero().flatten().tolist()
            if op == "none" or not rows:
                continue
            module = self.by_op[op]
            result = module(x, weights[rows, column], seen, rows)
            if isinstance(result, Term):
                result = normed_sum([result])
            if module.shared:
                pieces = [result * weights[row, column] for row in rows]
            else:
                pieces = list(result.chunk(len(rows), dim=1))
            for row, piece in zip(rows, pieces, strict=True):
                known = results[row]
                results[row] = piece if known is None else known + piece
        return results

    def _mixed(self, x: Tensor, weights: Tensor) -> list[Tensor]:
        seen = SeenLayers()
        shared: list[Tensor] = []
        shared_columns: list[int] = []
        terms: list[Term] = []
        own: list[Tensor] = []
        for column, op in enumerate(self.ops):
            if op == "none":
                continue
            module = self.by_op[op]
            result = module(x, weights[:, column], seen)
            if module.shared:
                shared.append(result)
                shared_columns.append(column)
            elif isinstance(result, Term):
                terms.append(result)
            else:
                own.append(result)
        if terms:
            own.append(normed_sum(terms))
        sums = weighted_sums(shared, weights[:, shared_columns]) if shared else None
        if not own:
            assert sums is not None, "a space has at least one real op"
            return sums
        each = sum(own[1:], own[0]).chunk(self.edges, dim=1)
        return list(each) if sums is None else [a + b for a, b in zip(each, sums, strict=True)]


class Preprocessing(nn.Module):
    """What brings a cell's input to its channels and size."""

    def __init__(self, graph: Graph, generator: torch.Generator) -> None:
        super().__init__()
        self.op = EdgeOp(graph, 1, generator)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to the cell's channels and size."""
        result = self.op(x, None, SeenLayers())
        return normed_sum([result]) if isinstance(result, Term) else result


def weighted_sums(values: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """Several weighted sums of the same tensors, as one matrix product.

    Args:
        values: n tensors [batch, channels, height, width].
        weights: [k, n].

    Returns:
        k tensors of the values' shape, in channels_last.
    """
    batch, channels, height, width = values[0].shape
    stacked = torch.stack([value.permute(0, 2, 3, 1) for value in values]).flatten(1)
    sums = (weights @ stacked).view(len(weights), batch, height, width, channels)
    return [one.permute(0, 3, 1, 2) for one in sums.unbind(0)]


def weighted_sum(values: Sequence[Tensor], weights: Tensor) -> Tensor:
    """One weighted sum of tensors of the same shape.

    Args:
        values: n tensors [batch, channels, height, width], in channels_last.
        weights: [n].
    """
    total: Tensor = _WeightedSum.apply(weights, *values)  # type: ignore[no-untyped-call]
    return total


class _WeightedSum(torch.autograd.Function):
    """In one buffer, where a chain of products and sums would make two for each value."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, *values: Tensor) -> Tensor:
        ctx.save_for_backward(weights, *values)
        total = values[0] * weights[0]
        for value, weight in zip(values[1:], weights[1:], strict=True):
            total.addcmul_(value, weight)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        weights, *values = ctx.saved_tensors
        flat = gradient.permute(0, 2, 3, 1).reshape(-1)
        products = [torch.dot(flat, value.permute(0, 2, 3, 1).reshape(-1)) for value in values]
        return torch.stack(products), *(gradient * weight for weight in weights)
