"""Weights that lie in files beside a model: found, checked, digested, and left there."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, TypeAlias

from mobinas.errors import MeasurementError
from mobinas.files import sha256_of
from predictors.worker.measuring import Beside

if TYPE_CHECKING:
    import onnx

# Gives some bytes of a file beside a model, by location, start and length.
Read: TypeAlias = Callable[[str, int, int], bytes]

_CHUNK_BYTES = 1 << 22
# Shapes, axes and bounds, which decide shapes of results; larger constants are weights.
_KEPT_BYTES = 1024
_CONTENTS = ("raw_data", "float_data", "int32_data", "double_data", "uint64_data", "string_data")


@dataclass(frozen=True)
class DataFile:
    """A file that holds weights of a model.

    Attributes:
        location: As the model names it, from its folder.
        size_bytes: Of the whole file.
        path: Where it lies here; none where only its digest is known.
        known_sha256: Its digest where it is not here.
    """

    location: str
    size_bytes: int
    path: Path | None
    known_sha256: str = ""

    @cached_property
    def sha256(self) -> str:
        """Of the whole file.

        Raises:
            MeasurementError: It cannot be read.
        """
        if self.path is None:
            return self.known_sha256
        try:
            return sha256_of(self.path)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    @property
    def sent(self) -> Beside:
        """As a worker is told of it."""
        return Beside(self.location, self.sha256, self.size_bytes)

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, a few megabytes at a time.

        Raises:
            MeasurementError: It cannot be read, or is not here.
        """
        yield from self._pieces(0, self.size_bytes)

    def piece(self, start: int, length: int) -> bytes:
        """Some of its bytes; raises as `pieces` does."""
        return b"".join(self._pieces(start, length))

    def _pieces(self, start: int, length: int) -> Iterator[bytes]:
        if self.path is None:
            raise MeasurementError(f"the weights in {self.location} are not here; give the path of the model")
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                while length and (piece := file.read(min(length, _CHUNK_BYTES))):
                    length -= len(piece)
                    yield piece
        except OSError as error:
            raise _unreadable(self.path, error) from error


def data_files(model: "onnx.ModelProto", path: Path) -> tuple[DataFile, ...]:
    """The files that hold weights of a model, in the order of their locations.

    Args:
        model: Read from this path.
        path: Of the model's own file.

    Raises:
        MeasurementError: One is missing, too short, or outside of the model's folder.
    """
    ends: dict[str, int] = {}
    for tensor in _beside(model):
        location, start, length = _place(tensor, str(path))
        ends[location] = max(start + length, ends.get(location, 0))
    return tuple(_data_file(path, location, end) for location, end in sorted(ends.items()))


def has_external_data(model: "onnx.ModelProto") -> bool:
    """Whether weights lie in files beside a model."""
    return bool(_beside(model))


def outlined(model: "onnx.ModelProto", name: str, read: Read | None) -> "onnx.ModelProto":
    """Drops large weights, and takes small constants in from files beside.

    Args:
        model: Is changed.
        name: For people.
        read: Gives what lies beside.

    Returns:
        The same model.
    """
    for tensor in _beside(model):
        location, start, length = _place(tensor, name)
        content = read(location, start, length) if read and length <= _KEPT_BYTES else None
        if content is not None:
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = content
    for tensor in tensors_of(model):
        # Whole numbers may be shapes or indices, which count in the structure.
        if tensor.data_type != tensor.INT64 and tensor.ByteSize() > _KEPT_BYTES:
            for field in (
                "raw_data",
                "float_data",
                "int32_data",
                "double_data",
                "uint64_data",
                "string_data",
            ):
                tensor.ClearField(field)
    return model


def tensors_of(model: "onnx.ModelProto") -> "Iterator[onnx.TensorProto]":
    """All constants: of the graph, of attributes of nodes, in branches and bodies, and in functions."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: "onnx.GraphProto") -> "Iterator[onnx.TensorProto]":
    yield from graph.initializer
    yield from chain.from_iterable((sparse.values, sparse.indices) for sparse in graph.sparse_initializer)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: "Iterable[onnx.NodeProto]") -> "Iterator[onnx.TensorProto]":
    for attribute in chain.from_iterable(node.attribute for node in nodes):
        if attribute.HasField("t"):
            yield attribute.t
        if attribute.HasField("sparse_tensor"):
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        yield from attribute.tensors
        for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            yield from _of_graph(graph)


def _beside(model: "onnx.ModelProto") -> "list[onnx.TensorProto]":
    return [tensor for tensor in tensors_of(model) if tensor.data_location == tensor.EXTERNAL]


def _place(tensor: "onnx.TensorProto", name: str) -> tuple[str, int, int]:
    """Location, start and length in bytes."""
    about = {entry.key: entry.value for entry in tensor.external_data}
    try:
        start = int(about.get("offset") or 0)
        length = int(about.get("length") or _bytes_of(tensor))
    except ValueError:
        start, length = -1, 0
    if start < 0 or length < 0 or not about.get("location"):
        raise MeasurementError(
            f"{name} does not say where the weights of '{tensor.name}' lie ({about}); export it again"
        )
    return about["location"], start, length


def _bytes_of(tensor: "onnx.TensorProto") -> int:
    """What a tensor takes at least."""
    from onnx.helper import tensor_dtype_to_np_dtype

    values = math.prod(tensor.dims)
    packed = tensor.data_type in (tensor.INT4, tensor.UINT4, tensor.FLOAT4E2M1)
    item_bytes: int = tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    size_bytes: int = (values + 1) // 2 if packed else values * item_bytes
    return size_bytes


def _data_file(path: Path, location: str, end: int) -> DataFile:
    beside = path.parent / location
    # The folder of the model, and where a model that is a link really lies, as in caches of downloads.
    folders = {path.parent.resolve(), path.resolve().parent}
    plain = not any(_leaves(kind(location)) for kind in (PurePosixPath, PureWindowsPath))
    if not plain or not any(beside.resolve().is_relative_to(folder) for folder in folders):
        raise MeasurementError(
            f"{path} keeps weights in '{location}', which leaves its folder; "
            "save it with its weights in a file in the same folder"
        )
    try:
        size_bytes = beside.stat().st_size
    except OSError as error:
        raise MeasurementError(
            f"{path} keeps weights in {beside}: {error.strerror}; copy that file, too"
        ) from error
    if not beside.is_file():
        raise MeasurementError(f"{path} keeps weights in {beside}, which is no file; export it again")
    if size_bytes < end:
        raise MeasurementError(
            f"{beside}, which holds weights of {path}, is truncated: it has {size_bytes} bytes "
            f"of {end} at least; copy it again"
        )
    return DataFile(location, size_bytes, beside)


def _leaves(location: PurePosixPath | PureWindowsPath) -> bool:
    return bool(location.anchor) or ".." in location.parts


def _unreadable(path: Path, error: OSError) -> MeasurementError:
    return MeasurementError(f"cannot read {path}, which holds weights: {error.strerror}")
