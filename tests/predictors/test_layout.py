import random
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import Cell, Edge, Genotype, published
from mobinas.arch.ops import op_set
from mobinas.arch.space import SearchSpace
from mobinas.errors import PredictorError
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_writer import write_onnx
from mobinas.targets.target import Target
from predictors.cells import CellSums
from predictors.kernels import Kernel, kernel_of
from predictors.layout import Call, calls_of_graph
from predictors.model_calls import calls_of_model
from predictors.networks import Adder
from predictors.onnx_net import OnnxNet
from predictors.worker.trace import trace

# Widths of whole blocks, of parts of blocks, below a block, and that no block layout takes.
WIDTHS = (2, 4, 6, 8, 12, 16, 20, 24, 32)
SPACE = SearchSpace(Task(10), (16, 24), (2, 3, 5), WIDTHS, (op_set("darts"), op_set("all")))
ALL_OPS = SearchSpace(Task(3, 1), (16,), (4,), (8, 24), (op_set("all"),), nodes=3, stem="strided")


def executed(architecture: Architecture, batch: int = 1) -> list[Call]:
    model = write_onnx(lower(architecture)).SerializeToString()
    return [Call(*kernel[:4]) for kernel in trace(model, Target(batch=batch), runs=1)]


def block_here() -> int:
    """Channels per block of this machine's runtime."""
    calls = executed(Architecture(CellBody(published("DARTS_V2"), 2, 4), 8, Task(2)))
    # The stem's 12 channels take 16 in blocks of 8, too; a node's 4 take one block.
    return min((call.output[1] for call in calls if call.op == "Conv" and call.blocked), default=1)


@pytest.mark.parametrize("seed", range(12))
def test_calls_are_those_of_the_runtime(seed: int) -> None:
    architecture = SPACE.sample(random.Random(seed))
    assert Counter(calls_of_graph(lower(architecture), block_here())) == Counter(executed(architecture))


def test_calls_of_a_batch_are_those_of_the_runtime() -> None:
    architecture = SPACE.sample(random.Random(1))
    calls = calls_of_graph(lower(architecture), block_here(), 4)
    assert Counter(calls) == Counter(executed(architecture, 4))


@pytest.mark.parametrize("seed", range(8))
def test_without_blocks_a_file_tells_its_calls(seed: int) -> None:
    graph = lower(SPACE.sample(random.Random(seed)))
    assert Counter(calls_of_model(write_onnx(graph), 1)) == Counter(calls_of_graph(graph, 1))


@pytest.mark.parametrize("seed", range(4))
def test_work_agrees_with_the_cost_counter(seed: int) -> None:
    graph = lower(SPACE.sample(random.Random(seed)))
    kernels = [kernel_of(call) for call in calls_of_graph(graph, 1)]
    assert sum(k.work for k in kernels if k.weight_bytes) == cost(graph).macs


def sum_of_random_numbers() -> Adder:
    """Different kernels count differently, so equal sums mean equal kernels."""
    rng = np.random.default_rng(0)
    return Adder(lambda kernels: rng.uniform(1, 2, (len(kernels), 2)))


@pytest.mark.parametrize("block", [1, 8, 16])
@pytest.mark.parametrize("space", [SPACE, ALL_OPS], ids=["darts", "all"])
def test_arrays_and_lowering_agree(space: SearchSpace, block: int) -> None:
    rng = random.Random(block)
    # Groups of equal macro choices, and cells of few ops so that sums repeat.
    narrow = SearchSpace(
        space.task, (16,), (4,), (8, 24), (("skip_connect", "max_pool_3x3", "sep_conv_3x3"),)
    )
    macros = [(16, 2, 24), (16, 5, 8), (24, 3, 16), (16, 4, 20), (16, 3, 6)]
    genotypes = [(space if i % 3 else narrow).sample(rng).body.genotype for i in range(12)]
    if space is ALL_OPS:
        genotypes = [space.sample(rng).body.genotype for _ in range(12)]
    models = [
        Architecture(CellBody(genotype, depth, width, space.stem), resolution, space.task)
        for resolution, depth, width in macros
        for genotype in genotypes
    ]
    adder = sum_of_random_numbers()
    sums, filled = CellSums(block, 1, adder.sum_of, adder.width).of(models)
    assert filled.all()
    for model, found in zip(models, sums, strict=True):
        kernels = [kernel_of(call) for call in calls_of_graph(lower(model), block)]
        np.testing.assert_allclose(found, adder.sum_of(kernels), err_msg=model.name)


def test_irregular_cells_are_left_to_the_lowering() -> None:
    single = Cell(((Edge(0, "skip_connect"), Edge(1, "skip_connect")),), (2,))
    twice = Cell(((Edge(0, "conv_3x3"), Edge(1, "conv_3x3")), (Edge(2, "conv_3x3"),) * 2), (2, 3))
    models = [
        Architecture(CellBody(genotype, 3, 8), 16, Task(10))
        for genotype in (published("NASNet"), Genotype(single, single), Genotype(twice, twice))
        for _ in range(4)
    ]
    adder = sum_of_random_numbers()
    _, filled = CellSums(16, 1, adder.sum_of, adder.width).of(models)
    assert not filled.any()


def test_open_image_sizes_are_refused() -> None:
    model = write_onnx(lower(SPACE.sample(random.Random(0))))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(PredictorError, match=r"open \(height\); bind it: --bind height=224"):
        calls_of_model(model, 16)


def test_kernels_of_known_calls() -> None:
    image, sizes = (2, 8, 4, 4), (2, 16, 2, 2)
    dense = kernel_of(Call("Conv", (image, (16, 8, 3, 3), (16,), sizes), sizes))
    assert dense == Kernel("conv", 2 * 4 * 16 * 8 * 9, 4 * (256 + 128), 4 * 1152, 4 * 128, 8, 16, 4, 9, 2)
    assert kernel_of(Call("Conv", (image, (8, 1, 3, 3)), image, True)).kind == "depthwise_blocked"
    assert kernel_of(Call("Gemm", ((1, 32), (10,)), (1, 10))).work == 320
    assert kernel_of(Call("Add", (image, (2, 8, 1, 1)), image)).kind == "broadcast"
    assert kernel_of(Call("MadeUp", (image,), image)).kind == "other"


def test_dead_operations_cost_nothing() -> None:
    """An export drops what the output does not depend on, so the features must drop it, too."""
    nodes = tuple((Edge(0, "sep_conv_3x3"), Edge(1, "max_pool_3x3")) for _ in range(3))
    dead, alive = (Cell(nodes[:n], (2, 3)) for n in (3, 2))
    models = [Architecture(CellBody(Genotype(cell, cell), 3, 8), 16, Task(10)) for cell in (dead, alive)]
    calls = [Counter(calls_of_graph(lower(model), block_here())) for model in models]
    assert calls[0] == calls[1] == Counter(executed(models[0]))


def activated(activation: str) -> onnx.ModelProto:
    """Two convolutions with an activation behind each, one more without, and one activation on a sum."""
    net = OnnxNet(np.random.default_rng(0))

    def after(x: str) -> str:
        match activation:
            case "Clip":
                return net.node("Clip", [x, *net.bounds(0, 6)])
            case "SiLU":
                return net.node("Mul", [x, net.node("Sigmoid", [x])])
            case _:
                return net.node(activation, [x])

    first = after(net.conv("image", 3, 16, 3, bias=True))
    second = after(net.conv(first, 16, 16, 3, bias=True))
    third = net.conv(second, 16, 16, 3, bias=True)
    net.node("GlobalAveragePool", [after(net.node("Concat", [third, second], axis=1))])
    return net.finished("activated", (3, 16, 16), (32, 1, 1))


@pytest.mark.parametrize("activation", ["Relu", "Clip", "HardSwish"])
def test_activations_within_convolutions_are_known(activation: str) -> None:
    within = "" if activation == "Relu" else activation
    for block in {1, block_here()}:
        calls = calls_of_model(activated(activation), block)
        found = [call.activation for call in calls if call.op in ("Conv", "FusedConv")]
        # Without blocks the file alone is read, and hard swish runs on its own.
        assert found == ([within] * 2 if block > 1 or activation != "HardSwish" else [""] * 2) + [""]


def test_what_reads_a_convolution_twice_is_not_within_it() -> None:
    calls = calls_of_model(activated("SiLU"), block_here())
    assert not any(call.activation for call in calls)


def test_an_activation_within_a_convolution_makes_another_kernel() -> None:
    image = (1, 16, 8, 8)
    plain, clipped, swished = (
        kernel_of(Call("Conv", (image, (16, 16, 3, 3)), image, True, activation))
        for activation in ("", "Clip", "HardSwish")
    )
    assert plain.epilogue < clipped.epilogue < swished.epilogue
    assert replace(swished, epilogue=0) == plain
