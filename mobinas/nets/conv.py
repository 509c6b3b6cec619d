"""Convolutions, with a way round those kernels of torch on a CPU that are broken or hundreds of times slow.

Found with torch 2.13 on x86: the weight gradient of a depthwise convolution whose kernel is larger than its
input takes oneDNN's reference code (5x5 on 576 channels of 2x2, batch 128: 108 ms, one tap at a time 1 ms),
and so do both gradients of dilated ones. Strided 1x1 convolutions corrupt memory.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

Pair = tuple[int, int]


class Conv2d(nn.Conv2d):
    """torch's, computed by `conv2d`; zero padding in numbers only."""

    def forward(self, input: Tensor) -> Tensor:
        """Maps [batch, in_channels, height, width] to [batch, out_channels, ...]."""
        assert self.padding_mode == "zeros" and not isinstance(self.padding, str)
        return conv2d(
            input,
            self.weight,
            self.bias,
            _pair(self.stride),
            _pair(self.padding),
            _pair(self.dilation),
            self.groups,
        )

    @classmethod
    def like(cls, other: nn.Conv2d) -> "Conv2d":
        """With the settings and the very parameters of another."""
        conv = cls.__new__(cls)
        conv.__dict__.update(other.__dict__)
        return conv


def _pair(values: tuple[int, ...]) -> Pair:
    height, width = values
    return height, width


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """The same mathematics as ``torch.nn.functional.conv2d``.

    Args:
        x: [batch, channels, height, width].
        weight: [out_channels, channels / groups, height, width].
        bias: [out_channels] or None.
        stride: Along height and width.
        padding: With zeros, along height and width.
        dilation: Along height and width.
        groups: Of channels that do not mix.
    """
    if tuple(weight.shape[2:]) == (1, 1) and stride != (1, 1) and padding == (0, 0):
        # torch's own kernel writes past its buffers when a channels_last input has fewer than 8 channels
        # ("corrupted double-linked list"); here it only sees the pixels that count.
        return nn.functional.conv2d(x[:, :, :: stride[0], :: stride[1]], weight, bias, groups=groups)
    settings = (stride, padding, dilation)
    if _is_slow(x, weight, groups, *settings) and not torch.compiler.is_compiling():
        result: Tensor = _DepthwiseByTaps.apply(x, weight, *settings)  # type: ignore[no-untyped-call]
        return result if bias is None else result + bias.view(1, -1, 1, 1)
    return nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _is_slow(x: Tensor, weight: Tensor, groups: int, stride: Pair, padding: Pair, dilation: Pair) -> bool:
    depthwise = groups > 1 and groups == x.shape[1] == weight.shape[0]
    beyond = any(k > size for k, size in zip(weight.shape[2:], x.shape[2:], strict=True))
    return depthwise and x.device.type == "cpu" and (dilation != (1, 1) or beyond)


class _DepthwiseByTaps(torch.autograd.Function):
    """A depthwise convolution that leaves to torch only what torch does fast.

    Each entry of a kernel, a tap, meets a shifted window of the input; windows hold no padding, so a kernel
    larger than its input costs only what counts. All of it is differentiable again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, padding, dilation
        shape = [
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
        ]
        # Forward, torch is slow only where the result is smaller than the padding.
        if all(size >= p for size, p in zip(shape, padding, strict=True)):
            return nn.functional.conv2d(x, weight, None, stride, padding, dilation, len(weight))
        result = _zeros((x.shape[0], x.shape[1], *shape), x)
        for tap, inside, outside in _windows(x, result, weight, *ctx.settings):
            result[outside].addcmul_(x[inside], weight[:, 0, *tap].view(1, -1, 1, 1))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.settings
        for_x = for_weight = None
        if ctx.needs_input_grad[0] and dilation == (1, 1):
            settings = stride, padding, dilation, False, (0, 0), len(weight)
            wanted = (True, False, False)
            for_x = torch.ops.aten.convolution_backward(gradient, x, weight, None, *settings, wanted)[0]
        elif ctx.needs_input_grad[0]:
            for_x = _zeros(x.shape, x)
            for tap, inside, outside in _windows(x, gradient, weight, *ctx.settings):
                for_x[inside].addcmul_(gradient[outside], weight[:, 0, *tap].view(1, -1, 1, 1))
        if ctx.needs_input_grad[1]:
            for_weight = torch.zeros_like(weight)
            for tap, inside, outside in _windows(x, gradient, weight, *ctx.settings):
                for_weight[:, 0, *tap] = (x[inside] * gradient[outside]).sum((0, 2, 3))
        return for_x, for_weight, None, None, None


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.zeros(shape, dtype=like.dtype).contiguous(memory_format=torch.channels_last)


def _windows(
    x: Tensor, result: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Iterator[tuple[Pair, tuple[slice, ...], tuple[slice, ...]]]:
    """For each tap that meets the input: its place, the pixels of the input and those of the result."""
    along = [
        list(_meetings(*sizes))
        for sizes in zip(
            weight.shape[2:], x.shape[2:], result.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    every = slice(None)
    for i, rows_in, rows_out in along[0]:
        for j, columns_in, columns_out in along[1]:
            yield (i, j), (every, every, rows_in, columns_in), (every, every, rows_out, columns_out)


def _meetings(
    taps: int, size: int, result: int, stride: int, padding: int, dilation: int
) -> Iterator[tuple[int, slice, slice]]:
    for tap in range(taps):
        shift = tap * dilation - padding
        first = max(0, -(shift // stride))
        last = min(result - 1, (size - 1 - shift) // stride)
        if first <= last:
            inside = slice(first * stride + shift, last * stride + shift + 1, stride)
            yield tap, inside, slice(first, last + 1)
