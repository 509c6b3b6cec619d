"""What every runner takes and gives."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mobinas.arch.architecture import Architecture
from mobinas.errors import MeasurementError
from mobinas.progress import Progress
from mobinas.targets.measurement import Measurement
from mobinas.targets.target import Target

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model as a runner takes it: a file, or the bytes of one.

    Attributes:
        name: For people.
        source: Path of an .onnx file, or its content.
        structure_digest: See `mobinas.graph.onnx_structure.structure_digest`.
        file_sha256: Of the file's bytes.
    """

    name: str
    source: Path | bytes
    structure_digest: str
    file_sha256: str

    @classmethod
    def of(cls, model: "Path | onnx.ModelProto | Architecture") -> "ModelFile":
        """Prepares a model: reads a file, or writes an architecture with seeded weights.

        Raises:
            MeasurementError: The file is missing, or not an ONNX model.
        """
        import onnx

        from mobinas.graph.onnx_structure import structure_digest

        if isinstance(model, Path):
            data = _read(model)
            proto = _parse(data, model)
            return cls(model.name, model, structure_digest(proto), hashlib.sha256(data).hexdigest())
        if isinstance(model, Architecture):
            from mobinas.graph.lowering import lower
            from mobinas.graph.onnx_writer import write_onnx

            name, proto = model.name, write_onnx(lower(model))
        elif isinstance(model, onnx.ModelProto):
            name, proto = model.graph.name or "model", model
        else:
            raise MeasurementError(
                f"cannot measure {type(model).__name__}; give a Path, a ModelProto or an Architecture"
            )
        data = proto.SerializeToString(deterministic=True)
        return cls(name, data, structure_digest(proto), hashlib.sha256(data).hexdigest())

    def load(self) -> "onnx.ModelProto":
        """The model in memory, without weights that lie in files beside it.

        Raises:
            MeasurementError: The file is missing, or not an ONNX model.
        """
        if isinstance(self.source, bytes):
            return _parse(self.source, Path(self.name))
        return _parse(_read(self.source), self.source)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MeasurementError(f"cannot read model file {path}: {error.strerror}") from error


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


@dataclass(frozen=True, slots=True)
class MeasuringPlan:
    """How long and how often to measure.

    Attributes:
        rounds: Blocks per model, one a round.
        block_s: Length of a block in seconds, half of which goes to the reference model.
        seed: Of the order of models within rounds, and of inputs.
        drift_tolerance: Relative change of the reference model within a round that makes the round drift.
        max_repeats: Rounds added for drifting ones, per group of models.
        group_size: Models that take turns; results come group by group, so a killed run loses one at most.
        reference_level_s: What the reference model takes on this host, from earlier measurements; by default
            the first group finds it.
    """

    rounds: int = 6
    block_s: float = 0.03
    seed: int = 0
    drift_tolerance: float = 0.1
    max_repeats: int = 2
    group_size: int = 12
    reference_level_s: float | None = None

    def __post_init__(self) -> None:
        for key, least in (("rounds", 1), ("max_repeats", 0), ("group_size", 1)):
            if getattr(self, key) < least:
                raise MeasurementError(f"{key} is {getattr(self, key)}; it must be at least {least}")
        for key in ("block_s", "drift_tolerance"):
            if not getattr(self, key) > 0:
                raise MeasurementError(f"{key} is {getattr(self, key)}; it must be above 0")


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
