"""All candidate ops on all edges that leave one node, computed together.

A mixed op (Liu et al., 2019, eq. 2) is a weighted sum of every op on an edge. Edges that leave the same node
read the same tensor, so each op computes them as one (`edge_op`), and the sum over ops closes them
(`normed_sum`). All of it equals the plain sum over edges and ops, which the tests keep as their oracle.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mobinas.graph.lowering import lower_op
from mobinas.nets.conv import from_phases
from mobinas.supernet.edge_op import EdgeOp, SeenLayers
from mobinas.supernet.normed_sum import Term, normed_sum


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
                result = _sum_of([result])
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
            own.append(_sum_of(terms))
        sums = weighted_sums(shared, weights[:, shared_columns]) if shared else None
        if not own:
            assert sums is not None, "a space has at least one real op"
            return sums
        each = sum(own[1:], own[0]).chunk(self.edges, dim=1)
        return list(each) if sums is None else [a + b for a, b in zip(each, sums, strict=True)]


def _sum_of(terms: list[Term]) -> Tensor:
    """`normed_sum` of terms in phases or not."""
    sums = []
    for d in sorted({term.phases for term in terms}):
        part = normed_sum([term for term in terms if term.phases == d])
        sums.append(part if d == 1 else from_phases(part, d))
    return sum(sums[1:], sums[0])


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
