"""The reference model: a fixed small network whose time tells how fast the machine is at the moment.

It resembles what is measured (many small kernels: pointwise and depthwise convolutions, pooling, sums,
concatenations), since a busy neighbour slows overhead and arithmetic by different factors. Against a plain
stack of dense convolutions it halved the scatter of ratios. Never change it: logged reference levels belong
to it, and a test holds its bytes.
"""

from typing import TYPE_CHECKING

import numpy as np

from predictors.onnx_net import OnnxNet

if TYPE_CHECKING:
    import onnx

_SIZE = 16
_WIDTHS = (8, 16, 32)


def reference_model() -> "onnx.ModelProto":
    """An image of 3x16x16 through a stem and three cells, about 0.3 ms on a server's core."""
    net = _Net(np.random.default_rng(0))
    x = net.conv("image", 3, 24, 3)
    channels = 24
    for cell, width in enumerate(_WIDTHS):
        x = net.conv(net.relu(x), channels, width, 1)
        left, right = net.separable(x, width), net.separable(x, width)
        first = net.node("Add", [left, right])
        second = net.node("Add", [net.separable(first, width), net.max_pool(x, 1)])
        x = net.node("Concat", [x, first, second], axis=1)
        channels = 3 * width
        if cell + 1 < len(_WIDTHS):
            x = net.max_pool(x, 2)
    net.node("GlobalAveragePool", [x], result="result")
    return net.finished("reference", (3, _SIZE, _SIZE), (channels, 1, 1))


class _Net(OnnxNet):
    def relu(self, x: str) -> str:
        return self.node("Relu", [x])

    def max_pool(self, x: str, stride: int) -> str:
        return self.pool(x, "MaxPool", 3, stride)

    def separable(self, x: str, width: int) -> str:
        for _ in range(2):
            x = self.conv(self.conv(self.relu(x), width, width, 3, group=width), width, width, 1)
        return x
