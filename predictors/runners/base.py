"""What every runner takes and gives."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mobinas.arch.architecture import Architecture
from mobinas.errors import MeasurementError
from mobinas.progress import Progress
from mobinas.targets import Bindings, read_bindings
from mobinas.targets.measurement import Measurement
from mobinas.targets.resources import reading
from mobinas.targets.target import Target
from mobinas.targets.verdict import verdict_of
from predictors.worker.measuring import MeasuringPlan, Timed

if TYPE_CHECKING:
    import onnx


_NO_BINDINGS: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model as a runner takes it: a file, or the bytes of one.

    Attributes:
        name: For people.
        source: Path of an .onnx file, or its content.
        structure_digest: See `mobinas.graph.onnx_structure.structure_digest`.
        file_sha256: Of the file's bytes.
        bindings: Sizes of open dimensions, by their names.
    """

    name: str
    source: Path | bytes
    structure_digest: str
    file_sha256: str
    bindings: Bindings = ()

    @classmethod
    def of(
        cls, model: "Path | onnx.ModelProto | Architecture", bindings: Mapping[str, int] = _NO_BINDINGS
    ) -> "ModelFile":
        """Prepares a model: reads a file, or writes an architecture with seeded weights.

        Args:
            model: A file, a model in memory, or an architecture.
            bindings: Sizes of its open dimensions beside the batch, by their names.

        Raises:
            MeasurementError: The file is missing, or not an ONNX model.
        """
        import onnx

        bound = read_bindings(bindings)
        if isinstance(model, Path):
            read = cls.of_bytes(str(model), _read(model), bound)
            _bytes_beside(read.load(), model)
            return replace(read, name=model.name, source=model)
        if isinstance(model, Architecture):
            from mobinas.graph.lowering import lower
            from mobinas.graph.onnx_writer import write_onnx

            name, proto = model.name, write_onnx(lower(model))
        elif isinstance(model, onnx.ModelProto):
            name, proto = model.graph.name or "model", model
            if _ends_beside(proto):
                raise MeasurementError(f"{name} keeps weights in files beside it; give the path of its file")
        else:
            raise MeasurementError(
                f"cannot measure {type(model).__name__}; give a Path, a ModelProto or an Architecture"
            )
        return cls.of_bytes(name, proto.SerializeToString(deterministic=True), bound)

    @classmethod
    def of_bytes(cls, name: str, data: bytes, bindings: Bindings = ()) -> "ModelFile":
        """Prepares the bytes of a file.

        Raises:
            MeasurementError: Not an ONNX model.
        """
        from mobinas.graph.onnx_structure import structure_digest

        digest = structure_digest(_parse(data, Path(name)))
        return cls(name, data, digest, hashlib.sha256(data).hexdigest(), bindings)

    @property
    def size_bytes(self) -> int:
        """Of the file and those beside it that hold its weights.

        Raises:
            MeasurementError: One is missing or too short.
        """
        if isinstance(self.source, bytes):
            return len(self.source)
        return self.source.stat().st_size + _bytes_beside(self.load(), self.source)

    def content(self) -> bytes:
        """The bytes of the file, for another machine.

        Raises:
            MeasurementError: The file is missing, or its weights lie in files beside it.
        """
        if _ends_beside(self.load()):
            raise MeasurementError(
                f"{self.name} keeps weights in files beside it; save it as one file to measure it elsewhere"
            )
        return self.source if isinstance(self.source, bytes) else _read(self.source)

    def load(self) -> "onnx.ModelProto":
        """The model in memory with its bindings, without weights that lie in files beside it.

        Raises:
            MeasurementError: The file is missing, or not an ONNX model.
        """
        if isinstance(self.source, bytes):
            model = _parse(self.source, Path(self.name))
        else:
            model = _parse(_read(self.source), self.source)
        sizes = dict(self.bindings)
        for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
            for dimension in value.type.tensor_type.shape.dim:
                if dimension.dim_param in sizes:
                    dimension.dim_value = sizes[dimension.dim_param]
        return model


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MeasurementError(f"cannot read model file {path}: {error.strerror}") from error


def _ends_beside(model: "onnx.ModelProto") -> dict[str, int]:
    """Files beside a model that hold weights, each with the bytes that it must have at least."""
    ends: dict[str, int] = {}
    for tensor in model.graph.initializer:
        about = {entry.key: entry.value for entry in tensor.external_data}
        if "location" in about:
            end = int(about.get("offset", 0)) + int(about.get("length", 0))
            ends[about["location"]] = max(end, ends.get(about["location"], 0))
    return ends


def _bytes_beside(model: "onnx.ModelProto", path: Path) -> int:
    """The size of all files that hold weights of the model at this path."""
    total = 0
    for location, end in _ends_beside(model).items():
        beside = path.parent / location
        try:
            size = beside.stat().st_size
        except OSError as error:
            raise MeasurementError(
                f"{path} keeps weights in {beside}: {error.strerror}; copy that file too"
            ) from error
        if size < end:
            raise MeasurementError(f"{beside}, which holds weights of {path}, is truncated; copy it again")
        total += size
    return total


def _parse(data: bytes, path: Path) -> "onnx.ModelProto":
    import onnx

    try:
        model = onnx.load_model_from_string(data)
    except Exception:
        # protobuf's DecodeError, which has no type stubs.
        raise MeasurementError(
            f"{path} is not an ONNX model, or it is truncated; export or copy it again"
        ) from None
    if not model.graph.node:
        raise MeasurementError(f"{path} holds no ONNX graph; export it again")
    return model


OnResult = Callable[[int, Measurement], None]


class Runner(Protocol):
    """Measures models on one machine."""

    @property
    def host(self) -> str:
        """The machine and its CPU; measurements of different hosts never mix."""
        ...

    @property
    def runtime_version(self) -> str:
        """Name and version of what executes models there."""
        ...

    def measure(
        self,
        models: Sequence[ModelFile],
        target: Target,
        plan: MeasuringPlan,
        on_result: OnResult,
        progress: Progress,
    ) -> None:
        """Measures every model once, and hands each result over as soon as it is final.

        Args:
            models: What to measure.
            target: Under which settings.
            plan: How long and how often.
            on_result: Called once per model with its position and measurement.
            progress: Told after each round.

        Raises:
            TargetError: The machine lacks the target's provider.
            MeasurementError: A model cannot run there; the text names it.
        """
        ...


def measurement_of(
    model: ModelFile, target: Target, host: str, runtime_version: str, timed: Timed
) -> Measurement:
    """What was seen of a model, as a measurement with its verdict."""
    seen = Measurement(
        model.structure_digest,
        model.file_sha256,
        target.fingerprint,
        host,
        runtime_version,
        timed.blocks_s,
        timed.warmup_samples,
        timed.started_at,
        target.statistic,
        reference_blocks_s=timed.reference_blocks_s,
        reference_level_s=timed.reference_level_s,
        name=model.name,
        bindings=model.bindings,
        kernels=timed.kernels,
        blocks_per_process=timed.blocks_per_process,
        clock_error=timed.clock_error,
        waited=timed.waited,
        resources=replace(timed.resources, size_bytes=reading(model.size_bytes)),
    )
    return replace(seen, verdict=verdict_of(seen))
