"""A Graph as a module."""

import torch
from hypothesis import given, settings
from strategies import architectures
from torch import nn

from mobinas.arch.architecture import Architecture
from mobinas.graph.layers import ReLU
from mobinas.graph.lowering import lower
from mobinas.nets.module import GraphModule
from mobinas.nets.zero_cost import _RectifierCodes


@given(architectures())
@settings(deadline=None, max_examples=25)
def test_without_gradients_folded_normalisation_gives_the_same_logits(architecture: Architecture) -> None:
    graph = lower(architecture)
    module = GraphModule(graph, seed=0).double().eval()
    generator = torch.Generator().manual_seed(1)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values in (norm.running_mean, norm.weight, norm.bias):
                if values is not None:
                    values.data.normal_(generator=generator)
            assert norm.running_var is not None
            norm.running_var.uniform_(0.5, 2, generator=generator)
    image = torch.randn(2, *graph.input_shape, generator=generator, dtype=torch.float64)
    before = image.clone()
    layer_by_layer = module(image)
    with torch.no_grad():
        folded = module(image)
    torch.testing.assert_close(folded, layer_by_layer.detach())
    assert torch.equal(image, before)


@given(architectures())
@settings(deadline=None, max_examples=5)
def test_other_kinds_of_normalisation_run_by_themselves(architecture: Architecture) -> None:
    module = GraphModule(lower(architecture), seed=0).eval()
    image = torch.randn(2, *module.graph.input_shape, generator=torch.Generator().manual_seed(0))
    expected = module(image).detach()
    with torch.no_grad():
        found = nn.SyncBatchNorm.convert_sync_batchnorm(module)(image)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, expected)


@given(architectures())
@settings(deadline=None, max_examples=5)
def test_every_rectifier_is_seen_without_gradients(architecture: Architecture) -> None:
    module = GraphModule(lower(architecture), seed=0).train()
    with torch.no_grad(), _RectifierCodes() as codes:
        module(torch.randn(2, *module.graph.input_shape))
    assert len(codes.seen) == sum(isinstance(node.layer, ReLU) for node in module.graph.nodes)


@given(architectures())
@settings(deadline=None, max_examples=5)
def test_statistics_of_training_move_without_gradients_too(architecture: Architecture) -> None:
    module = GraphModule(lower(architecture), seed=0).train()
    norm = next(m for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.running_mean is not None
    before = norm.running_mean.clone()
    with torch.no_grad():
        module(torch.randn(4, *module.graph.input_shape))
    assert not torch.equal(norm.running_mean, before)
