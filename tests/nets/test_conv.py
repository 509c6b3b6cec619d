"""Our convolutions equal torch's own, in values, gradients and second derivatives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mobinas.nets.conv import Conv2d, avg_pool2d, conv2d, from_phases, to_phases, window

_CHANNELS = 3


@given(
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.integers(1, 3),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=150)
def test_a_depthwise_one_has_torchs_values_and_gradients(kernel, size, stride, dilation, channels_last, seed):
    generator = torch.Generator().manual_seed(seed)
    padding = tuple(dilation * (k - 1) // 2 for k in kernel)
    if any(s + 2 * p < dilation * (k - 1) + 1 for s, p, k in zip(size, padding, kernel, strict=True)):
        return
    x = torch.randn(2, _CHANNELS, *size, generator=generator, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(_CHANNELS, 1, *kernel, generator=generator, dtype=torch.float64)
    bias = torch.randn(_CHANNELS, generator=generator, dtype=torch.float64)
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    arguments = (*leaves, stride, padding, (dilation, dilation), _CHANNELS)
    expected = nn.functional.conv2d(*arguments)
    result = conv2d(*arguments)
    torch.testing.assert_close(result, expected)
    towards = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(result, leaves, towards),
        torch.autograd.grad(expected, leaves, towards),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dilation", [1, 2])
def test_a_depthwise_one_is_differentiable_twice(dilation):
    torch.manual_seed(0)
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    padding = 2 * dilation

    def ours(x, weight):
        return conv2d(x, weight, None, (1, 1), (padding, padding), (dilation, dilation), 2)

    assert torch.autograd.gradgradcheck(ours, (x, weight))


@pytest.mark.parametrize(("size", "dilation"), [(2, 1), (4, 1), (9, 1), (9, 2)])
def test_what_torch_is_slow_at_is_done_otherwise(size, dilation):
    """So that a new torch does not silently bypass it; the ratio is in the module's first lines."""
    x, weight = torch.randn(1, 4, size, size), torch.randn(4, 1, 5, 5, requires_grad=True)
    padding = 2 * dilation
    result = conv2d(x, weight, None, (1, 1), (padding, padding), (dilation, dilation), 4)
    assert type(result.grad_fn).__name__ != "ConvolutionBackward0"


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_pointwise_one_has_torchs_values(channels, stride):
    torch.manual_seed(0)
    theirs = nn.Conv2d(channels, 4, 1, stride)
    ours = Conv2d.like(theirs)
    x = torch.randn(2, channels, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours.weight is theirs.weight


@pytest.mark.parametrize("form", [torch.channels_last, torch.contiguous_format])
def test_a_window_is_a_slice_whose_gradient_keeps_the_memory_format(form):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 6).contiguous(memory_format=form).requires_grad_()
    rows, columns = slice(1, None), slice(None, None, 2)
    torch.testing.assert_close(window(x, rows, columns), x[:, :, rows, columns])
    towards = torch.randn(2, 3, 4, 3).contiguous(memory_format=form)
    (ours,) = torch.autograd.grad(window(x, rows, columns), x, towards)
    (theirs,) = torch.autograd.grad(x[:, :, rows, columns], x, towards)
    torch.testing.assert_close(ours, theirs)
    assert ours.is_contiguous(memory_format=form)
    doubled = x.detach().double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda one: window(one, rows, columns), (doubled,))


def test_phases_hold_every_dth_pixel_and_come_back():
    x = torch.arange(2.0 * 3 * 4 * 6).view(2, 3, 4, 6).contiguous(memory_format=torch.channels_last)
    phases = to_phases(x, 2)
    assert phases.shape == (8, 3, 2, 3) and phases.is_contiguous(memory_format=torch.channels_last)
    for image in range(2):
        for row in range(2):
            for column in range(2):
                found = phases[image * 4 + row * 2 + column]
                assert torch.equal(found, x[image, :, row::2, column::2])
    assert torch.equal(from_phases(phases, 2), x)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 8)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_average_pooling_is_torchs(size, stride, channels):
    torch.manual_seed(0)
    x = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
    found = avg_pool2d(x, 3, stride, 1)
    expected = nn.functional.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
    torch.testing.assert_close(found, expected)
    towards = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad(y, x, towards)[0] for y in (found, expected))
    torch.testing.assert_close(ours, theirs)
