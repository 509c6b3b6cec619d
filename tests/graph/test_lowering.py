"""Lowering: shapes, names that stay the same across the macro space, agreement with arithmetic."""

import dataclasses

import pytest
from hypothesis import given, settings
from strategies import architectures, genotypes

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import Genotype, published
from mobinas.errors import ArchitectureError
from mobinas.graph.cost import cost
from mobinas.graph.layers import Add, BatchNorm2d, Concat, Conv2d, Graph, Linear, Node
from mobinas.graph.lowering import lower, lower_op


@given(architectures())
@settings(deadline=None, max_examples=40)
def test_graphs_are_well_formed(architecture: Architecture) -> None:
    graph = lower(architecture)
    names = [node.name for node in graph.nodes]
    assert len(set(names)) == len(names)
    assert not any("." in name for name in names)
    used = {i for node in graph.nodes for i in node.inputs} | set(graph.outputs) | {0}
    assert used == set(range(len(graph.nodes)))
    for position, node in enumerate(graph.nodes):
        assert all(i < position for i in node.inputs)
        assert min(node.shape) >= 1
        check_shape(node, [graph.nodes[i] for i in node.inputs])
    task = architecture.task
    assert graph.input_shape == (task.in_channels, architecture.resolution, architecture.resolution)
    assert graph.nodes[graph.outputs[0]].shape == (task.classes, 1, 1)


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("stem", ["cifar", "strided", "imagenet"])
def test_segments_sum_to_the_channels(in_channels: int, stem: str) -> None:
    body = CellBody(published("NASNet"), 4, 4, stem)  # type: ignore[arg-type]
    for node in lower(Architecture(body, 32, Task(10, in_channels))).nodes:
        assert sum(node.segments) == node.shape[0], node.name


def check_shape(node: Node, inputs: list[Node]) -> None:
    shapes = [i.shape for i in inputs]
    match node.layer:
        case Add():
            assert len(shapes) >= 2
            assert set(shapes) == {node.shape}
        case Concat():
            assert len({shape[1:] for shape in shapes}) == 1
            assert node.shape[0] == sum(shape[0] for shape in shapes)
        case Conv2d():
            assert shapes[0][0] == node.layer.in_channels
            assert node.shape[0] == node.layer.out_channels
            assert node.layer.in_channels % node.layer.groups == 0
        case BatchNorm2d():
            assert [node.shape] == shapes
            assert node.layer.channels == node.shape[0]
        case Linear():
            assert shapes[0] == (node.layer.in_features, 1, 1)


def last_map(graph: Graph) -> Node:
    return next(n for n in reversed(graph.nodes) if n.shape[1] > 1 or n.name.endswith("concat"))


@pytest.mark.parametrize("stem", ["cifar", "strided", "imagenet"])
@pytest.mark.parametrize("depth", [2, 3, 5, 8])
def test_the_classifier_sees_the_resolution_divided_by_the_stride(stem: str, depth: int) -> None:
    body = CellBody(published("DARTS_V2"), depth, 4, stem)  # type: ignore[arg-type]
    graph = lower(Architecture(body, 4 * body.stride, Task(10)))
    pool = next(n for n in graph.nodes if n.name == "head/pool")
    assert graph.nodes[pool.inputs[0]].shape[1:] == (4, 4)
    assert pool.shape[0] == 4 * 4 * len(
        body.genotype.normal.concat if depth > 3 else body.genotype.reduction.concat
    )


def full_shapes(genotype: Genotype, depth: int, width: int, resolution: int) -> dict[str, object]:
    graph = lower(Architecture(CellBody(genotype, depth, width), resolution, Task(10)))
    return {n.name: n.layer for n in graph.nodes if isinstance(n.layer, Conv2d | BatchNorm2d | Linear)}


@given(genotypes(3))
@settings(deadline=None, max_examples=15)
def test_weights_of_one_name_have_one_shape_at_every_depth(genotype: Genotype) -> None:
    known: dict[str, object] = {}
    for depth in range(2, 10):
        for name, layer in full_shapes(genotype, depth, 4, 16).items():
            if name == "head/linear":
                continue
            assert known.setdefault(name, layer) == layer, name


@given(genotypes(3))
@settings(deadline=None, max_examples=15)
def test_names_do_not_depend_on_width_and_resolution(genotype: Genotype) -> None:
    wide = full_shapes(genotype, 5, 8, 16)
    narrow = full_shapes(genotype, 5, 2, 8)
    assert list(narrow) == list(wide)
    assert full_shapes(genotype, 5, 8, 32) == wide


@given(genotypes(3))
@settings(deadline=None, max_examples=15)
def test_segments_scale_with_the_width(genotype: Genotype) -> None:
    graphs = [lower(Architecture(CellBody(genotype, 4, width), 8, Task(10))) for width in (2, 4)]
    for narrow, wide in zip(graphs[0].nodes, graphs[1].nodes, strict=True):
        assert len(narrow.segments) == len(wide.segments)
        if narrow.name not in ("input", "head/linear"):
            assert [2 * s for s in narrow.segments] == list(wide.segments)


@given(architectures())
@settings(deadline=None, max_examples=40)
def test_canonical_cells_cost_the_same(architecture: Architecture) -> None:
    body = architecture.body
    canonical = dataclasses.replace(body, genotype=body.genotype.canonical())
    again = dataclasses.replace(architecture, body=canonical)
    assert cost(lower(again)) == cost(lower(architecture))


@pytest.mark.parametrize("op", ["max_pool_3x3", "avg_pool_3x3"])
def test_only_a_supernet_normalises_what_was_pooled(op: str) -> None:
    for search in (False, True):
        graph = lower_op(op, (4, 8, 12), stride=1, search=search)
        assert sum(isinstance(n.layer, BatchNorm2d) for n in graph.nodes) == search


@pytest.mark.parametrize(
    ("op", "weights_per_c2", "weights_per_c", "norms"),
    [
        ("none", 0, 0, 0), ("skip_connect", 0, 0, 0), ("conv_3x3", 9, 0, 1), ("conv_5x5", 25, 0, 1),
        ("sep_conv_3x3", 2, 18, 2), ("sep_conv_5x5", 2, 50, 2), ("sep_conv_7x7", 2, 98, 2),
        ("dil_conv_3x3", 1, 9, 1), ("dil_conv_5x5", 1, 25, 1), ("conv_7x1_1x7", 14, 0, 1),
        ("max_pool_3x3", 0, 0, 0), ("avg_pool_3x3", 0, 0, 0),
    ],
)  # fmt: skip
def test_costs_of_ops_in_closed_form(op: str, weights_per_c2: int, weights_per_c: int, norms: int) -> None:
    c, pixels = 6, 5 * 7
    counted = cost(lower_op(op, (c, 5, 7), stride=1))
    weights = weights_per_c2 * c * c + weights_per_c * c
    assert counted.macs == weights * pixels
    assert counted.params == weights + 2 * c * norms


def test_an_auxiliary_head_needs_room() -> None:
    body = CellBody(published("DARTS_V2"), 3, 4)
    with pytest.raises(ArchitectureError, match="train without it or at a higher resolution"):
        lower(Architecture(body, 16, Task(10)), auxiliary=True)
    assert len(lower(Architecture(body, 32, Task(10)), auxiliary=True).outputs) == 2
