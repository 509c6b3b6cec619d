"""A model as it is measured and predicted: its file, the files beside it, and an outline without weights.

A file is read once; what is asked of it later comes from the outline.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mobinas.arch.architecture import Architecture
from mobinas.errors import MeasurementError
from mobinas.targets import Bindings, read_bindings
from mobinas.targets.resources import Reading
from mobinas.targets.sizes import fixed_batch, sizes_of
from predictors.external_data import DataFile, Read, data_files, has_external_data, outlined
from predictors.images import images_of
from predictors.onnx_values import check_types, inputs_of, outputs_of, with_sizes
from predictors.worker.measuring import Model

if TYPE_CHECKING:
    import onnx

_NO_BINDINGS: Mapping[str, int] = {}
_TOO_LARGE = "save it with its weights in a file beside it, and give the path"


@dataclass(frozen=True)
class ModelFile:
    """A model as a runner takes it: a file, or the bytes of one.

    Attributes:
        name: For people.
        source: Path of an .onnx file, or its content.
        outline: What it computes, without large weights; sizes are as in the file.
        own_sha256: Of the .onnx file alone.
        own_bytes: Size of the .onnx file alone.
        data: The files beside it that hold weights.
        bindings: Sizes of open dimensions, by their names.
    """

    name: str
    source: Path | bytes = field(repr=False)
    outline: "onnx.ModelProto" = field(repr=False, compare=False)
    own_sha256: str
    own_bytes: int
    data: tuple[DataFile, ...] = ()
    bindings: Bindings = ()

    @classmethod
    def of(
        cls,
        model: "Path | onnx.ModelProto | Architecture | ModelFile",
        bindings: Mapping[str, int] = _NO_BINDINGS,
    ) -> "ModelFile":
        """Prepares a model: reads a file, or writes an architecture with seeded weights.

        Args:
            model: A file, a model in memory, or an architecture.
            bindings: Sizes of its open dimensions beside the batch, by their names.

        Raises:
            MeasurementError: The file is missing, or not an ONNX model, or a file beside it that holds
                weights is missing, too short, or outside of its folder.
        """
        import onnx

        bound = read_bindings(bindings)
        if isinstance(model, ModelFile) and not bound:
            return model
        if isinstance(model, ModelFile):
            return replace(model, bindings=tuple(sorted({**dict(model.bindings), **dict(bound)}.items())))
        if isinstance(model, Path):
            return cls._of_path(model, bound)
        if isinstance(model, Architecture):
            from mobinas.graph.lowering import lower
            from mobinas.graph.onnx_writer import write_onnx

            return cls.of_bytes(model.name, _written(write_onnx(lower(model)), model.name), bound)
        if isinstance(model, onnx.ModelProto):
            name = model.graph.name or "model"
            return cls.of_bytes(name, _written(model, name), bound)
        raise MeasurementError(
            f"cannot measure {type(model).__name__}; give a Path, a ModelProto or an Architecture"
        )

    @classmethod
    def of_bytes(
        cls,
        name: str,
        content: bytes,
        bindings: Bindings = (),
        data: tuple[DataFile, ...] = (),
        read: Read | None = None,
    ) -> "ModelFile":
        """Prepares the bytes of a file.

        Args:
            name: For people.
            content: Of the .onnx file.
            bindings: Sizes of open dimensions, by their names.
            data: The files beside it.
            read: Gives what lies in them.

        Raises:
            MeasurementError: Not an ONNX model, or one whose weights lie in files beside it, and these are
                not given.
        """
        model = _parsed(content, name)
        if read is None and has_external_data(model):
            raise MeasurementError(f"{name} keeps weights in files beside it; give the path of its file")
        return cls._outlined(name, content, content, model, read, data, bindings)

    @classmethod
    def _of_path(cls, path: Path, bindings: Bindings) -> "ModelFile":
        content = _read(path)
        model = _parsed(content, str(path))
        data = data_files(model, path)
        found = {file.location: file for file in data}

        def read(location: str, start: int, length: int) -> bytes:
            return found[location].piece(start, length)

        return cls._outlined(path.name, path, content, model, read, data, bindings)

    @classmethod
    def _outlined(
        cls,
        name: str,
        source: Path | bytes,
        content: bytes,
        model: "onnx.ModelProto",
        read: Read | None,
        data: tuple[DataFile, ...],
        bindings: Bindings,
    ) -> "ModelFile":
        digest = hashlib.sha256(content).hexdigest()
        return cls(name, source, outlined(model, name, read), digest, len(content), data, bindings)

    @cached_property
    def structure_digest(self) -> str:
        """See `mobinas.graph.onnx_structure.structure_digest`."""
        from mobinas.graph.onnx_structure import structure_digest

        return structure_digest(self.outline)

    @cached_property
    def file_sha256(self) -> str:
        """Of the file's bytes, and of those beside it that hold its weights."""
        if not self.data:
            return self.own_sha256
        lines = [f"{file.sha256} {file.location}" for file in self.data]
        return hashlib.sha256("\n".join([self.own_sha256, *lines]).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Of the file and those beside it that hold its weights."""
        return self.own_bytes + sum(file.size_bytes for file in self.data)

    def content(self) -> bytes:
        """The bytes of the .onnx file alone.

        Raises:
            MeasurementError: The file is not there any more.
        """
        return self.source if isinstance(self.source, bytes) else _read(self.source)

    def data_pieces(self) -> Iterator[bytes]:
        """The bytes of the files beside it, one after the other.

        Raises:
            MeasurementError: A file is not there any more.
        """
        for file in self.data:
            yield from file.pieces()

    def sizes(self, batch: int) -> dict[str, int]:
        """The size of each open dimension of its inputs that has a name.

        Raises:
            MeasurementError: See `mobinas.targets.sizes.sizes_of`; or an input is not of numbers.
        """
        try:
            check_types(self.outline)
            return sizes_of(inputs_of(self.outline), outputs_of(self.outline), batch, dict(self.bindings))
        except MeasurementError as error:
            raise MeasurementError(f"{self.name}: {error}") from None

    def sized(self, batch: int) -> "onnx.ModelProto":
        """The outline with the sizes of its inputs; raises as `sizes` does."""
        return with_sizes(self.outline, self.sizes(batch), batch)

    @property
    def fixed_batch(self) -> int | None:
        """Its batch, where it is fixed and known to be one."""
        return fixed_batch(inputs_of(self.outline), outputs_of(self.outline), 1)

    def images(self, batch: int) -> Reading:
        """How many images one inference takes: what is known to be a batch, or why it is not known."""
        return images_of(self.outline, batch, dict(self.bindings))

    def asked(self, batch: int, source: Path | bytes) -> Model:
        """What the worker is asked to measure.

        Args:
            batch: Images per inference on the target.
            source: Where the file lies on the worker's machine, or its content, which is sent there.

        Raises:
            MeasurementError: See `sizes`.
        """
        sizes = tuple(sorted(self.sizes(batch).items()))
        sent = tuple(file.sent for file in self.data) if isinstance(source, bytes) else ()
        return Model(self.name, source, self.bindings, sizes, sent)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MeasurementError(f"cannot read model file {path}: {error.strerror}") from error


def _written(model: "onnx.ModelProto", name: str) -> bytes:
    try:
        return bytes(model.SerializeToString(deterministic=True))
    except Exception:
        # protobuf's EncodeError, which has no type stubs; above 2 GB a model cannot be one message.
        raise MeasurementError(f"{name} is too large to be one file; {_TOO_LARGE}") from None


def _parsed(content: bytes, name: str) -> "onnx.ModelProto":
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception:
        # protobuf's DecodeError, which has no type stubs.
        raise MeasurementError(
            f"{name} is not an ONNX model, or it is truncated; export or copy it again"
        ) from None
    if not model.graph.node:
        raise MeasurementError(f"{name} holds no ONNX graph; export it again")
    return model
