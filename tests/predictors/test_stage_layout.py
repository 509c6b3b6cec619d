"""Networks of stages as onnxruntime executes them, and as programs of steps."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from strategies import random_stage, random_stage_architecture

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.blocks import ACTIVATIONS
from mobinas.arch.ops import op_set
from mobinas.arch.space import SearchSpace
from mobinas.arch.stages import Stage, StageBody
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_writer import write_onnx
from mobinas.targets.measurement import Measurement
from mobinas.targets.target import Target
from predictors.kernels import Kernel, kernel_of
from predictors.layout import Call, calls_of_graph
from predictors.model_calls import calls_of_model, with_activations
from predictors.models.measured import timed_networks
from predictors.networks import Layout, NetworkSums, kernels_of
from predictors.steps import program_of, program_of_model
from predictors.worker.trace import trace

# Of whole blocks, of parts of blocks, and that no block layout takes.
WIDTHS = (6, 8, 12, 14, 16, 20, 24, 32, 40, 64)


def drawn(seed: int) -> Architecture:
    return random_stage_architecture(random.Random(seed), WIDTHS)


def executed(architecture: Architecture) -> list[Call]:
    model = write_onnx(lower(architecture))
    calls = [Call(*kernel[:4]) for kernel in trace(model.SerializeToString(), Target(), runs=1)]
    return with_activations(model, calls)


@pytest.fixture(scope="module")
def block() -> int:
    """Channels per block of this machine's runtime."""
    calls = executed(Architecture(StageBody("3x3", 4, (Stage("conv", 4, 1, 1, 3),)), 8, Task(2)))
    return min((call.output[1] for call in calls if call.op == "Conv" and call.blocked), default=1)


def counted(calls: Iterable[Call]) -> Counter[Call]:
    """Without activations: which of two convolutions of equal shapes has one, a profile does not tell."""
    return Counter(replace(call, activation="") for call in calls)


@pytest.mark.parametrize("seed", range(16))
def test_calls_are_those_of_the_runtime(seed: int, block: int) -> None:
    architecture = drawn(seed)
    assert counted(calls_of_graph(lower(architecture), block)) == counted(executed(architecture))


STAGES = (
    (Stage("mbconv", 16, 2, 1, 3, 3, True), 16),
    (Stage("conv", 16, 2, 1, 3), 16),
    (Stage("conv", 16, 2, 1, 3, se=True), 16),
    (Stage("rep", 32, 2, 2, 3, se=True), 2),
    (Stage("fused_g2", 64, 2, 1, 3, 2), 8),
    (Stage("fused_g2", 24, 2, 1, 3, 2, True), 8),
    (Stage("ds", 14, 2, 1, 5, se=True), 8),
)


@pytest.mark.parametrize(("stage", "resolution"), STAGES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_moves_into_convolutions(stage: Stage, resolution: int, activation: Any, block: int) -> None:
    architecture = Architecture(StageBody("3x3", 16, (stage,), activation=activation), resolution, Task(5))
    assert counted(calls_of_graph(lower(architecture), block)) == counted(executed(architecture))


def test_activations_that_move_into_convolutions_are_told(block: int) -> None:
    stages = (Stage("mbconv", 16, 2, 1, 3, 4, True), Stage("ds", 32, 1, 2, 3))
    architecture = Architecture(StageBody("3x3", 16, stages, activation="hardswish"), 16, Task(5))
    assert Counter(calls_of_graph(lower(architecture), block)) == Counter(executed(architecture))


@pytest.mark.parametrize("seed", range(12))
def test_without_blocks_a_file_tells_its_calls(seed: int) -> None:
    graph = lower(drawn(seed))
    assert Counter(calls_of_model(write_onnx(graph), 1)) == Counter(calls_of_graph(graph, 1))


@pytest.mark.parametrize("seed", range(12))
def test_a_graph_and_its_file_have_the_same_steps(seed: int) -> None:
    graph = lower(drawn(seed))
    program = program_of(graph)
    assert program == program_of_model(write_onnx(graph))
    kinds = ("dense", "pointwise", "depthwise", "linear")
    assert sum(step.work for step in program.steps if step.kind in kinds) == cost(graph).macs


def test_an_activation_within_a_convolution_takes_time() -> None:
    body = StageBody("3x3", 16, (Stage("ds", 16, 1, 1, 3, se=True),), activation="hardswish")
    calls = calls_of_graph(lower(Architecture(body, 8, Task(5))), 8)
    assert Counter(call.activation for call in calls if "Conv" in call.op) == {
        "HardSwish": 3, "HardSigmoid": 1, "": 1
    }  # fmt: skip
    assert {kernel_of(call).epilogue for call in calls} == {0, 2}


def test_sums_over_kernels_take_both_bodies_at_once() -> None:
    space = SearchSpace(Task(10), (16,), (3,), (8,), (op_set("darts"),))
    rng = random.Random(0)
    models = [space.sample(rng) if i % 2 else drawn(i) for i in range(12)]
    numbers: dict[Kernel, float] = {}

    def columns(kernels: list[Kernel]) -> np.ndarray:
        return np.array([[numbers.setdefault(k, rng.random()), 1.0] for k in kernels]).reshape(-1, 2)

    sums = NetworkSums(Layout(16), columns)  # type: ignore[arg-type]
    together = sums.of(models)
    alone = np.concatenate([sums.of([model]) for model in models])
    np.testing.assert_allclose(together, alone)
    assert (together[:, 1] == [len(calls_of_graph(lower(m), 16)) for m in models]).all()


@pytest.mark.parametrize("seed", range(6))
def test_measured_kernels_are_those_that_are_predicted(seed: int, block: int) -> None:
    """Profiles do not show activations within convolutions; the architecture tells them."""
    stages = (Stage("ds", 14, 2, 1, 5, se=True), random_stage(random.Random(seed), 14, WIDTHS))
    body = StageBody("3x3", 16, stages, activation="hardswish")
    architecture = Architecture(body, 16, Task(5))
    kernels = trace(write_onnx(lower(architecture)).SerializeToString(), Target(), runs=1)
    measured = Measurement("s", "f", "t", "h", "r", ((1.0, 2.0),), 5, "2026-01-01T00:00:00", kernels=kernels)
    (found,) = timed_networks([architecture], [measured], Layout(block))
    assert Counter(kernel for kernel, _ in found) == Counter(kernels_of(architecture, Layout(block)))
