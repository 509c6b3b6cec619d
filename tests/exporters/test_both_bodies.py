"""Random architectures of either body: lowered, built, exported by either way, compared in onnxruntime."""

import random
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from strategies import random_stage_architecture
from torch import nn

from exporters import find_format
from exporters.base import RELATIVE_TOLERANCE
from exporters.formats.onnx import foreign_model
from exporters.onnx_cost import count_macs
from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.ops import op_set
from mobinas.arch.space import SearchSpace
from mobinas.arch.stage_presets import STAGE_PRESETS, stage_preset
from mobinas.arch.stages import Stage, StageBody
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_writer import write_onnx
from mobinas.nets.module import GraphModule, merge_branches

TASK = Task(7, in_channels=3)
CELLS = SearchSpace(TASK, (8, 16), (2, 3, 4), (2, 4, 8), (op_set("all"),))
N_RANDOM = 500


def drawn(seed: int) -> Architecture:
    """Of each five, one of cells, one of any stages, and one of each preset's, at its least resolution."""
    rng = random.Random(seed)
    kind = seed % 5
    if kind == 0:
        return CELLS.sample(rng)
    if kind == 1:
        return random_stage_architecture(rng, (8, 12, 16, 24, 40))
    space = stage_preset(list(STAGE_PRESETS)[kind - 2], TASK)
    least = min(space.resolutions)
    return space.build(lambda name, options: least if name == "resolution" else rng.choice(options))


def trained_module(architecture: Architecture, seed: int) -> GraphModule:
    """Weights at random and statistics of batch normalisation as a batch left them."""
    module = GraphModule(lower(architecture), seed=seed).train()
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(4, *module.graph.input_shape, generator=generator)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.5, 1.5, generator=generator)
            part.bias.data.normal_(std=0.2, generator=generator)
            part.momentum = 0.9
        elif isinstance(part, nn.Linear):
            part.weight.data.normal_(std=part.in_features**-0.5, generator=generator)
    with torch.no_grad():
        module(images)
    return module.eval()


def answers(model: onnx.ModelProto, images: torch.Tensor) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images.numpy()})[0]


def check(seed: int, folder: Path) -> None:
    module = trained_module(drawn(seed), seed)
    shape = module.graph.input_shape
    images = torch.randn(4, *shape, generator=torch.Generator().manual_seed(seed + 1))
    exporter = find_format("onnx")
    exporter.requires(module, shape)
    exported = exporter.export(module, folder / "model.onnx", image_shape=shape, metadata={})
    parity = exporter.ensures(module, exported.path, images, RELATIVE_TOLERANCE)
    assert parity.agreeing_share == 1
    assert (exported.params, exported.macs) == (cost(module.graph).params, cost(module.graph).macs)
    state = {name.removeprefix("layers."): t.numpy() for name, t in module.state_dict().items()}
    written = write_onnx(module.graph, state)
    onnx.checker.check_model(written, full_check=True)
    assert count_macs(written) == cost(module.graph).macs
    wanted = module(images).detach().numpy()  # layer by layer, branch by branch
    for found in (answers(written, images), merge_branches(module)(images).detach().numpy()):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=RELATIVE_TOLERANCE * np.abs(wanted).max())
        assert np.array_equal(found.argmax(1), wanted.argmax(1))
    random_weights = answers(write_onnx(module.graph), images)
    assert np.isfinite(random_weights).all()
    assert random_weights.std() > 0


@pytest.mark.parametrize("seed", range(10))
def test_a_few_agree(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, N_RANDOM, 50))
def test_all_agree(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 50):
        check(seed, tmp_path)


@pytest.mark.slow
def test_torch_exports_the_merged_module_as_one_convolution_each() -> None:
    """The way of foreign modules takes 10 s a network."""
    body = StageBody("3x3", 8, (Stage("rep", 8, 2, 1, 3, se=True),), activation="hardswish")
    module = trained_module(Architecture(body, 8, TASK), 0)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    model = foreign_model(nn.Sequential(merge_branches(module)), (3, 8, 8), {})
    assert sum(node.op_type == "Conv" for node in model.graph.node) == 1 + 2 + 4
    np.testing.assert_allclose(answers(model, images), module(images).detach().numpy(), atol=1e-4)
