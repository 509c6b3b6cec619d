"""The sum of scaled, normalised pointwise convolutions against one after the other."""

import pytest
import torch
from torch import Tensor, nn

from mobinas.nets.module import BATCH_NORM_MOMENTUM
from mobinas.supernet.normed_sum import PointwiseNorm, Term, normed_sum


def _norm(channels: int, out: int, edges: int, seed: int) -> PointwiseNorm:
    return PointwiseNorm(channels, out, edges, torch.Generator().manual_seed(seed)).double()


def _naive(terms: list[Term]) -> Tensor:
    total = torch.zeros(())
    for term in terms:
        weights = term.norm.weight.chunk(term.norm.edges)
        rows = range(term.norm.edges) if term.rows is None else term.rows
        pieces = []
        for k, (row, u) in enumerate(zip(rows, term.u.chunk(len(rows), dim=1), strict=True)):
            result = nn.functional.conv2d(u, weights[row])
            mean = result.mean((0, 2, 3), keepdim=True)
            variance = result.var((0, 2, 3), unbiased=False, keepdim=True)
            normed = (result - mean) / (variance + 1e-5).sqrt()
            pieces.append(normed if term.scale is None else term.scale[k] * normed)
        total = total + torch.cat(pieces, dim=1)
    return total


# Few columns are folded, more of them multiplied in groups of edges, wide ones edge by edge.
@pytest.mark.parametrize(
    ("channels", "out", "edges"), [(2, 2, 2), (4, 4, 1), (8, 8, 5), (24, 24, 3), (30, 8, 1), (5, 9, 2)]
)
@pytest.mark.parametrize("rectified", [False, True])
def test_values_and_gradients(channels: int, out: int, edges: int, rectified: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    leaves: list[Tensor] = []
    terms = []
    for seed, scaled in enumerate((True, False)):
        norm = _norm(channels, out, edges, seed)
        u = torch.randn(3, edges * channels, 5, 4, generator=generator, dtype=torch.float64) + 0.5
        u = u.contiguous(memory_format=torch.channels_last).requires_grad_()
        scale = torch.randn(edges, generator=generator, dtype=torch.float64, requires_grad=True)
        terms.append(Term(u, norm, scale if scaled else None))
        leaves += [u, norm.weight, *([scale] if scaled else [])]
    found, expected = normed_sum(terms, rectified=rectified), _naive(terms)
    expected = torch.relu(expected) if rectified else expected
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    towards = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(found, leaves, towards),
        torch.autograd.grad(expected, leaves, towards),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("rows", [None, [2, 0]])
def test_statistics_move_as_in_batch_normalisation_and_serve_in_evaluation(rows: list[int] | None) -> None:
    norm = _norm(4, 4, 3, 0)
    u = torch.randn(3, 4 * (3 if rows is None else 2), 5, 4, dtype=torch.float64)
    normed_sum([Term(u, norm, None, rows)])
    for k, row in enumerate(range(3) if rows is None else rows):
        plain = nn.BatchNorm2d(4, affine=False, momentum=BATCH_NORM_MOMENTUM).double()
        result = nn.functional.conv2d(u.chunk(3 if rows is None else 2, dim=1)[k], norm.weight.chunk(3)[row])
        plain(result)
        torch.testing.assert_close(norm.running_mean.view(3, -1)[row], plain.running_mean)
        torch.testing.assert_close(norm.running_var.view(3, -1)[row], plain.running_var)
        norm.eval()
        plain.eval()
        here = normed_sum([Term(u, norm, None, rows)]).chunk(3 if rows is None else 2, dim=1)[k]
        torch.testing.assert_close(here, plain(result))
        norm.train()
    if rows is not None:  # the edge that was not meant
        assert not norm.running_mean.view(3, -1)[1].any()


def test_a_channel_without_variance_stays_finite() -> None:
    norm = _norm(2, 2, 1, 0).float()
    u = torch.full((2, 2, 3, 3), 7.0, requires_grad=True)
    result = normed_sum([Term(u, norm)])
    result.square().sum().backward()
    assert torch.isfinite(result).all() and torch.isfinite(u.grad).all()


def test_single_precision_is_close_where_the_mean_is_large() -> None:
    norm = _norm(8, 8, 2, 0)
    u = torch.randn(8, 16, 8, 8, dtype=torch.float64) + 3
    expected = normed_sum([Term(u, norm)])
    found = normed_sum([Term(u.float(), norm.float())])
    assert float((found - expected).detach().abs().max() / expected.detach().abs().max()) < 1e-4
