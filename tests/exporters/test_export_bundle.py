"""Bundles: all or nothing, and tampering is seen."""

import json
import shutil
from pathlib import Path

import foreign
import pytest
import torch
from torch import Tensor

import exporters.bundle
from exporters import ExportBundle, ModelFacts, export_bundle
from exporters.bundle import record_results
from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import published
from mobinas.errors import ExportError, RunFolderError
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.nets.module import GraphModule

ARCHITECTURE = Architecture(CellBody(published("DARTS_V2"), 2, 4), 8, Task(3, 1))
FACTS = ModelFacts(("cat", "dog", "größer"), (0.5,), (0.25,), 1e-5, ARCHITECTURE)
IMAGES = torch.randn(9, 1, 8, 8, generator=torch.Generator().manual_seed(2))


def network(seed: int = 0) -> GraphModule:
    return GraphModule(lower(ARCHITECTURE), seed=seed)


def export(directory: Path, module: torch.nn.Module | None = None, **more: object) -> ExportBundle:
    arguments = {"manifest": FACTS.manifest(), "metadata": FACTS.metadata()} | more
    return export_bundle(module or network(), directory, name="first", images=IMAGES, **arguments)


def test_a_bundle_says_what_its_user_needs(tmp_path: Path) -> None:
    bundle = export(tmp_path / "models" / "first")
    manifest = json.loads((tmp_path / "models" / "first" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest == bundle.manifest
    assert manifest["name"] == bundle.name == "first"
    assert (manifest["format"], manifest["precision"], manifest["opset"]) == ("onnx", "fp32", 17)
    assert manifest["input"] == {"name": "image", "dtype": "float32", "shape": ["batch", 1, 8, 8]}
    assert manifest["output"]["shape"] == ["batch", 3]
    assert manifest["resolution"] == 8
    assert (manifest["mean"], manifest["std"], manifest["classes"]) == ([0.5], [0.25], list(FACTS.classes))
    assert manifest["resize"]["seconds_per_image"] == 1e-5
    assert manifest["parity"]["n"] == 9
    counted = cost(lower(ARCHITECTURE))
    assert (manifest["params"], manifest["macs"]) == (counted.params, counted.macs)
    assert Architecture.from_json(manifest["architecture"]) == ARCHITECTURE
    assert manifest["versions"]["onnxruntime"]
    assert bundle.model_sha256 == manifest["files"]["model.onnx"]["sha256"]


def test_a_loaded_bundle_equals_the_written_one(tmp_path: Path) -> None:
    assert export(tmp_path / "m") == ExportBundle.load(tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_results_join_a_manifest_that_still_verifies(tmp_path: Path) -> None:
    before = export(tmp_path / "m")
    assert record_results(tmp_path / "m", {"test": {"accuracy": 0.5}})
    assert record_results(tmp_path / "m", {"test": {"accuracy": 0.75}}), "earlier ones are replaced"
    written = (tmp_path / "m" / "manifest.json").stat().st_mtime_ns
    assert not record_results(tmp_path / "m", {"test": {"accuracy": 0.75}})
    assert (tmp_path / "m" / "manifest.json").stat().st_mtime_ns == written
    after = ExportBundle.load(tmp_path / "m")
    assert after.files == before.files
    assert after.manifest == {**before.manifest, "results": {"test": {"accuracy": 0.75}}}
    with pytest.raises(ExportError, match="not plain data"):
        record_results(tmp_path / "m", {"test": float("nan")})
    assert ExportBundle.load(tmp_path / "m") == after
    with pytest.raises(RunFolderError, match="export the model again"):
        record_results(tmp_path / "nowhere", {})


def test_a_bundle_may_be_moved(tmp_path: Path) -> None:
    export(tmp_path / "m")
    (tmp_path / "m").rename(tmp_path / "elsewhere")
    assert ExportBundle.load(tmp_path / "elsewhere").model_path == tmp_path / "elsewhere" / "model.onnx"


def test_the_same_network_gives_the_same_file(tmp_path: Path) -> None:
    assert export(tmp_path / "a").files == export(tmp_path / "b").files


def test_a_newer_bundle_takes_the_place_of_an_older(tmp_path: Path) -> None:
    old = export(tmp_path / "m")
    (tmp_path / "m" / ".DS_Store").write_bytes(b"of a desktop")
    new = export(tmp_path / "m", network(seed=1))
    assert new.model_sha256 != old.model_sha256
    assert ExportBundle.load(tmp_path / "m") == new
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


class Liar(GraphModule):
    """Computes something else than its graph."""

    def forward(self, image: Tensor) -> Tensor:
        result = super().forward(image)
        assert isinstance(result, Tensor)
        return result * 1.001


def test_a_failing_parity_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="differ"):
        export(tmp_path / "m", Liar(lower(ARCHITECTURE), seed=0))
    assert list(tmp_path.iterdir()) == []


def test_a_failing_parity_leaves_an_older_bundle_as_it_was(tmp_path: Path) -> None:
    old = export(tmp_path / "m")
    with pytest.raises(ExportError, match="differ"):
        export(tmp_path / "m", Liar(lower(ARCHITECTURE), seed=1))
    assert ExportBundle.load(tmp_path / "m") == old
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporters.bundle, "_take_place", full)
    with pytest.raises(RunFolderError, match="No space left on device; free some space"):
        export(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_replacement_puts_the_older_bundle_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = export(tmp_path / "m")
    rename = Path.rename

    def refuse_drafts(self: Path, target: Path) -> Path:
        if (self / "manifest.json").exists() and self.name.startswith(".m.draft-"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_drafts)
    with pytest.raises(RunFolderError, match="Input/output error"):
        export(tmp_path / "m", network(seed=1))
    assert ExportBundle.load(tmp_path / "m") == old
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_what_a_killed_export_left_is_removed(tmp_path: Path) -> None:
    export(tmp_path / "m")
    draft = tmp_path / ".m.draft-abcd_123"
    shutil.copytree(tmp_path / "m", draft)
    shutil.copytree(tmp_path / "m", draft / "old")
    (draft / ".model.onnx.abcdefgh.tmp").write_bytes(b"half")
    other = tmp_path / ".other.draft-abcd_123"
    other.mkdir()
    export(tmp_path / "m")
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "m"]


def test_a_folder_with_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunFolderError, match="holds something other"):
        export(tmp_path / "m")
    assert (tmp_path / "m" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", '{"name": "App", "short_name": "a", "icons": [], "start_url": "."}'),
        ("manifest.json", "{"),
        ("notes.txt", "what I saw"),
        ("model.int8.onnx", "tuned"),
        ("model.onnx", "tuned"),
    ],
)
def test_what_no_export_has_written_keeps_a_bundle_from_being_replaced(
    tmp_path: Path, name: str, content: str
) -> None:
    directory = tmp_path / "m"
    if name != "manifest.json":
        export(directory)
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(content)
    (directory / "assets").mkdir()
    before = foreign.snapshot(tmp_path)
    with pytest.raises(RunFolderError, match=r"holds something other than a model bundle \((assets|model)"):
        export(directory, network(seed=1))
    assert foreign.snapshot(tmp_path) == before
    (directory / "assets").rmdir()
    if content != "{":  # which a kill may leave
        with pytest.raises(RunFolderError, match=rf"holds something other than a model bundle \({name}\)"):
            export(directory, network(seed=1))
        assert (directory / name).read_text() == content


@pytest.mark.parametrize("name", [".m.draft-mine", ".m.draft-abcd1234"])
def test_folders_that_are_called_like_drafts_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("years of work")
    before = foreign.snapshot(tmp_path)
    export(tmp_path / "m")
    assert {key: foreign.snapshot(tmp_path)[key] for key in before} == before


def test_a_link_to_a_bundle_stays_a_link(tmp_path: Path) -> None:
    export(tmp_path / "disk" / "m")
    (tmp_path / "m").symlink_to("disk/m")
    new = export(tmp_path / "m", network(seed=1))
    assert (tmp_path / "m").is_symlink() and ExportBundle.load(tmp_path / "disk" / "m").files == new.files
    (tmp_path / "n").symlink_to("disk/nothing")
    with pytest.raises(RunFolderError, match=r"n is a link to .*nothing, which does not exist"):
        export(tmp_path / "n")


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    assert export(tmp_path / "m").model_path.is_file()


@pytest.mark.parametrize("position", [0, 500, -1])
def test_a_changed_model_is_seen(tmp_path: Path, position: int) -> None:
    path = export(tmp_path / "m").model_path
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(ExportError, match="is not the file that was verified"):
        ExportBundle.load(tmp_path / "m")


def test_a_missing_model_is_seen(tmp_path: Path) -> None:
    export(tmp_path / "m").model_path.unlink()
    with pytest.raises(RunFolderError, match="missing from its bundle"):
        ExportBundle.load(tmp_path / "m")


def test_a_missing_folder_is_seen(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="export the model again"):
        ExportBundle.load(tmp_path / "m")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"schema": 1}', '{"schema": 99}', '{"schema": 1, "files": 3}']
)
def test_a_torn_manifest_is_seen(tmp_path: Path, content: str) -> None:
    export(tmp_path / "m")
    (tmp_path / "m" / "manifest.json").write_text(content)
    with pytest.raises(RunFolderError, match="export the model again"):
        ExportBundle.load(tmp_path / "m")


OUTSIDE = (
    "../model.onnx",
    "{}/model.onnx",
    "a/../../model.onnx",
    "..\\model.onnx",
    "C:\\x",
    "",
    "link/model.onnx",
)


@pytest.mark.parametrize("spelling", OUTSIDE)
def test_a_path_may_not_leave_the_folder(tmp_path: Path, spelling: str) -> None:
    bundle = export(tmp_path / "m")
    shutil.copy(bundle.model_path, tmp_path / "model.onnx")
    (tmp_path / "m" / "link").symlink_to(tmp_path)
    manifest = dict(bundle.manifest)
    listed = spelling.format(tmp_path)
    manifest["files"] = {listed: manifest["files"]["model.onnx"]}
    manifest["model"] = listed
    (tmp_path / "m" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ExportError, match="outside of its folder"):
        ExportBundle.load(tmp_path / "m")


def test_a_model_without_a_hash_is_refused(tmp_path: Path) -> None:
    bundle = export(tmp_path / "m")
    manifest = dict(bundle.manifest) | {"model": "other.onnx"}
    (tmp_path / "m" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ExportError, match="no hash of its model"):
        ExportBundle.load(tmp_path / "m")


@pytest.mark.parametrize("entry", [{"params": 1}, {"x": float("nan")}, {"x": object()}])
def test_unusable_manifest_entries_are_refused(tmp_path: Path, entry: dict[str, object]) -> None:
    with pytest.raises(ExportError):
        export(tmp_path / "m", manifest=entry)
    assert list(tmp_path.iterdir()) == []


def test_unusable_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="n, channels, height, width"):
        export_bundle(network(), tmp_path / "m", name="x", images=IMAGES[0])


def test_facts_check_themselves() -> None:
    with pytest.raises(ExportError, match="at least 2"):
        ModelFacts(("one",), (0.5,), (0.5,))
    with pytest.raises(ExportError, match="one of each"):
        ModelFacts(("a", "b"), (0.5, 0.5), (0.5,))
    with pytest.raises(ExportError, match="std positive"):
        ModelFacts(("a", "b"), (0.5,), (0.0,))


def test_metadata_can_be_read_from_the_session(tmp_path: Path) -> None:
    import onnxruntime

    path = export(tmp_path / "m").model_path
    texts = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert json.loads(texts["mobinas.classes"]) == list(FACTS.classes)
    assert json.loads(texts["mobinas.std"]) == [0.25]
    assert Architecture.from_json(json.loads(texts["mobinas.architecture"])) == ARCHITECTURE
    assert texts["mobinas.name"] == "first"
