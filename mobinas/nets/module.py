"""A Graph as a torch module."""

from typing import assert_never

import torch
from torch import Tensor, nn

from mobinas.graph.layers import (
    Add,
    BatchNorm2d,
    Concat,
    Conv2d,
    Crop,
    GlobalAvgPool,
    Graph,
    Input,
    Layer,
    Linear,
    Pool2d,
    ReLU,
    Zeros,
)
from mobinas.nets import conv

# PyTorch's default of 0.1; torchvision's mobilenet_v3 ships 0.01, which a short training never fills.
BATCH_NORM_MOMENTUM = 0.1
BATCH_NORM_EPSILON = 1e-5


class GraphModule(nn.Module):
    """Runs a Graph; parameters carry the names of its nodes.

    Attributes:
        graph: What is computed.
        layers: The modules with parameters, by node name.
    """

    def __init__(self, graph: Graph, *, seed: int | None = None, initialise: bool = True) -> None:
        """Builds the modules.

        Args:
            graph: What to compute.
            seed: Draws the initial weights (He, fan out) from a generator of its own; without one, PyTorch's
                global generator draws them.
            initialise: False where all weights are replaced anyway.
        """
        super().__init__()
        self.graph = graph
        modules = {node.name: _module(node.layer) for node in graph.nodes}
        self.layers = nn.ModuleDict({name: module for name, module in modules.items() if module is not None})
        self._last_use = _last_uses(graph)
        self._norm_behind = {
            convolution: graph.nodes[norm].name for convolution, norm in graph.folding_norms().items()
        }
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        for module in self.layers.values() if initialise else ():
            _initialise(module, generator)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Computes the outputs of the graph.

        Args:
            image: Normalised images, [batch, channels, height, width].

        Returns:
            [batch, classes] logits; where the graph has several outputs, a tuple of them. A graph of one op
            gives its feature map instead.
        """
        values: list[Tensor | None] = [None] * len(self.graph.nodes)
        folded: set[str] = set()
        # What an exporter traces shows every layer.
        alone = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        for position, node in enumerate(self.graph.nodes):
            inputs = [_present(values[i]) for i in node.inputs] if node.inputs else [image]
            norm = self._norm_behind.get(position)
            if alone and norm is not None and self._folds(norm):
                values[position] = _normed(self.layers[node.name], self.layers[norm], inputs[0])
                folded.add(norm)
            elif node.name in folded:
                values[position] = inputs[0]
            elif node.name in self.layers:
                values[position] = _flat_for(node.layer, self.layers[node.name], inputs[0])
            elif alone and self._may_overwrite(position):
                values[position] = inputs[0].relu_()
            else:
                values[position] = compute_layer(node.layer, inputs)
            for i in self._last_use[position]:
                values[i] = None
        results = tuple(_present(values[i]) for i in self.graph.outputs)
        return results[0] if len(results) == 1 else results

    def _folds(self, norm: str) -> bool:
        # One converted to another class, such as SyncBatchNorm, runs by itself.
        return isinstance(self.layers[norm], nn.BatchNorm2d) and not self.layers[norm].training

    def _may_overwrite(self, position: int) -> bool:
        node = self.graph.nodes[position]
        return (
            isinstance(node.layer, ReLU)
            and node.inputs[0] in self._last_use[position]
            and isinstance(self.graph.nodes[node.inputs[0]].layer, BatchNorm2d)
        )


def _present(value: Tensor | None) -> Tensor:
    assert value is not None, "nodes come in topological order"
    return value


def _last_uses(graph: Graph) -> list[list[int]]:
    last = {i: position for position, node in enumerate(graph.nodes) for i in node.inputs}
    uses: list[list[int]] = [[] for _ in graph.nodes]
    for i, position in last.items():
        if i not in graph.outputs:
            uses[position].append(i)
    return uses


def _normed(convolution: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """A convolution and batch normalisation by its running statistics, as one convolution."""
    assert isinstance(convolution, conv.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    factor = torch.rsqrt(norm.running_var + norm.eps)
    factor = factor if norm.weight is None else factor * norm.weight
    shift = -norm.running_mean * factor
    shift = shift if norm.bias is None else shift + norm.bias
    return convolution.by(convolution.weight * factor.view(-1, 1, 1, 1), shift, x)


def _module(layer: Layer) -> nn.Module | None:
    match layer:
        case Conv2d():
            return conv.Conv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.groups,
                bias=False,
            )
        case BatchNorm2d():
            return nn.BatchNorm2d(
                layer.channels, affine=layer.affine, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM
            )
        case Linear():
            return nn.Linear(layer.in_features, layer.out_features)
        case Input() | ReLU() | Pool2d() | Crop() | Zeros() | Add() | Concat() | GlobalAvgPool():
            return None
        case _:
            assert_never(layer)


def _flat_for(layer: Layer, module: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = module(x.flatten(1) if isinstance(layer, Linear) else x)
    return result


def compute_layer(layer: Layer, inputs: list[Tensor]) -> Tensor:
    """Computes a layer that has no parameters.

    Args:
        layer: Any but Conv2d, BatchNorm2d and Linear.
        inputs: Its inputs, [batch, channels, height, width] each.
    """
    x = inputs[0]
    match layer:
        case Input():
            return x
        case ReLU():
            return torch.relu(x)
        case Pool2d(kind="max"):
            return nn.functional.max_pool2d(x, layer.kernel, layer.stride, layer.padding)
        case Pool2d():
            return conv.avg_pool2d(x, layer.kernel, layer.stride, layer.padding)
        case Crop():
            return conv.window(x, slice(1, None), slice(1, None))
        case Zeros():
            return torch.zeros_like(x[:, :, :: layer.stride, :: layer.stride])
        case Add():
            return sum(inputs[1:], x)
        case Concat():
            return torch.cat(inputs, dim=1)
        case GlobalAvgPool():
            return x.mean(dim=(2, 3), keepdim=True)
        case Conv2d() | BatchNorm2d() | Linear():
            raise AssertionError("layers with parameters are modules")
        case _:
            assert_never(layer)


def _initialise(module: nn.Module, generator: torch.Generator | None) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01, generator=generator)
        nn.init.zeros_(module.bias)
