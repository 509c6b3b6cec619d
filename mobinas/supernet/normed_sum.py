"""Pointwise convolutions with batch normalisation, scaled and summed, without their results in between.

A 1x1 convolution W of inputs u followed by batch normalisation without parameters is affine in u once its
statistics are known, and these follow from mean m and covariance C of u alone: the results have mean W m and
variance diag(W C W^T). So the sum over ops of scale * BN(W u), which closes most mixed edges, is one chain of
matrix products into one result. Each separate result, its normalisation and the sums, a read and a write of
memory each, fall away, forward and backward, and with them what had to be kept for the backward pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mobinas.nets.module import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM

# Products with fewer columns waste the vector units (65,536 x 4: 0.29 ms, the same numbers as 16,384 x 16:
# 0.05 ms), and block-diagonal ones of more columns waste time on zeros.
_FAST_COLUMNS, _MOST_COLUMNS = 16, 32


class PointwiseNorm(nn.Module):
    """A 1x1 convolution and its batch normalisation on each of several edges; holds, `normed_sum` computes.

    Attributes:
        weight: [edges * out_channels, in_channels, 1, 1], edge after edge.
        edges: How many.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, in_channels: int, out_channels: int, edges: int, generator: torch.Generator) -> None:
        super().__init__()
        self.edges = edges
        self.weight = edge_weights(edges, (out_channels, in_channels, 1, 1), generator)
        self.register_buffer("running_mean", torch.zeros(edges * out_channels))
        self.register_buffer("running_var", torch.ones(edges * out_channels))


def edge_weights(edges: int, shape: tuple[int, ...], generator: torch.Generator) -> nn.Parameter:
    """Filters [edges * out_channels, ...] for edges of this shape; He, fan out, as for one edge alone."""
    weight = torch.empty(edges * shape[0], *shape[1:])
    for part in weight.chunk(edges):  # a view of one edge's filters has the right fan
        nn.init.kaiming_normal_(part, mode="fan_out", nonlinearity="relu", generator=generator)
    return nn.Parameter(weight)


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One summand: ``scale * BN(W u)`` on each edge.

    Attributes:
        u: [batch, edges * in_channels, height, width], edge after edge.
        norm: Gives W and the statistics.
        scale: [edges], or None for 1.
        rows: The edges of `norm` that are meant, where not all of them.
        phases: d where u comes as `to_phases(u, d)`, which changes nothing about its sum.
    """

    u: Tensor
    norm: PointwiseNorm
    scale: Tensor | None = None
    rows: list[int] | None = None
    phases: int = 1

    def weight(self) -> Tensor:
        """[edges, out_channels, in_channels]."""
        weight: Tensor = self.norm.weight.view(self.norm.edges, -1, self.norm.weight.shape[1])
        return weight if self.rows is None else weight[self.rows]

    def moved(self, mean: Tensor, variance: Tensor) -> None:
        """Moves the running statistics towards those of a batch, [edges, out_channels] each."""
        with torch.no_grad():
            for running, now in ((self.norm.running_mean, mean), (self.norm.running_var, variance)):
                table = running.view(self.norm.edges, -1)
                if self.rows is None:
                    table.lerp_(now.to(table), BATCH_NORM_MOMENTUM)
                else:
                    table[self.rows] = table[self.rows].lerp(now.to(table), BATCH_NORM_MOMENTUM)

    def known(self) -> tuple[Tensor, Tensor]:
        """The running mean and variance, [edges, out_channels] each."""
        mean, variance = (
            running.view(self.norm.edges, -1) for running in (self.norm.running_mean, self.norm.running_var)
        )
        return (mean, variance) if self.rows is None else (mean[self.rows], variance[self.rows])


def normed_sum(terms: Sequence[Term], *, rectified: bool = False) -> Tensor:
    """The sum of all terms, [batch, edges * out_channels, height, width], in channels_last.

    Terms of a module in training use the statistics of the batch, and move the running ones.

    Args:
        terms: All of the same numbers of edges and channels.
        rectified: Whether max(sum, 0) is meant.
    """
    batch, _, height, width = terms[0].u.shape
    weights = torch.stack([term.weight() for term in terms])
    rows = [term.u.permute(0, 2, 3, 1).reshape(batch * height * width, -1) for term in terms]
    ones = weights.new_ones(weights.shape[1])
    scales = torch.stack([ones if term.scale is None else term.scale for term in terms])
    if terms[0].norm.training:
        total, mean, variance = _NormedSum.apply(rectified, weights, scales, *rows)  # type: ignore[no-untyped-call]
        for k, term in enumerate(terms):
            term.moved(mean[k], variance[k])
    else:
        known = [term.known() for term in terms]
        mean, variance = (torch.stack([one[k] for one in known]) for k in range(2))
        factor = scales.unsqueeze(2) * torch.rsqrt(variance + BATCH_NORM_EPSILON)
        total = -(factor * mean).sum(0).flatten()
        for row, matrices in zip(rows, factor.unsqueeze(3) * weights, strict=True):
            total = total + row @ _diagonal(matrices).T
        total = torch.relu(total) if rectified else total
    result: Tensor = total.view(batch, height, width, -1).permute(0, 3, 1, 2)
    return result


class _NormedSum(torch.autograd.Function):
    """`normed_sum` of weights [terms, edges, out, in], scales [terms, edges] and inputs as matrices."""

    @staticmethod
    def forward(
        ctx: Any, rectified: bool, weights: Tensor, scales: Tensor, *us: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        edges, pixels = weights.shape[1], len(us[0])
        mean = torch.stack([_column_sums(u) for u in us]).view(len(us), edges, -1) / pixels
        second = torch.stack([_blocks(u, u, edges) for u in us])
        covariance = torch.addcmul(second / pixels, mean.unsqueeze(3), mean.unsqueeze(2), value=-1)
        variance = ((weights @ covariance) * weights).sum(3).clamp_(min=0)
        inverse = torch.rsqrt(variance + BATCH_NORM_EPSILON)
        folded = (scales.unsqueeze(2) * inverse).unsqueeze(3) * weights
        shift = -_times(folded, mean).sum(0)
        total = shift.new_empty(pixels, shift.numel()).copy_(shift.flatten().expand(pixels, -1))
        for u, matrices in zip(us, folded, strict=True):
            _add_product(total, u, matrices)
        if rectified:
            total.clamp_(min=0)
        ctx.rectified = rectified
        kept = (total,) if rectified else ()
        ctx.save_for_backward(weights, scales, mean, covariance, inverse, *us, *kept)
        means, variances = _times(weights, mean), variance * (pixels / max(pixels - 1, 1))
        ctx.mark_non_differentiable(means, variances)
        return total, means, variances

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        weights, scales, mean, covariance, inverse, *us = ctx.saved_tensors
        gradient = gradient.contiguous()
        if ctx.rectified:
            gradient = torch.ops.aten.threshold_backward(gradient, us.pop(), 0)
        edges, pixels = weights.shape[1], len(us[0])
        arrived = _column_sums(gradient).view(edges, -1)
        factor = scales.unsqueeze(2) * inverse
        folded = factor.unsqueeze(3) * weights
        # With A = factor * W, the result is A (u - m): gradients of A, factor, then variance.
        for_folded = torch.stack([_blocks(gradient, u, edges) for u in us])
        for_folded -= arrived.unsqueeze(2) * mean.unsqueeze(2)
        for_factor = (for_folded * weights).sum(3)
        seen = (-0.5 * scales.unsqueeze(2) * for_factor * inverse**3).unsqueeze(3) * weights
        for_weights = for_scales = None
        if ctx.needs_input_grad[1]:
            for_weights = factor.unsqueeze(3) * for_folded + 2 * (seen @ covariance)
        if ctx.needs_input_grad[2]:
            for_scales = (for_factor * inverse).sum(2)
        # u moves the result itself, the mean, and the covariance.
        back, curved = folded.transpose(2, 3), (2 / pixels) * (weights.transpose(2, 3) @ seen)
        shifts = -_times(curved, mean) - _times(back, arrived.expand(len(us), -1, -1)) / pixels
        for_us = []
        for u, shift, one, other in zip(us, shifts, back, curved, strict=True):
            for_us.append(torch.empty_like(u).copy_(shift.flatten().expand_as(u)))
            _add_product(for_us[-1], gradient, one)
            _add_product(for_us[-1], u, other)
        return None, for_weights, for_scales, *for_us


def _column_sums(matrix: Tensor) -> Tensor:
    """[rows, columns] to [columns]; on a CPU several times faster than ``sum(0)`` of few columns."""
    fold = _fold(matrix, matrix)
    wide = matrix.view(len(matrix) // fold, -1)
    return (wide.new_ones(1, len(wide)) @ wide).view(fold, -1).sum(0)


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """[..., n, m] times [..., m]: [..., n]."""
    return (matrices @ vectors.unsqueeze(-1)).squeeze(-1)


def _blocks(left: Tensor, right: Tensor, edges: int) -> Tensor:
    """left^T right within each edge: [rows, edges * n] and [rows, edges * m] to [edges, n, m]."""
    fold = _fold(left, right)
    left, right = left.view(len(left) // fold, -1), right.view(len(right) // fold, -1)
    n, m = left.shape[1] // (fold * edges), right.shape[1] // (fold * edges)
    blocks = []
    for first, count in _groups(fold * edges, n, m):
        part = left.narrow(1, first * n, count * n).T @ right.narrow(1, first * m, count * m)
        blocks.append(part.view(count, n, count, m).diagonal(dim1=0, dim2=2).permute(2, 0, 1))
    return torch.cat(blocks).view(fold, edges, n, m).sum(0)


def _add_product(total: Tensor, u: Tensor, matrices: Tensor) -> None:
    """Adds to each edge of [rows, edges * n] the product of [edges, n, m] with [rows, edges * m]."""
    fold = _fold(total, u)
    total, u = total.view(len(total) // fold, -1), u.view(len(u) // fold, -1)
    matrices = matrices.repeat(fold, 1, 1)
    edges, n, m = matrices.shape
    for first, count in _groups(edges, n, m):
        block = _diagonal(matrices[first : first + count])
        total.narrow(1, first * n, count * n).addmm_(u.narrow(1, first * m, count * m), block.T)


def _fold(left: Tensor, right: Tensor) -> int:
    """How many rows to take as one, so that matrices of few columns become as wide as is fast."""
    fold, width = 1, max(left.shape[1], right.shape[1])
    while 2 * fold * width <= _FAST_COLUMNS and len(left) % (2 * fold) == 0:
        fold *= 2
    return fold


def _groups(edges: int, n: int, m: int) -> Iterator[tuple[int, int]]:
    """Edges that are multiplied together, as (first, how many)."""
    step = max(1, _MOST_COLUMNS // max(n, m))
    return ((first, min(step, edges - first)) for first in range(0, edges, step))


def _diagonal(matrices: Tensor) -> Tensor:
    """[edges, n, m] as one block-diagonal matrix [edges * n, edges * m]."""
    edges, n, m = matrices.shape
    if edges == 1:
        return matrices[0]
    whole = matrices.new_zeros(edges, n, edges, m)
    whole.diagonal(dim1=0, dim2=2).copy_(matrices.permute(1, 2, 0))
    return whole.view(edges * n, edges * m)
