"""Our convolutions equal torch's own, in values, gradients and second derivatives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mobinas.nets.conv import Conv2d, _DepthwiseByTaps, conv2d

_CHANNELS = 3


@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    seed=st.integers(0, 99),
)
def test_the_depthwise_one_has_torchs_values_and_gradients(kernel, size, stride, dilation, seed):
    generator = torch.Generator().manual_seed(seed)
    padding = tuple(d * (k - 1) // 2 + k % 2 for k, d in zip(kernel, dilation, strict=True))
    if any(s + 2 * p < d * (k - 1) + 1 for s, p, d, k in zip(size, padding, dilation, kernel, strict=True)):
        return
    x = torch.randn(2, _CHANNELS, *size, generator=generator, dtype=torch.float64)
    weight = torch.randn(_CHANNELS, 1, *kernel, generator=generator, dtype=torch.float64)
    leaves = x.requires_grad_(), weight.requires_grad_()
    expected = nn.functional.conv2d(x, weight, None, stride, padding, dilation, _CHANNELS)
    towards = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    result = _DepthwiseByTaps.apply(x, weight, stride, padding, dilation)
    torch.testing.assert_close(result, expected)
    for ours, theirs in zip(
        torch.autograd.grad(result, leaves, towards),
        torch.autograd.grad(expected, leaves, towards),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dilation", [1, 2])
def test_the_depthwise_one_is_differentiable_twice(dilation):
    torch.manual_seed(0)
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    padding = 2 * dilation

    def ours(x, weight):
        return conv2d(x, weight, None, (1, 1), (padding, padding), (dilation, dilation), 2)

    assert "DepthwiseByTaps" in type(ours(x, weight).grad_fn).__name__
    assert torch.autograd.gradgradcheck(ours, (x, weight))


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_pointwise_one_has_torchs_values(channels, stride):
    torch.manual_seed(0)
    theirs = nn.Conv2d(channels, 4, 1, stride)
    ours = Conv2d.like(theirs)
    x = torch.randn(2, channels, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours.weight is theirs.weight
