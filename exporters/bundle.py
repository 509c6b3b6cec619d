"""A model as it is shipped: a folder with the file, its manifest, and proof that it is what was verified."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from exporters.base import RELATIVE_TOLERANCE, Exported, Parity
from exporters.registry import find_format
from mobinas.content import begins_like, is_cut_json, is_our_onnx
from mobinas.errors import ExportError, RunFolderError
from mobinas.files import is_leftover, real_folder, sha256_of, write_atomic

if TYPE_CHECKING:
    from torch import Tensor, nn

MANIFEST_NAME = "manifest.json"
_SCHEMA = 1
_MANIFEST_START = b'{\n  "schema": '
_MANIFEST_KEYS = {"schema", "name", "format", "model", "parity", "files"}
# In a draft, the bundle that is being replaced.
_OLD = "old"
_PACKAGES = ("mobinas", "torch", "onnx", "onnxruntime")


@dataclass(frozen=True, slots=True)
class ExportBundle:
    """A folder with an exported model.

    Attributes:
        directory: The folder.
        files: SHA-256 (64 hex digits) by path within the folder, the manifest itself left out.
        manifest: What `manifest.json` says.
    """

    directory: Path
    files: Mapping[str, str]
    manifest: Mapping[str, Any]

    def __post_init__(self) -> None:
        for relative in self.files:
            _path_within(self.directory, relative)
        if self.manifest.get("model") not in self.files:
            raise ExportError(f"the manifest in {self.directory} lists no hash of its model; export it again")

    @property
    def name(self) -> str:
        """Of the model."""
        return str(self.manifest["name"])

    @property
    def model_path(self) -> Path:
        """The model file."""
        return self.directory / str(self.manifest["model"])

    @property
    def model_sha256(self) -> str:
        """Of the model file; measurements of it carry the same."""
        return self.files[str(self.manifest["model"])]

    @classmethod
    def load(cls, directory: Path) -> "ExportBundle":
        """Reads a bundle and checks every file against its hash.

        Raises:
            RunFolderError: The folder or a file is missing, or the manifest is torn.
            ExportError: A file is not the one that was verified, or a path leaves the folder.
        """
        manifest = _read_manifest(directory / MANIFEST_NAME)
        entries = manifest["files"]
        for relative, entry in entries.items():
            path = _path_within(directory, relative)
            if not path.is_file():
                raise RunFolderError(f"{path} is missing from its bundle; export the model again")
            if sha256_of(path) != entry["sha256"]:
                raise ExportError(
                    f"{path} is not the file that was verified (SHA-256 differs); export it again"
                )
        return cls(directory, {relative: entry["sha256"] for relative, entry in entries.items()}, manifest)


def export_bundle(
    module: "nn.Module",
    directory: Path,
    *,
    name: str,
    images: "Tensor",
    manifest: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
    format: str = "onnx",
    tolerance: float = RELATIVE_TOLERANCE,
) -> ExportBundle:
    """Exports a network, verifies the file on real images, and only then lets it appear.

    All is written into a hidden folder beside `directory`, which takes its name in one step at the end. An
    older bundle there is replaced; a failure leaves it as it was.

    Args:
        module: From normalised images to logits.
        directory: The folder to make, such as ``models/<name>``.
        name: Of the model.
        images: Normalised float32 images for the comparison, [n, channels, height, width].
        manifest: Further entries, such as `ModelFacts.manifest()`.
        metadata: Texts to keep inside the file, such as `ModelFacts.metadata()`.
        format: A name that `find_format` knows.
        tolerance: Largest accepted difference, relative to the network's largest absolute output.

    Raises:
        ExportError: The format cannot hold the network, or the file's outputs differ.
        RunFolderError: The disk is full, or the folder holds anything that no export has put there.
    """
    exporter = find_format(format)
    if images.ndim != 4:
        raise ExportError(f"images have shape {list(images.shape)}; give [n, channels, height, width]")
    image_shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    exporter.requires(module, image_shape)
    real = real_folder(directory)
    _check_replaceable(real, exporter.file_name)
    texts = {"mobinas.name": name, **(metadata or {})}
    with _draft_of(real, exporter.file_name) as draft:
        path = draft / exporter.file_name
        exported = exporter.export(module, path, image_shape=image_shape, metadata=texts)
        parity = exporter.ensures(module, path, images, tolerance)
        facts = _facts(name, format, exported, image_shape, parity)
        _write_manifest(draft / MANIFEST_NAME, facts, manifest or {})
        _take_place(draft, real)
    return ExportBundle.load(directory)


def record_results(directory: Path, results: Mapping[str, Any]) -> bool:
    """Puts what a model reached into its manifest, as ``results``; earlier ones are replaced.

    A manifest is written with its files, before anyone can judge them. The hashes of the files stay as they
    are, so the bundle verifies as before.

    Args:
        directory: Of the bundle.
        results: Plain data.

    Returns:
        Whether the manifest said something else before.

    Raises:
        ExportError: An entry is not plain data.
        RunFolderError: There is no whole manifest, or it cannot be written.
    """
    manifest = _read_manifest(directory / MANIFEST_NAME)
    if manifest.get("results") == results:
        return False
    _write_manifest(directory / MANIFEST_NAME, manifest | {"results": results}, {})
    return True


def _facts(
    name: str, format: str, exported: Exported, image_shape: tuple[int, int, int], parity: Parity
) -> dict[str, Any]:
    file = {"sha256": sha256_of(exported.path), "size_bytes": exported.path.stat().st_size}
    return {
        "schema": _SCHEMA,
        "name": name,
        "format": format,
        "model": exported.path.name,
        "opset": exported.opset,
        "precision": exported.precision,
        "input": {"name": "image", "dtype": "float32", "shape": ["batch", *image_shape]},
        "output": {"name": "logits", "dtype": "float32", "shape": ["batch", exported.outputs]},
        "resolution": image_shape[1],
        "params": exported.params,
        "macs": exported.macs,
        "parity": parity.to_json(),
        "versions": _versions(),
        "files": {exported.path.name: file},
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            found[package] = "not installed"
    return found


def _write_manifest(path: Path, facts: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    taken = sorted(set(facts) & set(more))
    if taken:
        raise ExportError(f"manifest entries {', '.join(taken)} are the exporter's own; leave them out")
    try:
        text = json.dumps({**facts, **more}, indent=2, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ExportError(f"a manifest entry is not plain data: {error}") from error
    write_atomic(path, text + "\n")


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}; export the model again") from error
    except ValueError as error:
        raise RunFolderError(f"{path} is torn ({error}); export the model again") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != _SCHEMA:
        raise RunFolderError(f"{path} is not a manifest of this version; export the model again")
    files = manifest.get("files")
    whole = isinstance(files, dict) and all(
        isinstance(entry, dict) and isinstance(entry.get("sha256"), str) for entry in files.values()
    )
    if not whole or not isinstance(manifest.get("name"), str) or not isinstance(manifest.get("model"), str):
        raise RunFolderError(f"{path} lacks its name, model or files; export the model again")
    return manifest


def _path_within(directory: Path, relative: str) -> Path:
    """The path of a listed file, which may not leave the folder by any spelling, nor by a link."""
    posix, windows = PurePosixPath(relative), PureWindowsPath(relative)
    plain = relative and not windows.drive and not windows.root and ".." not in (*posix.parts, *windows.parts)
    path = directory / relative
    if not plain or "\0" in relative or not path.resolve().is_relative_to(directory.resolve()):
        raise ExportError(f"the manifest in {directory} names '{relative}', which lies outside of its folder")
    return path


def _draft_prefix(directory: Path) -> str:
    return f".{directory.name}.draft-"


@contextlib.contextmanager
def _draft_of(directory: Path, file_name: str) -> Iterator[Path]:
    """A hidden folder beside `directory`, gone afterwards unless it was renamed."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(directory, file_name)
        draft = Path(tempfile.mkdtemp(prefix=_draft_prefix(directory), dir=directory.parent))
        draft.chmod(0o755)  # mkdtemp's are for their owner alone
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise RunFolderError(
            f"cannot write {directory}: {error.strerror or error}; free some space or choose another folder"
        ) from error


def _remove_leftovers(directory: Path, file_name: str) -> None:
    """Drafts of an export that was killed; folders that are merely called so stay."""
    name = re.compile(re.escape(_draft_prefix(directory)) + "[a-z0-9_]{8}")
    for leftover in directory.parent.iterdir():
        if not name.fullmatch(leftover.name) or leftover.is_symlink() or not leftover.is_dir():
            continue
        inside = [one for one in leftover.iterdir() if one.name != _OLD]
        whole = not (leftover / _OLD).exists() or not _foreign_in(leftover / _OLD, file_name)
        if whole and not any(_is_foreign(one, file_name, {}) for one in inside):
            shutil.rmtree(leftover, ignore_errors=True)


def _check_replaceable(directory: Path, file_name: str) -> None:
    """Refuses to replace a folder in which anything lies that no export has put there."""
    if not os.path.lexists(directory):
        return
    if not directory.is_dir() or (foreign := _foreign_in(directory, file_name)):
        what = f" ({foreign})" if directory.is_dir() else ""
        raise RunFolderError(
            f"{directory} holds something other than a model bundle{what}; it was left as it is, "
            "choose another folder"
        )


def _foreign_in(directory: Path, file_name: str) -> str:
    """What an export has not put into a folder; empty where all is its own."""
    if directory.is_symlink() or not directory.is_dir():
        return directory.name
    files: dict[str, Any] = {}
    manifest = directory / MANIFEST_NAME
    if manifest.is_file() and _is_our_manifest(manifest):
        with contextlib.suppress(RunFolderError):  # torn; it lists nothing
            files = _read_manifest(manifest)["files"]
    return next((one.name for one in sorted(directory.iterdir()) if _is_foreign(one, file_name, files)), "")


def _is_foreign(path: Path, file_name: str, files: Mapping[str, Any]) -> bool:
    if path.is_symlink() or not path.is_file():
        return True
    if path.name == MANIFEST_NAME:
        return not _is_our_manifest(path)
    listed = files.get(path.name)
    if listed is not None and sha256_of(path) == listed["sha256"]:
        return False
    if path.name == file_name or listed is not None:  # perhaps torn
        return path.stat().st_size > 0 and not is_our_onnx(path)
    return not is_leftover(path)


def _is_our_manifest(path: Path) -> bool:
    data = path.read_bytes()
    try:
        read = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return begins_like(data, _MANIFEST_START) and (not data or is_cut_json(data))
    return isinstance(read, dict) and read.keys() >= _MANIFEST_KEYS


def _take_place(draft: Path, directory: Path) -> None:
    if directory.exists():
        # A folder cannot be replaced in one step; killed between the two, the export is simply made again.
        old = Path(tempfile.mkdtemp(prefix=_draft_prefix(directory), dir=directory.parent))
        directory.rename(old / _OLD)
        try:
            draft.rename(directory)
        except OSError:
            (old / _OLD).rename(directory)
            raise
        finally:
            shutil.rmtree(old, ignore_errors=True)
    else:
        draft.rename(directory)
    with contextlib.suppress(OSError):  # folders cannot be opened everywhere
        handle = os.open(directory.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
