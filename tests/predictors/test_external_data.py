"""Models whose weights lie in files beside them."""

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_models import matrix, model_of, outside, saved, value, weights

from mobinas.errors import MeasurementError
from mobinas.targets.target import Target
from mobinas.testing import sample
from predictors.measure import measure
from predictors.model_file import ModelFile
from predictors.models.latency import LatencyPredictor
from predictors.networks import Layout, kernels_of
from predictors.runners import MeasuringPlan
from predictors.runners.kit import read_kit, write_kit

SHORT: dict = {"rounds": 1, "max_rounds": 1, "block_s": 0.001}


def placed(folder: Path, where: str = "graph", location: str = "net.bin", start: int = 0) -> Path:
    """A model whose weights lie beside it."""
    model, tensor = matrix(where)
    content = outside(tensor, location, start=start)
    return saved(folder, model, {location: bytes(start) + content})


def reshaped(folder: Path) -> Path:
    """A model with two files beside it, one of which holds the shape that it reshapes to."""
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    shape, w = numpy_helper.from_array(np.array([-1, 32]), "s"), weights("w", 32, 32)
    model = model_of(nodes, [value("x", ["batch", 4, 8])], [value("y", ["batch", 32])], [shape, w])
    files = {
        f"parts/{tensor.name}": outside(tensor, f"parts/{tensor.name}") for tensor in model.graph.initializer
    }
    return saved(folder, model, files)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of each kind."""
    folder = tmp_path_factory.mktemp("models")
    kinds = [placed(folder / where, where) for where in ("graph", "node", "branch", "function")]
    named_like_ours = placed(folder / "named", location="model.onnx", start=4096)
    return [*kinds, named_like_ours]


def test_any_working_directory_will_do(models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models[0].anchor)
    seen = measure(models, Target.local(), **SHORT)
    for path, one in zip(models, seen, strict=True):
        files = [file for file in path.parent.rglob("*") if file.is_file()]
        assert one.resources.size_bytes.value == sum(file.stat().st_size for file in files)
        assert one.kernels
        for block in (1, 8):
            assert kernels_of(path, Layout(block))
    whole = onnx.load(models[0])
    assert kernels_of(whole, Layout(8)) == kernels_of(models[0], Layout(8))
    monkeypatch.chdir(models[0].parent)
    assert kernels_of(Path("net.onnx"), Layout(8)) == kernels_of(models[0], Layout(8))


def test_weights_go_along_over_ssh(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands in for ssh: runs the command, its last argument, in a home of its own.
    script = tmp_path / "ssh"
    script.write_text(f'#!/bin/sh\nfor last; do :; done\ncd /\nHOME={tmp_path} exec sh -c "$last"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("MOBINAS_SSH_COMMAND", str(script))
    target = Target("pi", ssh="device", python=sys.executable)
    seen = measure(models, target, **SHORT)
    assert [one.file_sha256 for one in seen] == [ModelFile.of(path).file_sha256 for path in models]


def test_weights_go_along_in_a_kit(models: list[Path], tmp_path: Path) -> None:
    files, kit, result = [ModelFile.of(path) for path in models], tmp_path / "kit.zip", tmp_path / "result"
    plan = MeasuringPlan(rounds=1, max_rounds=1, block_s=0.001, processes=1)
    write_kit(kit, files, Target("pi"), plan)
    with zipfile.ZipFile(kit) as archive:
        archive.extractall(tmp_path)
    with (tmp_path / "request.bin").open("rb") as request, result.open("wb") as out:
        subprocess.run([sys.executable, tmp_path / "worker.pyz"], stdin=request, stdout=out, check=True)
    read, seen = read_kit(kit, result, Target("pi"))
    for file, again, one in zip(files, read, seen, strict=True):
        assert again.file_sha256 == one.file_sha256 == file.file_sha256
        assert one.structure_digest == file.structure_digest
        assert one.resources.size_bytes.value == file.size_bytes
        assert kernels_of(again, Layout()) == kernels_of(file, Layout())


def test_shapes_beside_a_model_are_read_but_not_by_the_runtime(tmp_path: Path) -> None:
    path = reshaped(tmp_path / "reshaped")
    kernel = kernels_of(path, Layout())[-1]
    assert (kernel.kind, kernel.in_channels, kernel.out_channels) == ("linear", 32, 32)
    with pytest.raises(MeasurementError, match=r"net\.onnx: .*keeps shapes or axes .*size_threshold"):
        measure([path], Target.local(), **SHORT)


def test_another_data_file_is_another_model(tmp_path: Path) -> None:
    path, log = placed(tmp_path / "net"), tmp_path / "log.jsonl"
    (first,) = measure([path], Target.fake(), log=log)
    assert measure([path], Target.fake(), log=log) == [first]
    data = path.with_name("net.bin")
    data.write_bytes(data.read_bytes()[::-1])
    (second,) = measure([path], Target.fake(), log=log)
    assert second.file_sha256 != first.file_sha256 and second.structure_digest == first.structure_digest
    assert len(log.read_text().splitlines()) == 2


def test_what_lies_beside_must_be_there_and_whole(tmp_path: Path) -> None:
    path = placed(tmp_path / "net")
    data = path.with_name("net.bin")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(
        MeasurementError, match=r"net\.bin, which holds weights of .*net\.onnx, is truncated: .*4095"
    ):
        measure([path], Target.local())
    data.rename(data.with_name("kept"))
    with pytest.raises(MeasurementError, match=r"net\.onnx keeps weights in .*net\.bin: No such file"):
        measure([path], Target.local())
    data.mkdir()
    with pytest.raises(MeasurementError, match=r"net\.bin, which is no file"):
        measure([path], Target.local())


def test_without_a_length_the_shape_tells_it(tmp_path: Path) -> None:
    model, tensor = matrix()
    content = outside(tensor, "w", length=False)
    path = saved(tmp_path, model, {"w": content})
    assert ModelFile.of(path).size_bytes == path.stat().st_size + len(content)
    (tmp_path / "w").write_bytes(content[:-1])
    with pytest.raises(MeasurementError, match="is truncated"):
        ModelFile.of(path)


@pytest.mark.parametrize(
    "location", ["../secret", "sub/../../secret", "{folder}/secret", "..\\secret", "link", "up/secret"]
)
def test_no_path_leaves_the_folder(tmp_path: Path, location: str) -> None:
    model, tensor = matrix()
    content = outside(tensor, location.format(folder=tmp_path))
    (tmp_path / "secret").write_bytes(content)
    path = saved(tmp_path / "net", model, {"sub/other": b""})
    (tmp_path / "net" / "link").symlink_to("../secret")
    (tmp_path / "net" / "up").symlink_to("..")
    with pytest.raises(MeasurementError, match="leaves its folder"):
        ModelFile.of(path)


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    """As in caches of downloads, where model and weights are links into one folder."""
    path = placed(tmp_path / "blobs")
    here = tmp_path / "snapshot"
    here.mkdir()
    for name in ("net.onnx", "net.bin"):
        (here / name).symlink_to(Path("..") / "blobs" / name)
    assert ModelFile.of(here / "net.onnx").file_sha256 == ModelFile.of(path).file_sha256
    assert kernels_of(here / "net.onnx", Layout(8)) == kernels_of(path, Layout(8))


@pytest.mark.parametrize(
    "about", [{"location": ""}, {"location": "w", "offset": "-1"}, {"location": "w", "length": "x"}]
)
def test_a_place_that_is_none_is_named(tmp_path: Path, about: dict[str, str]) -> None:
    model, tensor = matrix()
    outside(tensor, "w")
    for entry in tensor.external_data:
        entry.value = about.get(entry.key, entry.value)
    with pytest.raises(MeasurementError, match="does not say where the weights of 'w' lie"):
        ModelFile.of(saved(tmp_path, model, {"w": bytes(4096)}))


def test_a_model_in_memory_needs_its_weights(tmp_path: Path) -> None:
    for where in ("graph", "node"):
        path = placed(tmp_path / where, where)
        with pytest.raises(MeasurementError, match="give the path of its file"):
            ModelFile.of(onnx.load(path, load_external_data=False))
        assert ModelFile.of(onnx.load(path)).data == ()


def test_large_weights_are_not_kept(tmp_path: Path) -> None:
    for path in (placed(tmp_path / "beside"), saved(tmp_path / "within", matrix()[0], {})):
        assert ModelFile.of(path).outline.ByteSize() < 1000


def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often files are read, models parsed, and sessions opened from now on."""
    import onnxruntime

    counts = {"read": 0, "parsed": 0, "opened": 0}

    def counting(owner: object, name: str, key: str) -> None:
        real = getattr(owner, name)

        def call(*args: object, **kwargs: object) -> object:
            counts[key] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    counting(Path, "read_bytes", "read")
    counting(onnx, "load_model_from_string", "parsed")
    counting(onnxruntime, "InferenceSession", "opened")
    return counts


def test_each_file_is_read_once(
    fake_predictor: LatencyPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_predictor.save(tmp_path)
    # As for a runtime that lays tensors out in blocks, so that a model must be run to be predicted.
    about = tmp_path / "predictor.json"
    about.write_text(about.read_text().replace('"block": 1', '"block": 8'))
    blocked = LatencyPredictor.load(tmp_path)
    adapted = blocked.adapt(
        [sample(k) for k in range(5)], [1e-3, 2e-3, 3e-3, 1e-3, 5e-3], target=Target("phone")
    )
    paths = [placed(tmp_path / "beside"), saved(tmp_path / "within", matrix()[0], {})]
    for ask in (blocked.predict, adapted.predict, lambda paths: [blocked.cost_by_kind(p) for p in paths]):
        with monkeypatch.context() as patch:
            counts = counted(patch)
            ask(paths)
        assert counts == {"read": 2, "parsed": 2, "opened": 2}
    with monkeypatch.context() as patch:
        counts = counted(patch)
        measure(paths, Target.fake())
    assert counts == {"read": 2, "parsed": 2, "opened": 0}
    with monkeypatch.context() as patch:
        counts = counted(patch)
        measure(paths, Target.local(), **SHORT)
    assert counts == {"read": 2, "parsed": 2, "opened": 0}  # other processes open them


@pytest.mark.skipif(
    not hasattr(os, "sysconf"), reason="sparse files are known to work on POSIX systems alone"
)
def test_weights_above_2_gb_are_never_in_memory(tmp_path: Path) -> None:
    model, tensor = matrix()
    outside(tensor, "w", start=1 << 32)
    path = saved(tmp_path, model, {"w": b""})
    with (tmp_path / "w").open("wb") as file:
        file.truncate((1 << 32) + 4096)
    file = ModelFile.of(path)
    assert file.size_bytes > 1 << 32 and kernels_of(file, Layout(8))
