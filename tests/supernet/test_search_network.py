import copy
import random

import naive_supernet
import pytest
import torch
from torch import nn

from mobinas.arch.architecture import Task
from mobinas.arch.ops import OPS
from mobinas.arch.probabilities import edge_slots
from mobinas.arch.space import SearchSpace
from mobinas.errors import ArchitectureError, ConfigError
from mobinas.graph.layers import BatchNorm2d
from mobinas.graph.lowering import lower_op
from mobinas.nets.module import GraphModule
from mobinas.supernet.methods import METHODS, find_method
from mobinas.supernet.mixed import MixedEdges, weighted_sum, weighted_sums
from mobinas.supernet.network import SearchNetwork, search_ops
from mobinas.supernet.relaxation import CellWeights, Mixture
from mobinas.supernet.skeleton import skeleton

# Methods that mix all ops; what others sample is compared with the mixture of the same weights.
RELAXED = ("darts", "pc-darts")
SMALL = ("none", "skip_connect", "conv_3x3", "sep_conv_3x3", "max_pool_3x3", "avg_pool_3x3")


def _space(ops: tuple[str, ...] = SMALL, stem: str = "cifar", nodes: int = 4) -> SearchSpace:
    resolution = 32 if stem == "imagenet" else 8
    return SearchSpace(Task(10, 1), (resolution,), (3, 4), (8,), (ops,), nodes=nodes, stem=stem)


def _network(method: str, space: SearchSpace, *, depth: int = 3, width: int = 8) -> SearchNetwork:
    relaxation = METHODS[method].relax(search_ops(space), space.nodes, 1)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        for parameter in relaxation.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    partial = METHODS[method].stages[0].partial
    return SearchNetwork(
        space,
        relaxation,
        resolution=space.resolutions[0],
        depth=depth,
        width=width,
        seed=0,
        partial=partial,
    )


def _close(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = expected.abs().max().clamp(min=1e-12)
    assert float(((found - expected).abs().max() / scale).detach()) < 1e-4


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("op", [op for op in OPS if op != "none"])
def test_each_op_on_many_edges_is_the_op_on_each_edge(op: str, stride: int) -> None:
    generator = torch.Generator().manual_seed(0)
    edges = MixedEdges(("none", op), 3, (4, 8, 8), stride, generator).double()
    x = torch.randn(2, 4, 8, 8, generator=generator, dtype=torch.float64)
    weights = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    for edge, found in enumerate(edges(x, weights)):
        plain = naive_supernet.edge_module(edges.by_op[op], edge).double()
        torch.testing.assert_close(found, weights[edge, 1] * plain(x))


@pytest.mark.parametrize("method", RELAXED)
@pytest.mark.parametrize(
    "ops", [SMALL, ("none", "skip_connect", "dil_conv_5x5", "conv_7x1_1x7", "max_pool_3x3")]
)
def test_logits_and_all_gradients_equal_the_naive_network(method: str, ops: tuple[str, ...]) -> None:
    network = _network(method, _space(ops), depth=4).double()
    image = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(4)
    expected = naive_supernet.network(network, image)
    found = network(image)
    _close(found, expected)
    architecture = list(network.relaxation.parameters())
    outside = [p for name, p in network.named_parameters() if ".by_op." not in name and "relax" not in name]
    assert any(".preprocessing." in name for name, _ in network.named_parameters())
    loss = nn.functional.cross_entropy
    ours = torch.autograd.grad(loss(found, labels), architecture + outside)
    theirs = torch.autograd.grad(loss(expected, labels), architecture + outside)
    for one, other in zip(ours, theirs, strict=True):
        _close(one, other)


@pytest.mark.parametrize("partial", [1, 2])
def test_a_sampled_cell_equals_the_mixed_one_of_the_same_weights(partial: int) -> None:
    space = _space()
    relaxation = METHODS["darts"].relax(search_ops(space), space.nodes, 1)
    network = SearchNetwork(
        space, relaxation, resolution=8, depth=3, width=8, seed=0, partial=partial
    ).double()
    for seed in range(4):
        genotype = space.sample(random.Random(seed)).body.genotype
        one = Mixture.of(genotype, relaxation.ops)
        dense, sampled = (
            Mixture(
                *(
                    CellWeights(w.ops.double(), w.edges.double(), w.computed if some else None)
                    for w in (one.normal, one.reduction)
                )
            )
            for some in (False, True)
        )
        image = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        states = []
        for mixture in (dense, sampled):
            before = copy.deepcopy(network.state_dict())
            logits = network(image, mixture)
            weights = list(network.weight_parameters())
            states.append((logits, torch.autograd.grad(logits.square().sum(), weights, allow_unused=True)))
            network.load_state_dict(before)
        torch.testing.assert_close(states[1][0], states[0][0])
        for found, expected in zip(states[1][1], states[0][1], strict=True):
            if expected is None or found is None:
                assert all(gradient is None or not gradient.any() for gradient in (found, expected))
            else:
                torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-6)


def test_only_what_is_sampled_moves_its_statistics() -> None:
    edges = MixedEdges(
        ("none", "conv_3x3", "sep_conv_3x3"), 3, (4, 8, 8), 1, torch.Generator().manual_seed(0)
    )
    x = torch.randn(2, 4, 8, 8)
    weights = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    results = edges(x, weights, weights != 0)
    assert results[1] is None and results[0] is not None and results[2] is not None
    moved = {
        op: [bool(s.view(3, -1)[k].any()) for k in range(3)]
        for op, module in edges.by_op.items()
        for name, s in module.named_buffers()
        if name.endswith("running_mean") and s.numel() == 12
    }
    assert moved == {"conv_3x3": [True, False, False], "sep_conv_3x3": [False, False, True]}


def test_gradients_of_op_weights_equal_those_of_each_edge_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    edges = MixedEdges(SMALL, 3, (4, 8, 8), 2, generator).double()
    x = torch.randn(2, 4, 8, 8, generator=generator, dtype=torch.float64)
    weights = torch.rand(3, len(SMALL), generator=generator, dtype=torch.float64)
    sum((k + 1) * result.square().sum() for k, result in enumerate(edges(x, weights))).backward()
    for edge in range(3):
        plain = {op: naive_supernet.edge_module(edges.by_op[op], edge).double() for op in SMALL[1:]}
        total = sum(weights[edge, k] * plain[op](x) for k, op in enumerate(SMALL[1:], start=1))
        ((edge + 1) * total.square().sum()).backward()
        for op, module in plain.items():
            for name, parameter in module.layers.named_parameters():
                found = edges.by_op[op].layers.get_parameter(name).grad.chunk(3)[edge]
                torch.testing.assert_close(found, parameter.grad)


def test_weighted_sums_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(2, 3, 5, 4, generator=generator) for _ in range(3)]
    weights = torch.randn(2, 3, generator=generator)
    for row, found in zip(weights, weighted_sums(values, weights), strict=True):
        torch.testing.assert_close(found, sum(w * v for w, v in zip(row, values, strict=True)))
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_weighted_sum_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    leaves = [v.contiguous(memory_format=torch.channels_last).requires_grad_() for v in values]
    weights = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)
    expected = sum(w * v for w, v in zip(weights, values, strict=True))
    torch.testing.assert_close(weighted_sum(leaves, weights), expected)
    assert torch.autograd.gradcheck(lambda w, *v: weighted_sum(v, w), (weights, *leaves))


@pytest.mark.parametrize("stem", ["cifar", "strided", "imagenet"])
@pytest.mark.parametrize("nodes", [1, 2, 4])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_the_skeleton_fits_every_body(stem: str, nodes: int, depth: int) -> None:
    space = SearchSpace(Task(7, 3), (32,), (depth,), (8,), (SMALL,), nodes=nodes, stem=stem)
    frame = skeleton(space, resolution=32, depth=depth, width=8)
    assert len(frame.cells) == depth
    assert sum(site.reduces for site in frame.cells) == 2
    normalisations = [n.layer for site in frame.cells for g in site.preprocessing for n in g.nodes]
    assert not any(isinstance(layer, BatchNorm2d) and layer.affine for layer in normalisations)
    network = _network("darts", space, depth=depth)
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_the_skeleton_is_wired_as_the_lowering() -> None:
    space = _space()
    frame = skeleton(space, resolution=8, depth=4, width=8)
    assert [site.name for site in frame.cells] == [
        "stage0/cell0",
        "stage1/reduce",
        "stage2/reduce",
        "stage2/cell0",
    ]
    keys = [site.key for site in frame.cells]
    stem = frame.stem_keys[0]
    assert [s.sources for s in frame.cells] == [
        (stem, stem),
        (stem, keys[0]),
        (keys[0], keys[1]),
        tuple(keys[1:3]),
    ]
    assert [site.shape for site in frame.cells] == [(8, 8, 8), (16, 8, 8), (32, 4, 4), (32, 2, 2)]


def test_alphas_are_parameters_apart_from_the_weights() -> None:
    network = _network("pc-darts", _space())
    weights = {id(p) for p in network.weight_parameters()}
    alphas = {id(p) for p in network.relaxation.parameters()}
    assert len(alphas) == 4 and not weights & alphas
    assert weights | alphas == {id(p) for p in network.parameters()}
    assert {k for k in network.state_dict() if k.startswith("relaxation.")} == {
        f"relaxation.{n}" for n in ("normal", "reduction", "normal_edges", "reduction_edges")
    }


@pytest.mark.parametrize("method", RELAXED)
def test_normal_and_reduction_have_separate_gradients(method: str) -> None:
    network = _network(method, _space(), depth=2)  # both cells reduce
    network(torch.randn(2, 1, 8, 8)).sum().backward()
    normal, reduction = network.relaxation.normal, network.relaxation.reduction
    assert normal.grad is None or not normal.grad.any()
    assert reduction.grad.any()


def test_probabilities_are_the_softmax_of_the_parameters() -> None:
    network = _network("pc-darts", _space())
    relaxation, found = network.relaxation, network.relaxation.probabilities()
    expected = torch.softmax(relaxation.normal.double(), dim=1)
    torch.testing.assert_close(torch.tensor(found.normal, dtype=torch.float64), expected)
    slots = edge_slots(4)
    for number in range(2, 6):
        rows = [k for k, (n, _) in enumerate(slots) if n == number]
        shares = torch.softmax(relaxation.reduction_edges.double()[rows], dim=0).tolist()
        assert [found.reduction_edges[k] for k in rows] == pytest.approx(shares)
    even = _network("darts", _space()).relaxation.probabilities().normal_edges
    assert even[:5] == pytest.approx([1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3])


def test_the_same_seed_gives_the_same_network_whatever_the_global_generator() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        one = _network("darts", _space())
        torch.manual_seed(2)
        other = _network("darts", _space())
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_everything_inside_a_cell_is_channels_last() -> None:
    network = _network("pc-darts", _space(), width=16)
    seen = []

    def note(_module: nn.Module, inputs: tuple[torch.Tensor, ...], _output: torch.Tensor) -> None:
        seen.append(inputs[0].permute(0, 2, 3, 1).stride()[-1] == 1)

    for edges in network.modules():
        if isinstance(edges, MixedEdges):
            edges.register_forward_hook(note)
    network(torch.randn(4, 1, 8, 8))
    assert seen and all(seen)


def test_op_without_weights_alone() -> None:
    space = _space(("skip_connect", "max_pool_3x3"))
    network = _network("darts", space, depth=4)
    assert search_ops(space) == ("skip_connect", "max_pool_3x3")
    _close(network(image := torch.randn(2, 1, 8, 8)), naive_supernet.network(network, image))


def test_zero_weight_on_everything_but_one_op_is_that_op() -> None:
    edges = MixedEdges(SMALL, 1, (4, 6, 6), 1, torch.Generator().manual_seed(0))
    x = torch.randn(2, 4, 6, 6)
    weights = torch.zeros(1, len(SMALL))
    weights[0, SMALL.index("max_pool_3x3")] = 1
    plain = GraphModule(lower_op("max_pool_3x3", (4, 6, 6), stride=1, search=True), seed=0)
    torch.testing.assert_close(edges(x, weights)[0], plain(x))


def test_bad_input() -> None:
    with pytest.raises(ArchitectureError, match="multiple of 8"):
        _network("pc-darts", _space(), width=12)
    with pytest.raises(ConfigError, match="did you mean 'pc-darts'"):
        find_method("pcdarts")
