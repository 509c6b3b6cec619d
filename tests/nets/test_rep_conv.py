"""Convolutions trained as sums of branches: merged exactly, in torch and in the ONNX writer."""

import copy

import pytest
import torch
from torch import Tensor, nn

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.stages import Stage, StageBody
from mobinas.graph.builder import GraphBuilder
from mobinas.graph.cost import cost
from mobinas.graph.layers import Conv2d, Graph, RepConv2d
from mobinas.graph.lowering import lower
from mobinas.nets.batch_norm import recalibrate
from mobinas.nets.module import GraphModule, merge_branches

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12}
BODY = StageBody(
    "3x3", 8, (Stage("rep", 8, 2, 1, 3), Stage("rep", 16, 2, 2, 3, se=True)), activation="hardswish"
)


def network(body: StageBody = BODY) -> Graph:
    return lower(Architecture(body, 8, Task(5)))


def used(graph: Graph, dtype: torch.dtype = torch.float32, seed: int = 0) -> GraphModule:
    """A module with batch normalisation far from the identity."""
    module = GraphModule(graph, seed=seed).to(dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            for values in (norm.running_mean, norm.weight.data, norm.bias.data):
                values.normal_(generator=generator)
            norm.running_var.uniform_(0.2, 3, generator=generator)
    return module


def images(graph: Graph, dtype: torch.dtype = torch.float32, n: int = 4) -> Tensor:
    return torch.randn(n, *graph.input_shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def alone(merged: Conv2d, *branches: Conv2d | None) -> Graph:
    b = GraphBuilder((merged.in_channels, 7, 9))
    return b.finish(b.add("rep", RepConv2d(merged, branches), 0))


def square(kernel: int, stride: int = 1, groups: int = 1, inputs: int = 6, *, bias: bool = False) -> Conv2d:
    pair, pad = (kernel, kernel), (kernel // 2, kernel // 2)
    return Conv2d(inputs, 6, pair, (stride, stride), pad, groups=groups, bias=bias)


GRAPHS = {
    "network": network(),
    "5x5": alone(square(5, bias=True), square(5), square(3), square(1), None),
    "grouped": alone(square(3, groups=3, bias=True), square(3, groups=3), square(1, groups=3), None),
    "depthwise": alone(square(3, groups=6, bias=True), square(3, groups=6), None),
    "strided": alone(square(3, 2, inputs=4, bias=True), square(3, 2, inputs=4), square(1, 2, inputs=4)),
    "identity alone": alone(square(3, bias=True), None),
    "two of each": alone(square(3, bias=True), square(3), square(3), None, None),
}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", GRAPHS)
def test_the_merged_module_computes_the_same(name: str, dtype: torch.dtype) -> None:
    module = used(GRAPHS[name], dtype)
    x = images(module.graph, dtype)
    branched = module(x).detach()  # with gradients the branches run
    merged = merge_branches(module)
    assert not any(isinstance(node.layer, RepConv2d) for node in merged.graph.nodes)
    scale = float(branched.abs().max())
    with torch.no_grad():
        for found in (merged(x), module(x)):
            assert found.dtype == dtype
            assert float((found - branched).abs().max()) <= TOLERANCES[dtype] * scale


def test_merging_leaves_the_module_alone() -> None:
    module = used(network())
    before = copy.deepcopy(module.state_dict())
    merged = merge_branches(module)
    with torch.no_grad():
        for parameter in merged.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_what_is_counted_is_the_merged_form() -> None:
    module = used(network())
    assert cost(module.graph) == cost(module.graph.merged())
    assert cost(module.graph).params == sum(p.numel() for p in merge_branches(module).parameters())
    assert cost(module.graph).params < sum(p.numel() for p in module.parameters())


def test_training_moves_every_branch_and_its_statistics() -> None:
    module = GraphModule(network(), seed=0).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.enable_grad():
        module(images(module.graph)).square().sum().backward()
    branched = {name: p for name, p in module.named_parameters() if ".branches." in name}
    # Two branches where the channels or the size change, three elsewhere.
    assert len({name.rpartition(".")[0].rpartition(".")[0] for name in branched}) == 3 + 3 + 2 + 3
    assert all(p.grad is not None and bool(p.grad.any()) for p in branched.values())
    moved = [name for name in before if name.endswith("running_mean")]
    assert all(not torch.equal(before[name], module.state_dict()[name]) for name in moved)


def test_recalibrated_statistics_count() -> None:
    module = used(network())
    x = images(module.graph, n=16)
    before = {name: value.clone() for name, value in module.named_buffers() if name.endswith("running_var")}
    recalibrate(module, [x])
    assert all(not torch.equal(before[name], dict(module.named_buffers())[name]) for name in before)
    found = merge_branches(module)(x).detach()
    torch.testing.assert_close(found, module(x).detach(), rtol=0, atol=1e-5 * float(found.abs().max()))


def test_the_seed_decides_all_branches() -> None:
    states = [GraphModule(network(), seed=seed).state_dict() for seed in (0, 0, 1)]
    weights = [name for name in states[0] if name.endswith("conv.weight")]
    assert weights
    for name in weights:
        assert torch.equal(states[0][name], states[1][name])
        assert not torch.equal(states[0][name], states[2][name])
