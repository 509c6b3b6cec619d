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
    plain = nn.functional.conv2d
    if torch.compiler.is_compiling() or x.device.type != "cpu":  # exported graphs show what was meant
        return plain(x, weight, bias, stride, padding, dilation, groups)
    if tuple(weight.shape[2:]) == (1, 1) and stride != (1, 1) and padding == (0, 0):
        # torch's own kernel writes past its buffers when a channels_last input has fewer than 8 channels
        # ("corrupted double-linked list"); here it only sees the pixels that count.
        return plain(x[:, :, :: stride[0], :: stride[1]], weight, bias, groups=groups)
    depthwise = 1 < groups == x.shape[1] == weight.shape[0]
    if depthwise and dilation != (1, 1):
        result = _dilated(x, weight, stride, padding, dilation)
    elif depthwise and (weight.shape[2] > x.shape[2] or weight.shape[3] > x.shape[3]):
        result = _DepthwiseByTaps.apply(x, weight, stride, padding)  # type: ignore[no-untyped-call]
    else:
        return plain(x, weight, bias, stride, padding, dilation, groups)
    return result if bias is None else result + bias.view(1, -1, 1, 1)


def _dilated(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """A dilated depthwise convolution as plain ones of the pixels that it brings together.

    With dilation d, a kernel sees every d-th pixel alone. So all pixels of one remainder of division by d
    make an image of their own; with stride d, only those of remainder 0 count.
    """
    d = dilation[0]
    centred = all(q == d * (k - 1) // 2 and k % 2 for q, k in zip(padding, weight.shape[2:], strict=True))
    if dilation != (d, d) or not centred or stride not in ((1, 1), (d, d)):
        return nn.functional.conv2d(x, weight, None, stride, padding, dilation, len(weight))
    inner = padding[0] // d, padding[1] // d
    if stride == (d, d):
        return conv2d(x[:, :, ::d, ::d], weight, None, padding=inner, groups=len(weight))
    n, channels, height, width = x.shape
    padded = nn.functional.pad(x, (0, -width % d, 0, -height % d))
    rows, columns = padded.shape[2] // d, padded.shape[3] // d
    # Batch, rows, their remainder, columns, their remainder, channels: remainders go to the batch.
    parts = padded.permute(0, 2, 3, 1).view(n, rows, d, columns, d, channels).permute(0, 2, 4, 1, 3, 5)
    images = parts.reshape(n * d * d, rows, columns, channels).permute(0, 3, 1, 2)
    results = conv2d(images, weight, None, padding=inner, groups=len(weight)).permute(0, 2, 3, 1)
    parts = results.reshape(n, d, d, rows, columns, channels).permute(0, 3, 1, 4, 2, 5)
    whole = parts.reshape(n, rows * d, columns * d, channels).permute(0, 3, 1, 2)
    return whole[:, :, :height, :width]


class _DepthwiseByTaps(torch.autograd.Function):
    """A depthwise convolution that leaves to torch only what torch does fast.

    Each entry of a kernel, a tap, meets a shifted window of the input; windows hold no padding, so a kernel
    larger than its input costs only what counts. All of it is differentiable again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, padding
        shape = [
            (size + 2 * p - k) // s + 1
            for size, k, s, p in zip(x.shape[2:], weight.shape[2:], stride, padding, strict=True)
        ]
        # Forward, torch is slow only where the result is smaller than the padding.
        if all(size >= p for size, p in zip(shape, padding, strict=True)):
            return nn.functional.conv2d(x, weight, None, stride, padding, 1, len(weight))
        result = torch.zeros((*x.shape[:2], *shape), dtype=x.dtype)
        result = result.contiguous(memory_format=torch.channels_last)
        for tap, inside, outside in _windows(x, result, weight, stride, padding):
            result[outside].addcmul_(x[inside], weight[:, 0, *tap].view(1, -1, 1, 1))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        stride, padding = ctx.settings
        for_x = for_weight = None
        if ctx.needs_input_grad[0]:
            settings = stride, padding, (1, 1), False, (0, 0), len(weight)
            wanted = (True, False, False)
            for_x = torch.ops.aten.convolution_backward(gradient, x, weight, None, *settings, wanted)[0]
        if ctx.needs_input_grad[1]:
            for_weight = torch.zeros_like(weight)
            for tap, inside, outside in _windows(x, gradient, weight, stride, padding):
                for_weight[:, 0, *tap] = (x[inside] * gradient[outside]).sum((0, 2, 3))
        return for_x, for_weight, None, None


def _windows(
    x: Tensor, result: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> Iterator[tuple[Pair, tuple[slice, ...], tuple[slice, ...]]]:
    """For each tap that meets the input: its place, the pixels of the input and those of the result."""
    along = [
        list(_meetings(*sizes))
        for sizes in zip(weight.shape[2:], x.shape[2:], result.shape[2:], stride, padding, strict=True)
    ]
    every = slice(None)
    for i, rows_in, rows_out in along[0]:
        for j, columns_in, columns_out in along[1]:
            yield (i, j), (every, every, rows_in, columns_in), (every, every, rows_out, columns_out)


def _meetings(
    taps: int, size: int, result: int, stride: int, padding: int
) -> Iterator[tuple[int, slice, slice]]:
    for tap in range(taps):
        shift = tap - padding
        first = max(0, -(shift // stride))
        last = min(result - 1, (size - 1 - shift) // stride)
        if first <= last:
            inside = slice(first * stride + shift, last * stride + shift + 1, stride)
            yield tap, inside, slice(first, last + 1)
