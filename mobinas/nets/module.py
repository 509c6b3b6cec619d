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
    HardSigmoid,
    HardSwish,
    Input,
    Layer,
    Linear,
    Pool2d,
    ReLU,
    RepConv2d,
    Scale,
    Zeros,
)
from mobinas.nets import conv, rep_conv

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


def merge_branches(module: GraphModule) -> GraphModule:
    """A copy in which each sum of branches is the one convolution that it amounts to.

    Args:
        module: Left as it was; its running statistics of batch normalisation count.

    Returns:
        A module of ``module.graph.merged()`` in evaluation mode, of the same type and on the same device.
    """
    state = {
        name: tensor.clone()
        for name, tensor in module.state_dict().items()
        if not any(name.startswith(f"layers.{rep}.") for rep in _reps(module))
    }
    for name, rep in _reps(module).items():
        state[f"layers.{name}.weight"], state[f"layers.{name}.bias"] = rep.merged()
    with torch.random.fork_rng(devices=[]):
        merged = GraphModule(module.graph.merged(), initialise=False)
    merged.load_state_dict(state, assign=True)
    return merged.eval()


def _reps(module: GraphModule) -> dict[str, rep_conv.RepConv2d]:
    return {name: one for name, one in module.layers.items() if isinstance(one, rep_conv.RepConv2d)}


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
            return _conv(layer)
        case RepConv2d():
            return rep_conv.RepConv2d(layer, [_branch(one, layer.merged) for one in layer.branches])
        case BatchNorm2d():
            return _batch_norm(layer)
        case Linear():
            return nn.Linear(layer.in_features, layer.out_features)
        case Input() | ReLU() | HardSwish() | HardSigmoid() | Pool2d() | Crop() | Zeros():
            return None
        case Add() | Scale() | Concat() | GlobalAvgPool():
            return None
        case _:
            assert_never(layer)


def _conv(layer: Conv2d) -> conv.Conv2d:
    return conv.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        bias=layer.bias,
    )


def _batch_norm(layer: BatchNorm2d) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(
        layer.channels, affine=layer.affine, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM
    )


def _branch(layer: Conv2d | None, merged: Conv2d) -> rep_conv.Branch:
    norm = _batch_norm(BatchNorm2d(merged.out_channels))
    return rep_conv.Branch(nn.Identity() if layer is None else _conv(layer), norm)


def _flat_for(layer: Layer, module: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = module(x.flatten(1) if isinstance(layer, Linear) else x)
    return result


def compute_layer(layer: Layer, inputs: list[Tensor]) -> Tensor:
    """Computes a layer that has no parameters.

    Args:
        layer: Any that is not `Weighted`.
        inputs: Its inputs, [batch, channels, height, width] each.
    """
    x = inputs[0]
    match layer:
        case Input():
            return x
        case ReLU():
            return torch.relu(x)
        case HardSwish():
            return nn.functional.hardswish(x)
        case HardSigmoid():
            return nn.functional.hardsigmoid(x)
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
        case Scale():
            return x * inputs[1]
        case Concat():
            return torch.cat(inputs, dim=1)
        case GlobalAvgPool():
            return x.mean(dim=(2, 3), keepdim=True)
        case Conv2d() | RepConv2d() | BatchNorm2d() | Linear():
            raise AssertionError("layers with parameters are modules")
        case _:
            assert_never(layer)


def _initialise(module: nn.Module, generator: torch.Generator | None) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, rep_conv.RepConv2d):
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                _initialise(part, generator)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01, generator=generator)
        nn.init.zeros_(module.bias)
