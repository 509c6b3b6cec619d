"""Parity between a module and its file."""

from pathlib import Path

import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from exporters.base import Parity
from exporters.verify import compare_outputs, evaluating, module_outputs
from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import published
from mobinas.errors import ExportError
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_writer import write_onnx
from mobinas.nets.module import GraphModule


def network(seed: int = 0) -> GraphModule:
    return GraphModule(lower(Architecture(CellBody(published("DARTS_V1"), 2, 4), 8, Task(4, 1))), seed=seed)


def images(n: int = 70) -> Tensor:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(5))


def write(module: GraphModule, path: Path) -> Path:
    weights = {key.removeprefix("layers."): value.numpy() for key, value in module.state_dict().items()}
    path.write_bytes(write_onnx(module.graph, weights).SerializeToString())
    return path


def test_the_own_file_agrees(tmp_path: Path) -> None:
    module = network()
    parity = compare_outputs(module, write(module, tmp_path / "m.onnx"), images())
    assert parity.n == 70
    assert parity.agreeing_share == 1.0
    assert parity.max_rel_error < 1e-5


def test_figures_are_those_of_a_known_difference(tmp_path: Path) -> None:
    module = network()
    path = write(module, tmp_path / "m.onnx")
    largest = float(abs(module_outputs(module, images())).max())
    with torch.no_grad():
        module.layers["head/linear"].bias += 0.01 * largest
    parity = compare_outputs(module, path, images(), tolerance=0.1)
    scale = float(abs(module_outputs(module, images())).max())
    assert parity.max_abs_error == pytest.approx(0.01 * largest, rel=1e-2)
    assert parity.max_rel_error == pytest.approx(0.01 * largest / scale, rel=1e-2)
    assert parity.agreeing_share == 1.0


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = write(network(seed=1), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="differ from the network's"):
        compare_outputs(network(seed=2), path, images())


class Normed(nn.Module):
    """Divides by the norm of the image, kept above 0 or not."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return flat / (flat.norm(dim=1, keepdim=True) + self.epsilon)


def test_a_dropped_epsilon_is_seen_on_a_plain_picture(tmp_path: Path) -> None:
    batch = ["batch", 1, 8, 8]
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"], axis=1),
        helper.make_node("ReduceL2", ["flat"], ["norm"], axes=[1], keepdims=1),
        helper.make_node("Div", ["flat", "norm"], ["logits"]),
    ]
    ends = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", batch), ("logits", ["batch", 64]))
    )
    graph = helper.make_graph(nodes, "normed", [next(ends)], [next(ends)])
    path = tmp_path / "m.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match="a picture of one colour are not finite"):
        compare_outputs(Normed(1e-8), path, images())
    # Where the network itself divides by 0, the file may do so, too.
    assert compare_outputs(Normed(0.0), path, images()).agreeing_share == 1.0


class Frozen(nn.Module):
    """What a file with a batch that was frozen in its arithmetic computes: it mixes the images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))[:, None] - x.mean()


def test_a_file_that_mixes_images_is_refused(tmp_path: Path) -> None:
    from exporters.formats.onnx import EXPORTER

    path = tmp_path / "m.onnx"
    EXPORTER.export(Frozen(), path, image_shape=(1, 8, 8), metadata={})
    with pytest.raises(ExportError, match="depends on the others in its batch"):
        compare_outputs(Frozen(), path, images(4))


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    path = write(network(), tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ExportError, match="does not run"):
        compare_outputs(network(), path, images())


@pytest.mark.parametrize(
    "given",
    [images(0), images(3).double(), images(3)[0], (images(3) * 255).to(torch.uint8)],
    ids=["none", "double", "single", "raw"],
)
def test_unusable_images_are_refused(tmp_path: Path, given: Tensor) -> None:
    with pytest.raises(ExportError, match="normalised float32 images"):
        compare_outputs(network(), write(network(), tmp_path / "m.onnx"), given)


def test_an_image_of_nan_is_refused(tmp_path: Path) -> None:
    given = images(3)
    given[1] = torch.nan
    with pytest.raises(ExportError, match="not finite"):
        compare_outputs(network(), write(network(), tmp_path / "m.onnx"), given)


def test_each_part_gets_its_own_mode_back() -> None:
    module = network().train()
    module.layers["stem0/bn"].eval()
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert module.training
    assert not module.layers["stem0/bn"].training


def test_parity_refuses_what_is_no_error() -> None:
    with pytest.raises(ExportError, match="max_rel_error is nan"):
        Parity(0.0, float("nan"), 1.0, 3)
    with pytest.raises(ExportError, match="share"):
        Parity(0.0, 0.0, 1.5, 3)
