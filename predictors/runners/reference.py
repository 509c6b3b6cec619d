"""The reference model: a fixed small network whose time tells how fast the machine is at the moment.

It resembles what is measured (many small kernels: pointwise and depthwise convolutions, pooling, sums,
concatenations), since a busy neighbour slows overhead and arithmetic by different factors. Against a plain
stack of dense convolutions it halved the scatter of ratios. Never change it: logged reference levels belong
to it, and a test holds its bytes.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

_SIZE = 16
_WIDTHS = (8, 16, 32)


def reference_model() -> "onnx.ModelProto":
    """An image of 3x16x16 through a stem and three cells, about 0.3 ms on a server's core."""
    from onnx import TensorProto, helper

    net = _Net()
    x = net.conv("image", 3, 24, 3)
    channels = 24
    for cell, width in enumerate(_WIDTHS):
        x = net.conv(net.relu(x), channels, width, 1)
        left, right = net.separable(x, width), net.separable(x, width)
        first = net.node("Add", [left, right])
        second = net.node("Add", [net.separable(first, width), net.pool(x, 1)])
        x = net.node("Concat", [x, first, second], axis=1)
        channels = 3 * width
        if cell + 1 < len(_WIDTHS):
            x = net.pool(x, 2)
    net.node("GlobalAveragePool", [x], result="result")
    graph = helper.make_graph(
        net.nodes,
        "reference",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, _SIZE, _SIZE])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["batch", channels, 1, 1])],
        net.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class _Net:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(0)

    def node(self, op: str, inputs: list[str], result: str = "", **attributes: Any) -> str:
        from onnx import helper

        result = result or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [result], **attributes))
        return result

    def relu(self, x: str) -> str:
        return self.node("Relu", [x])

    def pool(self, x: str, stride: int) -> str:
        return self.node("MaxPool", [x], kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2)

    def conv(self, x: str, inputs: int, outputs: int, size: int, group: int = 1) -> str:
        from onnx import numpy_helper

        shape = (outputs, inputs // group, size, size)
        weight = self._rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(weight.astype(np.float32), name))
        return self.node("Conv", [x, name], group=group, kernel_shape=[size] * 2, pads=[size // 2] * 4)

    def separable(self, x: str, width: int) -> str:
        for _ in range(2):
            x = self.conv(self.conv(self.relu(x), width, width, 3, group=width), width, width, 1)
        return x
