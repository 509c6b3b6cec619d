"""Pointwise convolutions with batch normalisation, scaled and summed, without their results in between.

A 1x1 convolution W of inputs u followed by batch normalisation without parameters is affine in u once its
statistics are known, and these follow from mean m and covariance C of u alone: the results have mean W m and
variance diag(W C W^T). So the sum over ops of scale * BN(W u), which closes most mixed edges, is one chain of
matrix products into one result. Each separate result, its normalisation and the sums, a read and a write of
memory each, fall away, forward and backward, and with them what had to be kept for the backward pass.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mobinas.nets.module import BATCH_NORM_MOMENTUM

_EPSILON = 1e-5
# Below this many channels, one product with a block-diagonal matrix beats one small product per edge.
_DENSE_CHANNELS = 64


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
        self.weight = nn.Parameter(torch.empty(edges * out_channels, in_channels, 1, 1))
        for part in self.weight.detach().chunk(edges):  # a view of one edge's filters has the right fan
            nn.init.kaiming_normal_(part, mode="fan_out", nonlinearity="relu", generator=generator)
        self.register_buffer("running_mean", torch.zeros(edges * out_channels))
        self.register_buffer("running_var", torch.ones(edges * out_channels))


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One summand: ``scale * BN(W u)`` on each edge.

    Attributes:
        u: [batch, edges * in_channels, height, width], edge after edge.
        norm: Gives W and the statistics.
        scale: [edges], or None for 1.
        rows: The edges of `norm` that are meant, where not all of them.
    """

    u: Tensor
    norm: PointwiseNorm
    scale: Tensor | None = None
    rows: list[int] | None = None

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


def normed_sum(terms: list[Term]) -> Tensor:
    """The sum of all terms, [batch, edges * out_channels, height, width], in channels_last.

    Terms of a module in training use the statistics of the batch, and move the running ones.
    """
    batch, _, height, width = terms[0].u.shape
    weights = [term.weight() for term in terms]
    edges = len(weights[0])
    rows = [term.u.permute(0, 2, 3, 1).reshape(batch * height * width, -1) for term in terms]
    scales = [weights[0].new_ones(edges) if term.scale is None else term.scale for term in terms]
    if terms[0].norm.training:
        total, *statistics = _NormedSum.apply(*rows, *weights, *scales)  # type: ignore[no-untyped-call]
        for term, mean, variance in zip(terms, statistics[::2], statistics[1::2], strict=True):
            term.moved(mean, variance)
    else:
        pixels = len(rows[0])
        total = rows[0].new_zeros(pixels, edges * weights[0].shape[1])
        for term, row, weight, scale in zip(terms, rows, weights, scales, strict=True):
            mean, variance = term.known()
            factor = scale.unsqueeze(1) * torch.rsqrt(variance + _EPSILON)
            shift = (-factor * mean).flatten()
            total = total + row @ _diagonal(factor.unsqueeze(2) * weight).T + shift
    result: Tensor = total.view(batch, height, width, -1).permute(0, 3, 1, 2)
    return result


class _NormedSum(torch.autograd.Function):
    """[pixels, edges * channels] matrices u, weights W [edges, out, in] and scales to their `normed_sum`."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        n = len(tensors) // 3
        us, weights, scales = tensors[:n], tensors[n : 2 * n], tensors[2 * n :]
        pixels, edges = len(us[0]), len(weights[0])
        total = us[0].new_empty(pixels, edges * weights[0].shape[1])
        shift = total.new_zeros(edges, weights[0].shape[1])
        statistics, kept, affine = [], [], []
        for u, weight, scale in zip(us, weights, scales, strict=True):
            mean, covariance = _moments(u, edges)
            variance = ((weight @ covariance) * weight).sum(2).clamp_(min=0)
            inverse = torch.rsqrt(variance + _EPSILON)
            folded = (scale.unsqueeze(1) * inverse).unsqueeze(2) * weight
            shift -= _times(folded, mean)
            affine.append(folded)
            kept += [mean, covariance, inverse]
            statistics += [_times(weight, mean), variance * (pixels / max(pixels - 1, 1))]
        total.copy_(shift.flatten().expand_as(total))
        for u, folded in zip(us, affine, strict=True):
            _add_products(total, u, folded)
        ctx.save_for_backward(*tensors, *kept)
        ctx.mark_non_differentiable(*statistics)
        return total, *statistics

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient, saved = gradients[0], ctx.saved_tensors
        n = len(saved) // 6
        us, weights, scales, kept = saved[:n], saved[n : 2 * n], saved[2 * n : 3 * n], saved[3 * n :]
        pixels, edges = len(us[0]), len(weights[0])
        arrived = gradient.sum(0).view(edges, -1)
        for_us: list[Tensor] = []
        for_weights: list[Tensor] = []
        for_scales: list[Tensor] = []
        for t, (u, weight, scale) in enumerate(zip(us, weights, scales, strict=True)):
            mean, covariance, inverse = kept[3 * t : 3 * t + 3]
            factor = scale.unsqueeze(1) * inverse
            # With A = factor * W, the result is A (u - m): gradients of A, factor, then variance.
            for_folded = _blocks(gradient, u, edges) - arrived.unsqueeze(2) * mean.unsqueeze(1)
            for_factor = (for_folded * weight).sum(2)
            for_scales.append((for_factor * inverse).sum(1))
            for_variance = -0.5 * scale.unsqueeze(1) * for_factor * inverse**3
            seen = for_variance.unsqueeze(2) * weight
            for_weights.append(factor.unsqueeze(2) * for_folded + 2 * (seen @ covariance))
            # u moves the result itself, the mean, and the covariance.
            folded = factor.unsqueeze(2) * weight
            curved = (2 / pixels) * (weight.transpose(1, 2) @ seen)
            shift = -_times(curved, mean) - _times(folded.transpose(1, 2), arrived) / pixels
            for_u = shift.flatten().expand_as(u).contiguous()
            _add_products(for_u, gradient, folded.transpose(1, 2))
            _add_products(for_u, u, curved)
            for_us.append(for_u)
        return *for_us, *for_weights, *for_scales


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """[edges, n, m] times [edges, m]: [edges, n]."""
    return (matrices @ vectors.unsqueeze(2)).squeeze(2)


def _moments(u: Tensor, edges: int) -> tuple[Tensor, Tensor]:
    """Mean [edges, channels] and covariance [edges, channels, channels] of the rows of u."""
    mean = u.mean(0).view(edges, -1)
    second = _blocks(u, u, edges) / len(u)
    return mean, second - mean.unsqueeze(2) * mean.unsqueeze(1)


def _blocks(left: Tensor, right: Tensor, edges: int) -> Tensor:
    """left^T right within each edge: [rows, edges * n] and [rows, edges * m] to [edges, n, m]."""
    if edges == 1:
        return (left.T @ right).unsqueeze(0)
    if max(left.shape[1], right.shape[1]) <= _DENSE_CHANNELS:
        whole = left.T @ right
        blocks = whole.view(edges, left.shape[1] // edges, edges, -1)
        return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    return torch.stack(
        [a.T @ b for a, b in zip(left.chunk(edges, dim=1), right.chunk(edges, dim=1), strict=True)]
    )


def _add_products(total: Tensor, u: Tensor, matrices: Tensor) -> None:
    """Adds to each edge of [rows, edges * n] the products of [edges, n, m] with [rows, edges * m]."""
    edges = len(matrices)
    if edges == 1 or max(total.shape[1], u.shape[1]) <= _DENSE_CHANNELS:
        total.addmm_(u, _diagonal(matrices).T)
        return
    for part, one, matrix in zip(total.chunk(edges, dim=1), u.chunk(edges, dim=1), matrices, strict=True):
        part.addmm_(one, matrix.T)


def _diagonal(matrices: Tensor) -> Tensor:
    """[edges, n, m] as one block-diagonal matrix."""
    return matrices[0] if len(matrices) == 1 else torch.block_diag(*matrices)  # type: ignore[no-untyped-call]
