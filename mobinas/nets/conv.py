"""Convolutions, with a way round those kernels of torch on a CPU that are broken or hundreds of times slow.

Found with torch 2.13 on x86: the weight gradient of a depthwise convolution is fast only where the kernel is
at most three wide and not larger than its input (on 16 channels of 32x32, batch 64, one thread: 5x3 0.5 ms,
5x5 7.2 ms; 5x5 on 576 channels of 2x2, batch 128: 108 ms); both gradients of dilated ones are slow. Strided
1x1 convolutions corrupt memory.
"""

from typing import Any

import torch
from torch import Tensor, nn

Pair = tuple[int, int]

# Columns of a kernel whose weight gradient torch computes fast.
_STRIP = 3


class Conv2d(nn.Conv2d):
    """torch's, computed by `conv2d`; zero padding in numbers only."""

    def forward(self, input: Tensor) -> Tensor:
        """Maps [batch, in_channels, height, width] to [batch, out_channels, ...]."""
        return self.by(self.weight, self.bias, input)

    def by(self, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
        """The same convolution with other filters."""
        assert self.padding_mode == "zeros" and not isinstance(self.padding, str)
        return conv2d(
            x,
            weight,
            bias,
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
        return plain(
            window(x, slice(None, None, stride[0]), slice(None, None, stride[1])), weight, bias, groups=groups
        )
    depthwise = 1 < groups == x.shape[1] == weight.shape[0]
    # Of a dilated one only the gradients are slow: 3x3 on 16 channels of 32x32, batch 128, takes 0.5 ms, in
    # phases 2.9 ms.
    forward_alone = not torch.is_grad_enabled() and _padding_fits(x, weight, stride, padding, dilation)
    if depthwise and dilation != (1, 1) and not forward_alone:
        result = _dilated(x, weight, stride, padding, dilation)
    elif depthwise and dilation == (1, 1) and not _fast(x, weight):
        result = _Depthwise.apply(x, weight, stride, padding)  # type: ignore[no-untyped-call]
    else:
        return plain(x, weight, bias, stride, padding, dilation, groups)
    return result if bias is None else result + bias.view(1, -1, 1, 1)


def avg_pool2d(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Means over squares, in which padding does not count.

    On a CPU as a depthwise convolution with ones, forward and backward three times as fast as torch's own.

    Args:
        x: [batch, channels, height, width].
        kernel: Side of the squares in pixels.
        stride: Along height and width.
        padding: Along height and width.
    """
    plain = nn.functional.avg_pool2d
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return plain(x, kernel, stride, padding, count_include_pad=False)
    channels = x.shape[1]
    pairs = (stride, stride), (padding, padding)
    sums = conv2d(x, x.new_ones(channels, 1, kernel, kernel), None, *pairs, groups=channels)
    share = plain(x.new_ones(1, 1, *x.shape[2:]), kernel, stride, padding)
    return sums / (share * kernel**2)


def window(x: Tensor, rows: slice, columns: slice) -> Tensor:
    """These rows and columns of a map, [batch, channels, height, width]; gradients keep the format.

    torch fills the gradient of a slice into an NCHW tensor whatever the input's format, and what meets it on
    the way back then runs several times slower.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return x[:, :, rows, columns]
    result: Tensor = _Window.apply(x, rows, columns)  # type: ignore[no-untyped-call]
    return result


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: slice, columns: slice) -> Tensor:
        ctx.settings = x.shape, rows, columns
        part = x[:, :, rows, columns]
        return part.contiguous(memory_format=torch.channels_last) if _channels_last(x) else part.contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        shape, rows, columns = ctx.settings
        form = torch.channels_last if _channels_last(gradient) else torch.contiguous_format
        whole = torch.zeros(shape, dtype=gradient.dtype).contiguous(memory_format=form)
        whole[:, :, rows, columns] = gradient
        return whole, None, None


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


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
        every = slice(None, None, d)
        return conv2d(window(x, every, every), weight, None, padding=inner, groups=len(weight))
    height, width = x.shape[2:]
    images = to_phases(nn.functional.pad(x, (0, -width % d, 0, -height % d)), d)
    results = conv2d(images, weight, None, padding=inner, groups=len(weight))
    return from_phases(results, d)[:, :, :height, :width]


def to_phases(x: Tensor, d: int) -> Tensor:
    """All pixels of one remainder of division by d as an image of their own, for height and width apart.

    Args:
        x: [batch, channels, height, width], divisible by d.
        d: How many phases along each axis.

    Returns:
        [batch * d * d, channels, height / d, width / d], in channels_last.
    """
    n, channels, height, width = x.shape
    parts = x.permute(0, 2, 3, 1).reshape(n, height // d, d, width // d, d, channels)
    images = parts.permute(0, 2, 4, 1, 3, 5).reshape(n * d * d, height // d, width // d, channels)
    return images.permute(0, 3, 1, 2)


def from_phases(x: Tensor, d: int) -> Tensor:
    """Undoes `to_phases`."""
    n, channels, rows, columns = x.shape[0] // (d * d), *x.shape[1:]
    parts = x.permute(0, 2, 3, 1).reshape(n, d, d, rows, columns, channels)
    whole = parts.permute(0, 3, 1, 4, 2, 5).reshape(n, rows * d, columns * d, channels)
    return whole.permute(0, 3, 1, 2)


def _padding_fits(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> bool:
    """Whether the result has as many pixels as the padding; smaller ones take slow code, forward too."""
    return all(
        (size + 2 * p - d * (k - 1) - 1) // s + 1 >= p
        for size, k, s, p, d in zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    )


def _fast(x: Tensor, weight: Tensor) -> bool:
    height, width = weight.shape[2:]
    return width <= _STRIP and height <= x.shape[2] and width <= x.shape[3]


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution whose weight gradient is taken in strips of three columns of the kernel.

    All of it is differentiable again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, padding
        if not _padding_fits(x, weight, stride, padding, (1, 1)):
            (above, beside), padding = padding, (0, 0)
            x = nn.functional.pad(x, (beside, beside, above, above))
        return nn.functional.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        stride, padding = ctx.settings
        backward = torch.ops.aten.convolution_backward
        for_x = for_weight = None
        settings = (1, 1), False, (0, 0), len(weight)
        if ctx.needs_input_grad[0]:
            for_x = backward(gradient, x, weight, None, stride, padding, *settings, (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            strips = []
            for first in range(0, weight.shape[3], _STRIP):
                taps = weight[:, :, :, first : first + _STRIP]
                part = _seen(x, taps, gradient, stride, (padding[0], padding[1] - first))
                if part is None:
                    strips.append(torch.zeros_like(taps))
                    continue
                here = None, stride, (0, 0), *settings
                strips.append(backward(gradient, part, taps, *here, (False, True, False))[1])
            for_weight = torch.cat(strips, dim=3)
        return for_x, for_weight, None, None


def _seen(x: Tensor, taps: Tensor, result: Tensor, stride: Pair, before: Pair) -> Tensor | None:
    """The part of x that taps see from all pixels of a result, padded; None where that is padding alone.

    Args:
        x: [batch, channels, height, width].
        taps: [channels, 1, height, width].
        result: [batch, channels, height, width].
        stride: Along height and width.
        before: Padded rows and columns before x; below 0 for those of x that the taps skip.
    """
    amounts: list[int] = []
    for axis in (3, 2):  # pad counts from the last axis
        size, start = x.shape[axis], before[axis - 2]
        after = stride[axis - 2] * (result.shape[axis] - 1) + taps.shape[axis] - start - size
        if min(start, after) <= -size:
            return None
        amounts += [start, after]
    return nn.functional.pad(x, amounts)
