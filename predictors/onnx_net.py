"""Small ONNX networks written node by node, with random weights."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx


class OnnxNet:
    """Nodes and weights of a network under construction; methods return the names of tensors."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Starts empty; `rng` draws the weights."""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._rng = rng

    def normal(self, shape: tuple[int, ...]) -> "np.ndarray[Any, np.dtype[np.floating[Any]]]":
        """Weights of unit variance."""
        return self._rng.standard_normal(shape)

    def finished(self, name: str, image: tuple[int, int, int], result: tuple[int, ...]) -> "onnx.ModelProto":
        """The model from ``image`` to the last node's result, both with an open batch."""
        from onnx import TensorProto, helper

        output = self.nodes[-1].output[0]
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *image])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", *result])],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def node(self, op: str, inputs: Sequence[str], result: str = "", **attributes: Any) -> str:
        """Any node."""
        from onnx import helper

        result = result or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [result], **attributes))
        return result

    def conv(
        self,
        x: str,
        inputs: int,
        outputs: int,
        size: int,
        *,
        group: int = 1,
        stride: int = 1,
        bias: bool = False,
    ) -> str:
        """A convolution that keeps the image's size but for the stride."""
        shape = (outputs, inputs // group, size, size)
        weight = self.normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        names = [x, self.constant(weight.astype(np.float32))]
        if bias:
            names.append(self.constant(np.zeros(outputs, np.float32)))
        more: dict[str, Any] = {"strides": [stride] * 2} if stride > 1 else {}
        return self.node("Conv", names, group=group, kernel_shape=[size] * 2, pads=[size // 2] * 4, **more)

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        """A linear layer with bias."""
        weight = self.normal((outputs, inputs)) / np.sqrt(inputs)
        names = [x, self.constant(weight.astype(np.float32)), self.constant(np.zeros(outputs, np.float32))]
        return self.node("Gemm", names, transB=1)

    def pool(self, x: str, op: str, size: int, stride: int) -> str:
        """``MaxPool`` or ``AveragePool``."""
        return self.node(op, [x], kernel_shape=[size] * 2, pads=[size // 2] * 4, strides=[stride] * 2)

    def global_pool(self, x: str) -> str:
        """Mean over height and width."""
        return self.node("GlobalAveragePool", [x])

    def reshaped(self, x: str, shape: Sequence[int]) -> str:
        """The same numbers as [batch, *shape]."""
        return self.node("Reshape", [x, self.constant(np.array([0, *shape], np.int64))])

    def slice_channels(self, x: str, start: int, end: int) -> str:
        """Some of the channels."""
        limits = [self.constant(np.array([value], np.int64)) for value in (start, end, 1)]
        return self.node("Slice", [x, *limits])

    def bounds(self, low: float, high: float) -> list[str]:
        """Two scalars, for ``Clip``."""
        return [self.constant(np.array(value, np.float32)) for value in (low, high)]

    def constant(self, array: "np.ndarray[Any, np.dtype[Any]]") -> str:
        """An initialiser."""
        from onnx import numpy_helper

        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name
