import importlib.util
import itertools
import random
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from mobinas.arch.architecture import Task
from mobinas.arch.ops import op_set
from mobinas.arch.space import SearchSpace
from mobinas.errors import PredictorError
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_writer import write_onnx
from predictors.steps import Program, Step, program_of, program_of_model
from predictors.structure import DEVICES, SCHEDULES, structure_of

SPACE = SearchSpace(Task(10, 1), (8, 16), (3, 4), (2, 4, 8, 12), (op_set("all"),))


def _nas_bench_201() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "nas_bench_201.py"
    spec = importlib.util.spec_from_file_location("nas_bench_201", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NB201 = _nas_bench_201()


@pytest.mark.parametrize("seed", range(8))
def test_a_graph_and_its_file_have_the_same_steps(seed: int) -> None:
    graph = lower(SPACE.sample(random.Random(seed)))
    a, b = program_of(graph), program_of_model(write_onnx(graph))
    assert a.without_constants() == b.without_constants()
    structure = structure_of([graph, write_onnx(graph)])
    np.testing.assert_allclose(structure.simulated[0, :3], structure.simulated[1, :3])


@pytest.mark.parametrize("seed", range(8))
def test_multiply_accumulates_agree_with_the_cost_counter(seed: int) -> None:
    graph = lower(SPACE.sample(random.Random(seed)))
    kinds = ("dense", "pointwise", "depthwise", "linear")
    assert sum(step.work for step in program_of(graph).steps if step.kind in kinds) == cost(graph).macs


# Published with the benchmark for CIFAR-10: 1.531546 M parameters with all edges nor_conv_3x3, 0.073306 M
# with none. A convolution of c channels brings 9 c^2 (or c^2) weights and 2 c of its norm, in five cells.
@pytest.mark.parametrize("ops", [[3] * 6, [0] * 6, [2] * 6, [0, 3, 0, 3, 4, 3], [3, 0, 2, 1, 1, 2]])
def test_nas_bench_201_networks_have_their_published_size(ops: list[int]) -> None:
    weights = {2: 1, 3: 9}
    live = NB201.live_edges(ops)
    expected = 73_306 + 5 * sum(
        weights[op] * c * c + 2 * c
        for c in (16, 32, 64)
        for op, lives in zip(ops, live, strict=True)
        if lives and op in weights
    )
    graph = NB201.network(ops)
    assert cost(graph).params == expected
    assert ops != [3] * 6 or expected == 1_531_546
    onnx.checker.check_model(write_onnx(graph))


def test_what_sees_zeros_alone_can_be_kept_and_is_pruned() -> None:
    ops = [3, 0, 0, 1, 2, 3]  # node 2 has no input, so its way to the output carries zeros
    kept, dropped = NB201.network(ops, zero_fed=True), NB201.network(ops)
    assert sum(step.kind == "dense" for step in program_of(kept).steps) == 1 + 2 * 2 + 30
    assert program_of(kept).without_constants() == program_of(dropped)
    assert program_of_model(write_onnx(kept)).without_constants() == program_of(dropped)
    live = structure_of([kept, dropped]).live
    assert live[0] < 0.8
    assert live[1] == 1


def test_convolutions_of_one_tensor_and_shape_can_be_merged() -> None:
    for ops in itertools.product((2, 3), repeat=3):
        # Edges 0-1, 0-2 and 0-3 read the cell's input; the others hold pools.
        a, b, c = ops
        program = program_of(NB201.network([a, b, 4, c, 4, 4])).without_repeats()
        assert len(program.mergeable()) == 15 * (3 - len({a, b, c}))


def test_schedules_are_ordered_as_they_must_be() -> None:
    structure = structure_of([lower(SPACE.sample(random.Random(seed))) for seed in range(5)])
    assert structure.simulated.shape == (5, len(SCHEDULES), DEVICES)
    serial, parallel, merged, unpruned = structure.simulated.transpose(1, 0, 2)
    assert (parallel <= serial * (1 + 1e-9)).all()
    assert (merged <= serial).all()
    assert (unpruned >= serial * (1 - 1e-9)).all()


def test_rectifiers_behind_a_convolution_alone_are_fused() -> None:
    conv = Step("dense", 9.0, (0,), (3, 3, 1, 1, 1))
    program = Program(
        (
            Step("given", 0, ()),
            conv,
            Step("elementwise", 1, (1,)),
            Step("sum", 1, (0, 2)),
            Step("pool", 9, (3,)),
        )
    )
    assert program.rectified_apart() == []
    both = Program((*program.steps[:3], Step("sum", 1, (1, 2))))
    assert both.rectified_apart() == [2]


def test_models_of_unknown_shapes_are_refused() -> None:
    model = write_onnx(NB201.network([3] * 6))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(PredictorError, match="fixed sizes"):
        program_of_model(model)
    model = write_onnx(NB201.network([3] * 6))
    model.graph.node[0].op_type = "NoSuchOp"
    with pytest.raises(PredictorError, match="shape"):
        program_of_model(model)
