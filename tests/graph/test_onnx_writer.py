"""The ONNX writer against the torch module of the same Graph."""

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from mobinas.arch.architecture import Architecture, CellBody, Stem, Task
from mobinas.arch.genotype import published, published_names
from mobinas.arch.ops import OPS, op_set
from mobinas.arch.space import SearchSpace
from mobinas.errors import ExportError
from mobinas.graph.builder import GraphBuilder
from mobinas.graph.layers import Add, BatchNorm2d, Conv2d, Crop, Graph, ReLU
from mobinas.graph.lowering import lower, lower_op
from mobinas.graph.onnx_structure import structure_digest
from mobinas.graph.onnx_writer import write_onnx
from mobinas.nets.module import GraphModule

SPACE = SearchSpace(Task(5, in_channels=1), (8, 12, 16), (2, 3, 5), (2, 4, 6), (op_set("all"),))


def used_module(graph: Graph, seed: int = 0) -> GraphModule:
    """A module in evaluation mode whose batch normalisation is far from the identity."""
    module = GraphModule(graph, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            part.running_mean.normal_(generator=generator)
            part.running_var.uniform_(0.2, 3.0, generator=generator)
            if part.affine:
                part.weight.data.uniform_(-2.0, 2.0, generator=generator)
                part.bias.data.normal_(generator=generator)
    return module


def state_of(module: GraphModule) -> dict[str, np.ndarray]:
    return {key.removeprefix("layers."): value.numpy() for key, value in module.state_dict().items()}


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


def assert_same_function(graph: Graph, seed: int = 0) -> None:
    module = used_module(graph, seed)
    images = torch.randn(3, *graph.input_shape, generator=torch.Generator().manual_seed(seed + 1))
    with torch.no_grad():
        wanted = module(images).numpy()
    model = write_onnx(graph, state_of(module))
    onnx.checker.check_model(model, full_check=True)
    got = run(model, images.numpy())
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * max(np.abs(wanted).max(), 1e-6))


@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("op", OPS)
def test_every_op_computes_what_torch_computes(op: str, stride: int, search: bool) -> None:
    assert_same_function(lower_op(op, (6, 8, 8), stride=stride, search=search))


@pytest.mark.parametrize("seed", range(12))
def test_random_architectures_compute_what_torch_computes(seed: int) -> None:
    assert_same_function(lower(SPACE.sample(random.Random(seed))), seed)


@pytest.mark.parametrize("name", published_names())
def test_published_cells_compute_what_torch_computes(name: str) -> None:
    assert_same_function(lower(Architecture(CellBody(published(name), depth=3, width=4), 8, Task(10))))


@pytest.mark.parametrize("stem", ["strided", "imagenet"])
def test_the_other_stems_compute_what_torch_computes(stem: Stem) -> None:
    body = CellBody(published("DARTS_V1"), depth=3, width=4, stem=stem)
    assert_same_function(lower(Architecture(body, 64, Task(7))))


def test_several_summands_and_one_summand_twice() -> None:
    b = GraphBuilder((2, 4, 4))
    conv = b.add("conv", Conv2d(2, 2, (3, 3), padding=(1, 1)), 0)
    relu = b.add("relu", ReLU(), conv)
    assert_same_function(b.finish(b.add("sum", Add(), conv, relu, relu, 0)))


def test_a_convolution_that_others_read_keeps_its_own_output() -> None:
    # Folding here would change what the ReLU sees.
    b = GraphBuilder((2, 4, 4))
    conv = b.add("conv", Conv2d(2, 2, (1, 1)), 0)
    norm = b.add("norm", BatchNorm2d(2), conv)
    graph = b.finish(b.add("sum", Add(), norm, b.add("relu", ReLU(), conv)))
    assert_same_function(graph)
    assert [node.op_type for node in write_onnx(graph).graph.node].count("BatchNormalization") == 1


def test_a_convolution_that_is_the_output_is_not_folded() -> None:
    b = GraphBuilder((2, 4, 4))
    conv = b.add("conv", Conv2d(2, 3, (1, 1)), 0)
    b.add("norm", BatchNorm2d(3), conv)
    assert_same_function(b.finish(conv))


def example(**changes: int) -> Architecture:
    macro = {"depth": 4, "width": 4, "resolution": 16} | changes
    body = CellBody(published("DARTS_V2"), macro["depth"], macro["width"])
    return Architecture(body, macro["resolution"], Task(10))


def test_no_batch_normalisation_is_left_in_an_architecture() -> None:
    kinds = Counter(node.op_type for node in write_onnx(lower(example())).graph.node)
    assert kinds["Conv"] > 0
    assert set(kinds) == {"Conv", "Relu", "MaxPool", "Slice", "Concat", "Add", "Flatten", "Gemm"} | {
        "GlobalAveragePool"
    }


def test_the_auxiliary_classifier_is_left_out() -> None:
    architecture = example(resolution=32)
    with_auxiliary = lower(architecture, auxiliary=True)
    assert len(with_auxiliary.outputs) == 2
    module = used_module(with_auxiliary)
    got = write_onnx(with_auxiliary, state_of(module))
    assert structure_digest(got) == structure_digest(write_onnx(lower(architecture)))
    assert not any("auxiliary" in tensor.name for tensor in got.graph.initializer)


def test_bytes_depend_on_the_arguments_alone() -> None:
    graph, notes = lower(example()), {"b": "2", "a": "1"}
    first = write_onnx(graph, seed=3, metadata=notes).SerializeToString(deterministic=True)
    again = write_onnx(lower(example()), seed=3, metadata=dict(reversed(notes.items())))
    assert again.SerializeToString(deterministic=True) == first
    assert write_onnx(graph, seed=4, metadata=notes).SerializeToString(deterministic=True) != first


def test_metadata_and_opset_can_be_read_back() -> None:
    model = write_onnx(lower(example()), metadata={"mean": "[0.5]", "note": "größer"}, opset=19)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"mean": "[0.5]", "note": "größer"}
    assert [entry.version for entry in model.opset_import] == [19]


def test_the_batch_is_open() -> None:
    model = write_onnx(lower(example()))
    for n in (1, 4):
        assert run(model, np.zeros((n, 3, 16, 16), np.float32)).shape == (n, 10)


def test_random_weights_keep_a_deep_network_within_float_range() -> None:
    # Denormal or infinite activations would make its latency another one than that of trained weights.
    graph = lower(Architecture(CellBody(published("NASNet"), depth=20, width=4), 16, Task(10)))
    rng = np.random.default_rng(0)
    logits = run(write_onnx(graph), rng.standard_normal((4, 3, 16, 16)).astype(np.float32))
    assert np.isfinite(logits).all()
    assert np.abs(logits).max() > 1e-6


@pytest.mark.parametrize("change", [{"depth": 5}, {"width": 6}, {"resolution": 20}])
def test_structures_of_different_architectures_differ(change: dict[str, int]) -> None:
    digest = structure_digest(write_onnx(lower(example())))
    assert structure_digest(write_onnx(lower(example(**change)))) != digest


def test_structure_ignores_weights_names_and_metadata() -> None:
    graph = lower(example())
    random_weights = write_onnx(graph, seed=1)
    renamed = write_onnx(graph, state_of(used_module(graph)), metadata={"some": "note"})
    names: dict[str, str] = {}
    for node in renamed.graph.node:
        node.name = ""
        for field in (node.input, node.output):
            for k, name in enumerate(field):
                field[k] = names.setdefault(name, f"t{len(names)}")
    for value in (*renamed.graph.input, *renamed.graph.output, *renamed.graph.initializer):
        value.name = names[value.name]
    tensors = list(renamed.graph.initializer)
    del renamed.graph.initializer[:]
    renamed.graph.initializer.extend(reversed(tensors))
    onnx.checker.check_model(renamed, full_check=True)
    assert structure_digest(renamed) == structure_digest(random_weights)


def changed_stride(model: onnx.ModelProto) -> None:
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    next(a for a in conv.attribute if a.name == "strides").ints[:] = [2, 2]


def changed_wiring(model: onnx.ModelProto) -> None:
    concat = next(node for node in model.graph.node if node.op_type == "Concat")
    concat.input[0], concat.input[1] = concat.input[1], concat.input[0]


def changed_crop(model: onnx.ModelProto) -> None:
    starts = next(t for t in model.graph.initializer if t.name == "crop.starts")
    starts.raw_data = np.array([0, 1], np.int64).tobytes()


def changed_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version += 1


def changed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


@pytest.mark.parametrize(
    "change",
    [changed_stride, changed_wiring, changed_crop, changed_opset, changed_batch],
    ids=lambda f: f.__name__,
)
def test_structure_sees_what_changes_the_computation(change) -> None:
    model = write_onnx(lower(example()))
    digest = structure_digest(model)
    change(model)
    assert structure_digest(model) != digest


def test_structure_reaches_into_branches() -> None:
    def model(op: str) -> onnx.ModelProto:
        value = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
        body = onnx.helper.make_graph([onnx.helper.make_node(op, ["x"], ["y"])], "branch", [], [value])
        branch = onnx.helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body)
        inputs = [
            onnx.helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
            onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1]),
        ]
        output = onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1])
        return onnx.helper.make_model(onnx.helper.make_graph([branch], "main", inputs, [output]))

    assert structure_digest(model("Relu")) == structure_digest(model("Relu"))
    assert structure_digest(model("Relu")) != structure_digest(model("Abs"))


def broken_state(change: str) -> dict[str, np.ndarray]:
    state = state_of(used_module(lower(example())))
    name = next(
        key for key in state if key.endswith("bn.running_var" if change == "negative" else "conv.weight")
    )
    if change == "missing":
        del state[name]
    elif change == "shape":
        state[name] = state[name][:1]
    elif change == "nan":
        state[name] = state[name] * np.float32("nan")
    else:
        state[name] = -state[name]
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "no weights 'stem0/conv.weight'"),
        ("shape", "shape"),
        ("nan", "finite"),
        ("negative", "negative"),
    ],
)
def test_unusable_weights_are_refused(change: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        write_onnx(lower(example()), broken_state(change))


def test_an_old_opset_is_refused() -> None:
    with pytest.raises(ExportError, match="opset is 16"):
        write_onnx(lower(example()), opset=16)


def test_weights_are_not_changed() -> None:
    state = state_of(used_module(lower(example())))
    copies = {key: value.copy() for key, value in state.items()}
    write_onnx(lower(example()), state)
    assert all(np.array_equal(state[key], copies[key]) for key in copies)


def test_neither_torch_nor_onnxruntime_is_imported() -> None:
    code = (
        "import sys, mobinas.graph.onnx_writer, mobinas.graph.onnx_structure\n"
        "sys.exit(bool({'torch', 'onnxruntime'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def optimised_ops(model: onnx.ModelProto, path: Path) -> Counter[str]:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_free_dimension_override_by_name("batch", 1)
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(f"{node.domain}.{node.op_type}" for node in onnx.load(path).graph.node)


@pytest.mark.slow
def test_the_runtime_executes_the_same_kernels_as_for_a_file_of_torch(tmp_path: Path) -> None:
    from exporters.formats.onnx import foreign_model

    graph = lower(example(depth=3, width=16))
    module = used_module(graph)
    ours = write_onnx(graph, state_of(module))
    theirs = foreign_model(module, (3, 16, 16), {})
    own, other = optimised_ops(ours, tmp_path / "a.onnx"), optimised_ops(theirs, tmp_path / "b.onnx")
    # torch crops rows and columns one after the other, and flattens by another name.
    crops = sum(isinstance(node.layer, Crop) for node in graph.nodes)
    assert crops > 0
    assert other.pop(".Slice") == 2 * own.pop(".Slice") == 2 * crops
    assert other.pop(".Reshape") == own.pop(".Flatten") == 1
    assert own == other
