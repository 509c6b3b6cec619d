"""All candidate ops on all edges that leave one node, computed together.

A mixed op (Liu et al., 2019, eq. 2) is a weighted sum of every op on an edge. Edges that leave the same node
read the same tensor, so the ops of one kind on k edges are one computation: parameterless layers (ReLU,
pooling, batch normalisation without scale) give every edge the same result and run once; convolutions with
weights of their own run as one convolution with k times the channels. The weights of the sum enter as the
scale of the closing batch normalisation where there is one. All of it equals the plain sum over edges and
ops, which the tests keep as their oracle.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mobinas.graph.layers import BatchNorm2d, Concat, Conv2d, Graph, Input, Layer
from mobinas.graph.lowering import lower_op
from mobinas.nets.conv import conv2d
from mobinas.nets.module import BATCH_NORM_MOMENTUM, compute_layer

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
        if not per_edge and layer.groups > 1:
            # Unlike repeat, cat keeps channels_last, where depthwise convolutions are several times faster.
            x, per_edge = torch.cat([x] * k, dim=1), True
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

    def forward(self, x: Tensor, scale: Tensor | None = None, rows: list[int] | None = None) -> Tensor:
        # With a scale the native kernel wants a shift too.
        shift = None if scale is None else torch.zeros_like(scale)
        mean, var = self.running_mean, self.running_var
        if rows is not None and self.edges > 1:
            mean, var = (s.view(self.edges, -1)[rows].flatten() for s in (mean, var))
        result = nn.functional.batch_norm(
            x, mean, var, scale, shift, self.training, BATCH_NORM_MOMENTUM, _EPSILON
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
        self._per_edge = _which_differ_by_edge(graph)
        self.shared = not self._per_edge[graph.outputs[0]]
        self._scaled = None if self.shared else _closing_norm(graph)
        self.layers = nn.ModuleDict()
        for node, differs in zip(graph.nodes, self._per_edge, strict=True):
            match node.layer:
                case Conv2d():
                    self.layers[node.name] = _EdgeConv(node.layer, edges, generator)
                case BatchNorm2d():
                    self.layers[node.name] = _EdgeNorm(node.layer.channels, edges if differs else 1)
                case _:
                    pass

    def forward(
        self, x: Tensor, weights: Tensor, seen: dict[Layer, Tensor], rows: list[int] | None = None
    ) -> Tensor:
        """Applies the op.

        Args:
            x: [batch, channels, height, width], the node's value.
            weights: [edges], what the result is multiplied with; ignored where `shared`.
            seen: Results of parameterless layers on `x`, shared among the ops of one node; filled here.
            rows: The edges to compute, where not all of them; `weights` is of these.

        Returns:
            [batch, edges * channels, height, width] weighted, edge after edge; where `shared`, the one
            [batch, channels, height, width] unweighted.
        """
        values: list[Tensor] = []
        edges = len(weights)
        for position, node in enumerate(self.graph.nodes):
            if node.inputs == (0,) and not isinstance(node.layer, Conv2d | BatchNorm2d):
                if node.layer not in seen:
                    seen[node.layer] = _plain(node.layer, [x], 1)
                values.append(seen[node.layer])
                continue
            inputs = [values[i] for i in node.inputs]
            match node.layer:
                case Input():
                    values.append(x)
                case Conv2d():
                    values.append(self.layers[node.name](inputs[0], self._per_edge[node.inputs[0]], rows))
                case BatchNorm2d():
                    scale = None
                    if position in (self._scaled or ()):
                        scale = weights.repeat_interleave(node.layer.channels)
                    values.append(self.layers[node.name](inputs[0], scale, rows))
                case _:
                    values.append(_plain(node.layer, inputs, edges if self._per_edge[position] else 1))
        result = values[self.graph.outputs[0]]
        if self.shared or self._scaled is not None:
            return result
        return result * weights.repeat_interleave(result.shape[1] // edges).view(1, -1, 1, 1)


def _which_differ_by_edge(graph: Graph) -> list[bool]:
    differs: list[bool] = []
    for node in graph.nodes:
        differs.append(isinstance(node.layer, Conv2d) or any(differs[i] for i in node.inputs))
    return differs


def _closing_norm(graph: Graph) -> tuple[int, ...] | None:
    """Positions of the batch normalisations that end the op, if all of its paths end in one."""
    last = graph.outputs[0]
    ends = graph.nodes[last].inputs if isinstance(graph.nodes[last].layer, Concat) else (last,)
    return ends if all(isinstance(graph.nodes[i].layer, BatchNorm2d) for i in ends) else None


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

    def forward(self, x: Tensor, weights: Tensor, sampled: bool = False) -> list[Tensor | None]:
        """The weighted sum of all ops on each edge.

        Args:
            x: [batch, channels, height, width].
            weights: [edges, ops].
            sampled: Compute ops on those edges alone where their weight is not 0.

        Returns:
            For each edge [batch, channels, height / stride, width / stride], or None where nothing arrives.
        """
        return self._sampled(x, weights) if sampled else [*self._mixed(x, weights)]

    def _sampled(self, x: Tensor, weights: Tensor) -> list[Tensor | None]:
        results: list[Tensor | None] = [None] * self.edges
        seen: dict[Layer, Tensor] = {}
        chosen = weights.detach() != 0
        for column, op in enumerate(self.ops):
            rows: list[int] = chosen[:, column].nonzero().flatten().tolist()
            if op == "none" or not rows:
                continue
            module = self.by_op[op]
            result = module(x, weights[rows, column], seen, rows)
            if module.shared:
                pieces = [result * weights[row, column] for row in rows]
            else:
                pieces = list(result.chunk(len(rows), dim=1))
            for row, piece in zip(rows, pieces, strict=True):
                known = results[row]
                results[row] = piece if known is None else known + piece
        return results

    def _mixed(self, x: Tensor, weights: Tensor) -> list[Tensor]:
        seen: dict[Layer, Tensor] = {}
        shared: list[Tensor] = []
        shared_columns: list[int] = []
        total: Tensor | None = None
        for column, op in enumerate(self.ops):
            if op == "none":
                continue
            module = self.by_op[op]
            result = module(x, weights[:, column], seen)
            if module.shared:
                shared.append(result)
                shared_columns.append(column)
            else:
                total = result if total is None else total + result
        sums = weighted_sums(shared, weights[:, shared_columns]) if shared else None
        if total is None:
            assert sums is not None, "a space has at least one real op"
            return sums
        own = total.chunk(self.edges, dim=1)
        return list(own) if sums is None else [a + b for a, b in zip(own, sums, strict=True)]


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
