"""Lowering of stages: well-formed graphs, names that outlast changes of size, the writer's bytes."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from strategies import stage_architectures

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.stages import Stage, StageBody
from mobinas.graph.layers import Conv2d, GlobalAvgPool, Graph, HardSigmoid, HardSwish, ReLU, RepConv2d, Scale
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_structure import structure_digest
from mobinas.graph.onnx_writer import write_onnx


@given(stage_architectures())
@settings(deadline=None, max_examples=60)
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
        assert sum(node.segments) == node.shape[0]
        match node.layer:
            case Conv2d(in_channels=channels, groups=groups):
                assert next(graph.input_shapes(node))[0] == channels
                assert channels % groups == node.shape[0] % groups == 0
            case Scale():
                (value, gate) = graph.input_shapes(node)
                assert node.shape == value
                assert gate == (value[0], 1, 1)
    pool = next(n for n in graph.nodes if n.name == "head/pool")
    side = -(-architecture.resolution // architecture.stages.stride)
    assert all(1 <= size <= side for size in next(graph.input_shapes(pool))[1:])
    assert graph.nodes[graph.outputs[0]].shape == (architecture.task.classes, 1, 1)


def names(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes]


def test_names_do_not_depend_on_width_depth_and_resolution() -> None:
    stages = (Stage("mbconv", 8, 2, 1, 3, 3), Stage("rep", 16, 1, 2, 3))
    body = StageBody("3x3", 8, stages)
    plain = lower(Architecture(body, 16, Task(10)))
    wider = replace(body, stem_width=16, stages=(replace(stages[0], width=16, kernel=5), *stages[1:]))
    assert names(lower(Architecture(wider, 32, Task(10)))) == names(plain)
    deeper = lower(Architecture(replace(body, stages=(replace(stages[0], depth=3), stages[1])), 16, Task(10)))
    assert set(names(plain)) < set(names(deeper))


def layers(body: StageBody) -> list[Any]:
    return [node.layer for node in lower(Architecture(body, 16, Task(10))).nodes]


def test_activations_are_the_networks_and_gates_their_own() -> None:
    stages = (Stage("ds", 16, 1, 1, 3, se=True),)
    relu, swish = (layers(StageBody("3x3", 8, stages, "wide", 32, a)) for a in ("relu", "hardswish"))  # type: ignore[arg-type]
    assert (relu.count(ReLU()), relu.count(HardSwish()), relu.count(HardSigmoid())) == (5, 0, 1)
    assert (swish.count(ReLU()), swish.count(HardSwish()), swish.count(HardSigmoid())) == (1, 4, 1)
    assert relu.count(GlobalAvgPool()) == 2


def test_identity_is_a_branch_where_channels_and_size_are_kept() -> None:
    found = [
        one for one in layers(StageBody("3x3", 8, (Stage("rep", 8, 2, 2, 3),))) if isinstance(one, RepConv2d)
    ]
    assert [[b and b.kernel for b in one.branches] for one in found] == [
        [(3, 3), (1, 1)],
        [(3, 3), (1, 1), None],
    ]
    assert all(one.merged.bias for one in found)


@given(stage_architectures())
@settings(deadline=None, max_examples=15)
def test_files_depend_on_nothing_but_the_network(architecture: Architecture) -> None:
    graph = lower(architecture)
    model = write_onnx(graph)
    assert model.SerializeToString() == write_onnx(graph).SerializeToString()
    assert structure_digest(write_onnx(graph, seed=1)) == structure_digest(model)
    assert structure_digest(write_onnx(graph.merged())) == structure_digest(model)
