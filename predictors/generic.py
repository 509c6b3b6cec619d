"""Networks that teach a predictor the kernels of families it will meet: random ones, of the field's blocks.

A predictor of cells alone knows neither wide dense convolutions nor hard swish at 112 pixels. These networks
draw stem, blocks, activations, channels and resolution at random, so that kernels of the usual families lie
between what was measured, while none of those families is measured itself.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from predictors.onnx_net import OnnxNet

if TYPE_CHECKING:
    import onnx

_RESOLUTIONS = (64, 96, 128, 160, 192, 224)
_CLASSES = (10, 100, 1000)
# Multiply-accumulates of a network lie between; a large one takes some 50 ms on a server's core.
_MACS = (1e7, 2.5e9)
_BLOCKS = ("plain", "basic", "bottleneck", "inverted", "separable", "fire", "shuffle", "grouped")
_ACTIVATIONS = ("relu", "relu6", "hard_swish", "silu")
# Channels come in multiples of this; most families keep to 8, but 58 (ShuffleNet V2) or 28 occur.
_UNITS = (8, 8, 8, 4, 2)
_WEIGHTS = 4099
# An image of 96 pixels ends at 3.
_SMALLEST = 5


def generic_networks(n: int, seed: int = 0) -> "list[onnx.ModelProto]":
    """Draws classifiers of random blocks.

    Args:
        n: How many.
        seed: Decides all of them; the first ones are the same for every n.

    Returns:
        Models of one image input of fixed size and an open batch, with random weights.
    """
    models: list[onnx.ModelProto] = []
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        network = _Network(rng)
        while not network.build():
            network = _Network(rng)
        models.append(network.model(f"generic-{seed}-{index}"))
    return models


class _TooLargeError(Exception):
    pass


class _Network(OnnxNet):
    """One network under construction; tensors are (name, channels, size)."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self._random = rng
        self.macs = 0.0
        self._resolution = int(rng.choice(_RESOLUTIONS))
        self._activation = str(rng.choice(_ACTIVATIONS))
        self._unit = int(rng.choice(_UNITS))
        self._x, self._channels, self._size = "image", 3, self._resolution

    def normal(self, shape: tuple[int, ...]) -> "np.ndarray[Any, np.dtype[np.floating[Any]]]":
        """Few numbers over and over: their values decide no time, and drawing millions takes seconds."""
        return np.resize(self._random.standard_normal(_WEIGHTS, dtype=np.float32), shape)

    def model(self, name: str) -> "onnx.ModelProto":
        return self.finished(name, (3, self._resolution, self._resolution), (self._channels,))

    def build(self) -> bool:
        """Draws everything; False where that became too large, at once, or too small."""
        try:
            self._draw()
        except _TooLargeError:
            return False
        return self.macs >= _MACS[0]

    def _draw(self) -> None:
        rng = self._random
        width = self._whole(float(rng.integers(8, 65)))
        kernel = int(rng.choice((3, 3, 5, 7)))
        self._conv(width, kernel, stride=int(rng.choice((1, 2, 2, 2))) if self._resolution < 160 else 2)
        if rng.random() < 0.5:
            self._x = self.pool(self._x, "MaxPool", 3, 2)
            self._size = math.ceil(self._size / 2)
        growth = float(rng.choice((1.4, 1.6, 2.0)))
        one_kind = rng.random() < 0.7
        block = str(rng.choice(_BLOCKS))
        for stage in range(int(rng.integers(3, 6))):
            if stage:
                width = min(1024, self._whole(width * growth))
            for index in range(int(rng.integers(1, 4))):
                if not one_kind:
                    block = str(rng.choice(_BLOCKS))
                stride = 2 if index == 0 and stage and self._size > _SMALLEST else 1
                getattr(self, f"_{block}")(width, stride)
        if rng.random() < 0.5:
            self._conv(self._whole(float(rng.integers(160, 1537))), 1)
        self._head(int(rng.choice(_CLASSES)))

    def _head(self, classes: int) -> None:
        x = self.global_pool(self._x)
        x, width = self.node("Flatten", [x], axis=1), self._channels
        if self._random.random() < 0.5:
            hidden = 64 * int(self._random.integers(2, 21))
            x, width = self._activated(self.linear(x, width, hidden)), hidden
        self._x, self._channels = self.linear(x, width, classes), classes

    def _whole(self, channels: float) -> int:
        return max(self._unit, self._unit * round(channels / self._unit))

    def _activated(self, x: str, kind: str = "") -> str:
        match kind or self._activation:
            case "relu":
                return self.node("Relu", [x])
            case "relu6":
                return self.node("Clip", [x, *self.bounds(0, 6)])
            case "hard_swish":
                return self.node("HardSwish", [x])
            case _:
                return self.node("Mul", [x, self.node("Sigmoid", [x])])

    def _conv(self, width: int, kernel: int, stride: int = 1, groups: int = 1, *, act: bool = True) -> None:
        """Convolution with bias (batch normalisation folded), then the activation."""
        self._size = math.ceil(self._size / stride)
        self.macs += self._size**2 * width * (self._channels // groups) * kernel**2
        if self.macs > _MACS[1]:
            raise _TooLargeError
        self._x = self.conv(self._x, self._channels, width, kernel, group=groups, stride=stride, bias=True)
        self._channels = width
        if act:
            self._x = self._activated(self._x)

    def _plain(self, width: int, stride: int) -> None:
        self._conv(width, int(self._random.choice((1, 3, 3, 5))), stride)

    def _separable(self, width: int, stride: int) -> None:
        self._conv(self._channels, int(self._random.choice((3, 5))), stride, self._channels)
        self._conv(width, 1)

    def _with_shortcut(self, x: str, channels: int, stride: int, width: int, *, projected: bool) -> None:
        if channels == width and stride == 1:
            self._x = self.node("Add", [self._x, x])
        elif projected:
            x = self.conv(x, channels, width, 1, stride=stride, bias=True)
            self.macs += self._size**2 * width * channels
            self._x = self.node("Add", [self._x, x])

    def _basic(self, width: int, stride: int) -> None:
        x, channels = self._x, self._channels
        self._conv(width, 3, stride)
        self._conv(width, 3, act=False)
        self._with_shortcut(x, channels, stride, width, projected=True)
        self._x = self._activated(self._x)

    def _bottleneck(self, width: int, stride: int, groups: int = 1) -> None:
        x, channels = self._x, self._channels
        inner = self._whole(width / 4) if groups == 1 else groups * max(1, round(width / 2 / groups))
        self._conv(inner, 1)
        self._conv(inner, 3, stride, groups)
        self._conv(width, 1, act=False)
        self._with_shortcut(x, channels, stride, width, projected=True)
        self._x = self._activated(self._x)

    def _grouped(self, width: int, stride: int) -> None:
        self._bottleneck(width, stride, groups=8)

    def _inverted(self, width: int, stride: int) -> None:
        rng = self._random
        x, channels = self._x, self._channels
        inner = self._whole(channels * float(rng.choice((1, 2, 3, 4, 6))))
        if inner != channels:
            self._conv(inner, 1)
        self._conv(inner, int(rng.choice((3, 3, 5))), stride, inner)
        if rng.random() < 0.5:
            # A quarter of the block's own channels (MobileNetV3), or of its input's (EfficientNet).
            self._squeeze_excite(self._whole(float(rng.choice((inner, channels))) / 4))
        self._conv(width, 1, act=False)
        self._with_shortcut(x, channels, stride, width, projected=False)

    def _squeeze_excite(self, squeezed: int) -> None:
        gate = str(self._random.choice(("HardSigmoid", "Sigmoid")))
        x = self.global_pool(self._x)
        x = self._activated(self.conv(x, self._channels, squeezed, 1, bias=True), "relu")
        x = self.conv(x, squeezed, self._channels, 1, bias=True)
        self._x = self.node("Mul", [self._x, self.node(gate, [x])])

    def _fire(self, width: int, stride: int) -> None:
        if stride == 2:
            self._x = self.pool(self._x, "MaxPool", 3, 2)
            self._size = math.ceil(self._size / 2)
        self._conv(self._whole(width / float(self._random.choice((4, 8)))), 1)
        x, channels = self._x, self._channels
        parts = []
        for kernel in (1, 3):
            self._x, self._channels = x, channels
            self._conv(self._whole(width / 2), kernel)
            parts.append(self._x)
        self._x, self._channels = self.node("Concat", parts, axis=1), 2 * self._channels

    def _shuffle(self, width: int, stride: int) -> None:
        """Channel shuffle of two branches (ShuffleNet V2, https://arxiv.org/abs/1807.11164, figure 3)."""
        half = self._whole(width / 2)
        if stride == 1 and self._channels == 2 * half:
            left = self.slice_channels(self._x, 0, half)
            self._x, self._channels = self.slice_channels(self._x, half, 2 * half), half
        else:
            x, channels, size = self._x, self._channels, self._size
            self._conv(channels, 3, stride, channels, act=False)
            self._conv(half, 1)
            left = self._x
            self._x, self._channels, self._size = x, channels, size
        self._conv(half, 1)
        self._conv(half, 3, stride, half, act=False)
        self._conv(half, 1)
        x = self.node("Concat", [left, self._x], axis=1)
        x = self.reshaped(x, (2, half, self._size, self._size))
        x = self.node("Transpose", [x], perm=[0, 2, 1, 3, 4])
        self._x, self._channels = self.reshaped(x, (2 * half, self._size, self._size)), 2 * half
