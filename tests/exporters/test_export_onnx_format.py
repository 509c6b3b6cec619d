"""The ONNX format: networks of this project, and modules from elsewhere."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from exporters import export_bundle, find_format, format_names
from exporters.formats.onnx import EXPORTER
from exporters.onnx_cost import count_macs
from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import published, published_names
from mobinas.errors import ExportError
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_writer import write_onnx
from mobinas.nets.baselines import BASELINES, make_baseline
from mobinas.nets.module import GraphModule


class Foreign(nn.Module):
    """Small, with what networks from elsewhere have: groups, dropout, global pooling of both forms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.gate = nn.Conv2d(8, 8, 1)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(torch.relu(self.norm(self.conv(x))))
        x = x * torch.sigmoid(self.gate(nn.functional.adaptive_avg_pool2d(x, 1)))
        return self.linear(self.drop(x.mean((2, 3))))


def images(n: int, *shape: int) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Foreign, Path]:
    module, path = Foreign(), tmp_path_factory.mktemp("foreign") / "model.onnx"
    exported = EXPORTER.export(module, path, image_shape=(3, 16, 16), metadata={"mean": "[0.5]"})
    assert exported.outputs == 5
    assert exported.params == 224 + 16 + 72 + 72 + 45
    # Convolutions at 8x8, the gate at 1x1, the linear layer.
    assert exported.macs == 64 * 8 * 27 + 64 * 8 * 9 + 64 + 40
    assert module.training
    return module, path


def test_a_foreign_module_and_its_file_agree(foreign: tuple[Foreign, Path]) -> None:
    module, path = foreign
    for n in (1, 2, 7):
        assert EXPORTER.ensures(module, path, images(n, 3, 16, 16), 1e-4).n == n


def test_a_foreign_file_has_the_house_form(foreign: tuple[Foreign, Path]) -> None:
    model = onnx.load(foreign[1])
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["logits"]
    assert model.ir_version == 8
    assert {entry.key: entry.value for entry in model.metadata_props} == {"mean": "[0.5]"}
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("GlobalAveragePool") == 2
    assert "ReduceMean" not in kinds


def test_a_foreign_file_tells_nothing_about_this_machine(foreign: tuple[Foreign, Path]) -> None:
    content = foreign[1].read_bytes()
    for private in (b".py", b"site-packages", b"stack_trace", str(Path.home()).encode()):
        assert private not in content


class Tokens(nn.Module):
    """Puts the batch into a learned constant's shape, where it cannot be opened afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.token.expand(x.shape[0], -1, -1), x.flatten(2)], dim=1).mean(1)


def test_a_batch_inside_of_the_arithmetic_stays_open(tmp_path: Path) -> None:
    module = Tokens()
    exported = EXPORTER.export(module, tmp_path / "m.onnx", image_shape=(2, 2, 2), metadata={})
    for n in (1, 3, 65):
        assert EXPORTER.ensures(module, exported.path, images(n, 2, 2, 2), 1e-4).n == n


@pytest.mark.slow
@pytest.mark.parametrize("name", BASELINES)
def test_baselines_and_their_files_agree(tmp_path: Path, name: str) -> None:
    module = make_baseline(name, Task(10, 1)).train()
    module(images(16, 1, 32, 32))  # statistics that are not those of a fresh network
    bundle = export_bundle(module, tmp_path / "m", name=name, images=images(70, 1, 32, 32))
    assert bundle.manifest["parity"]["agreeing_share"] == 1.0
    assert bundle.manifest["params"] == sum(p.numel() for p in module.parameters())


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1)) if x.sum() > 0 else x.flatten(1)[:, :2]


def test_what_torch_cannot_export_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"torch\.onnx cannot export Branching") as caught:
        EXPORTER.export(Branching(), tmp_path / "m.onnx", image_shape=(1, 2, 2), metadata={})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def network(auxiliary: bool = False, seed: int = 0) -> GraphModule:
    architecture = Architecture(CellBody(published("PDARTS"), 3, 4), 32, Task(6))
    return GraphModule(lower(architecture, auxiliary=auxiliary), seed=seed)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_a_network_of_this_project_agrees(tmp_path: Path, auxiliary: bool) -> None:
    module = network(auxiliary).train()
    module(images(8, 3, 32, 32))
    EXPORTER.requires(module, (3, 32, 32))
    exported = EXPORTER.export(module, tmp_path / "m.onnx", image_shape=(3, 32, 32), metadata={})
    parity = EXPORTER.ensures(module, exported.path, images(5, 3, 32, 32), 1e-4)
    assert parity.max_rel_error < 1e-4
    alone = cost(network().graph)
    assert (exported.params, exported.macs, exported.outputs) == (alone.params, alone.macs, 6)
    assert module.training


def test_a_batch_normalisation_in_training_mode_is_exported_as_it_will_act(tmp_path: Path) -> None:
    module = network().train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    exported = EXPORTER.export(module, tmp_path / "m.onnx", image_shape=(3, 32, 32), metadata={})
    EXPORTER.ensures(module, exported.path, images(5, 3, 32, 32), 1e-4)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_unusable_modules_are_refused() -> None:
    with pytest.raises(ExportError, match="takes 3x32x32"):
        EXPORTER.requires(network(), (3, 16, 16))
    with pytest.raises(ExportError, match=r"give a torch\.nn\.Module"):
        EXPORTER.requires(lambda x: x, (3, 16, 16))
    with pytest.raises(ExportError, match=r"module\.float"):
        EXPORTER.requires(network().half(), (3, 32, 32))
    broken = network()
    with torch.no_grad():
        broken.layers["head/linear"].bias[0] = torch.inf
    with pytest.raises(ExportError, match=r"'layers\.head/linear\.bias' is not finite"):
        EXPORTER.requires(broken, (3, 32, 32))


@pytest.mark.parametrize("name", published_names())
def test_multiply_accumulates_of_a_file_are_those_of_its_graph(name: str) -> None:
    graph = lower(Architecture(CellBody(published(name), 3, 4), 16, Task(10)))
    assert count_macs(write_onnx(graph)) == cost(graph).macs


def test_formats_are_found_by_name() -> None:
    assert "onnx" in format_names()
    assert find_format("onnx") is EXPORTER
    for name in format_names():
        assert find_format(name).name == name
    with pytest.raises(ExportError, match="did you mean 'onnx'"):
        find_format("onx")


def test_importing_exporters_is_light() -> None:
    heavy = "{'torch', 'onnxruntime', 'optuna', 'matplotlib', 'sklearn'}"
    code = f"import sys, exporters; exporters.ExportBundle; sys.exit(bool({heavy} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
