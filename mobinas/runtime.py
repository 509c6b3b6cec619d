"""Opens onnxruntime sessions, for timing, for verifying exports and for accuracy through the file.

Runs on Python 3.9 without the rest of MOBINAS, as part of the measuring worker.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from mobinas.errors import MeasurementError, TargetError
from mobinas.targets import FAKE_PROVIDER, Bindings
from mobinas.targets.sizes import Value, check_open, sizes_of

if TYPE_CHECKING:
    import onnx
    import onnxruntime

_FATAL_ONLY = 4
_LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_NEWER = "install a newer onnxruntime, or export"
# What onnxruntime says at length, and what it means.
_LACKS = (
    (
        r"Opset (\d+) is under development.* domain (\S+) is till opset (\d+)",
        "{runtime} knows opsets of {1} up to {2}, the model is of {0}; " + _NEWER + " for an older opset",
    ),
    (
        r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
        "{runtime} knows IR versions up to {1}, the model is of {0}; " + _NEWER + " with an older one",
    ),
    (
        r"No Op registered for (\S+)",
        "{runtime} has no operator {0} in the model's opset; " + _NEWER + " without it",
    ),
    (
        r"(\S+)\(-?\d+\) is not a registered function/op",
        "{runtime} has no operator {0}; install the onnxruntime that has it, or export without it",
    ),
    (
        r"Cannot parse data from external tensors",
        "it keeps shapes or axes in a file beside it, where {runtime} does not look for them; "
        "save it with large weights alone there, such as by onnx.save(..., size_threshold=1024)",
    ),
    (
        r"find an implementation for (\S+)\((-?\d+)\)",
        "{runtime} has no operator {0} (opset {1}) for these types; " + _NEWER + " without it",
    ),
)
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


class SessionSettings(Protocol):
    """Of a `Target`, what a session needs."""

    @property
    def name(self) -> str:
        """For error messages."""
        ...

    @property
    def provider(self) -> str:
        """An execution provider, or ``fake``."""
        ...

    @property
    def threads(self) -> int:
        """Threads within an operator."""
        ...

    @property
    def batch(self) -> int:
        """Images per inference."""
        ...

    @property
    def graph_optimisation(self) -> str:
        """One of the levels ``none``, ``basic``, ``extended``, ``all``."""
        ...


def runtime_version() -> str:
    """Name and version of what executes models here."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def available_providers() -> tuple[str, ...]:
    """Execution providers of the installed onnxruntime."""
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())


def open_session(
    model: Path | bytes | onnx.ModelProto,
    target: SessionSettings,
    *,
    any_batch: bool = False,
    profile_prefix: str = "",
    bindings: Bindings = (),
    sizes: Bindings | None = None,
) -> onnxruntime.InferenceSession:
    """Opens a model for running under a target's settings.

    The fake target has no device, so its models run on the CPU provider: accuracy and parity stay real.

    Args:
        model: A file, its bytes, or the model in memory.
        target: Provider, threads, graph optimisation and batch.
        any_batch: Leave a symbolic batch open, for verifying and accuracy. Otherwise it is fixed to
            `target.batch` first, as the runtime plans memory and layouts better for a known size.
        profile_prefix: Where the runtime's profiler puts its file; empty for no profiling.
        bindings: Sizes of open dimensions by their names.
        sizes: Of all open dimensions that have names, the batch among them, where they are known; otherwise
            the model is opened once more to look for them.

    Returns:
        A session on the target's provider.

    Raises:
        TargetError: This onnxruntime lacks the provider, or could not start it.
        MeasurementError: Not a model that this onnxruntime can open, or sizes that do not fit it, see
            `mobinas.targets.sizes.sizes_of`.
    """
    provider = checked_provider(target)
    source = _loadable(model)
    overrides = dict(bindings if sizes is None else sizes)
    if not any_batch and sizes is None:
        probe = _session(model, source, _options(1, "none"), "CPUExecutionProvider")
        overrides = _sizes(probe, target.batch, bindings)
    options = _options(target.threads, target.graph_optimisation)
    for name, size in overrides.items():
        options.add_free_dimension_override_by_name(name, size)
    if profile_prefix:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    session = _session(model, source, options, provider)
    if session.get_providers()[0] != provider:
        raise TargetError(
            f"provider {provider} did not start here, onnxruntime fell back to {session.get_providers()[0]}; "
            "install its libraries, or choose another provider"
        )
    return session


def run_batches(
    session: onnxruntime.InferenceSession, array: npt.NDArray[Any], batch: int = 256
) -> npt.NDArray[np.float32]:
    """Runs images through a session in batches.

    Args:
        session: Opened with ``any_batch=True``, or with a model whose batch equals `batch`.
        array: [n, channels, height, width], normalised as the model expects; n is at least 1.
        batch: Images at a time.

    Returns:
        The first output for all images, [n, ...].

    Raises:
        MeasurementError: The model refuses the images (wrong shape or type), or there are none.
    """
    if len(array) == 0:
        raise MeasurementError("there are no images to run; give at least one")
    name = session.get_inputs()[0].name
    pieces = []
    for start in range(0, len(array), batch):
        feeds = {name: np.ascontiguousarray(array[start : start + batch])}
        try:
            pieces.append(session.run(None, feeds)[0])
        except Exception as error:
            # onnxruntime's exceptions share no base below Exception.
            shape = "x".join(map(str, array.shape[1:]))
            raise MeasurementError(
                f"the model does not run on images of {shape}: {first_line(error)}"
            ) from error
    return np.concatenate(pieces)


def example_feeds(
    session: onnxruntime.InferenceSession, batch: int, seed: int = 0
) -> dict[str, npt.NDArray[Any]]:
    """Seeded inputs that fit a session: normal numbers for floats, zeros for whole numbers.

    Args:
        session: Any open session.
        batch: Taken for a leading dimension that is still open.
        seed: Of a generator of its own.

    Raises:
        MeasurementError: A dimension other than the first is open, or the type of an input is not numeric.
    """
    rng = np.random.default_rng(seed)
    feeds: dict[str, npt.NDArray[Any]] = {}
    for value in session.get_inputs():
        check_type(value.name, value.type)
        open_first = value.shape and type(value.shape[0]) is not int
        shape = [batch, *value.shape[1:]] if open_first else value.shape
        check_open(Value(value.name, tuple(shape)), {})
        dtype = np.dtype(_DTYPES[value.type])
        floating = np.issubdtype(dtype, np.floating)
        feeds[value.name] = rng.standard_normal(shape).astype(dtype) if floating else np.zeros(shape, dtype)
    return feeds


def check_type(name: str, kind: str) -> None:
    """Refuses an input that cannot be filled with numbers.

    Args:
        name: Of the input.
        kind: As onnxruntime spells it, such as ``tensor(float)``.

    Raises:
        MeasurementError: Texts, a sequence, an optional value, or a type that NumPy does not have.
    """
    if kind not in _DTYPES:
        raise MeasurementError(
            f"input '{name}' is {kind}; inputs must be numeric tensors of a type that NumPy has, "
            "so convert it, or export the model without the part that reads it"
        )


def checked_provider(target: SessionSettings) -> str:
    """The provider that a target runs on here; the fake target's models run on the CPU.

    Raises:
        TargetError: The installed onnxruntime lacks it.
    """
    provider = "CPUExecutionProvider" if target.provider == FAKE_PROVIDER else target.provider
    offered = available_providers()
    if provider not in offered:
        raise TargetError(
            f"provider '{provider}' of target '{target.name}' is not in this onnxruntime, which offers "
            f"{', '.join(offered)}; choose one of these or install an onnxruntime that has it"
        )
    return provider


def _loadable(model: Path | bytes | onnx.ModelProto) -> str | bytes:
    if isinstance(model, Path):
        if not model.is_file():
            raise MeasurementError(f"there is no model file {model}; give the path of an .onnx file")
        return str(model)
    return model if isinstance(model, bytes) else bytes(model.SerializeToString(deterministic=True))


def _options(threads: int, level: str) -> onnxruntime.SessionOptions:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[level])
    options.log_severity_level = _FATAL_ONLY
    return options


def _session(
    model: Path | bytes | onnx.ModelProto,
    source: str | bytes,
    options: onnxruntime.SessionOptions,
    provider: str,
) -> onnxruntime.InferenceSession:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(source, options, providers=[provider])
    except Exception as error:
        # onnxruntime's exceptions share no base below Exception.
        what = f"model file {model}" if isinstance(model, Path) else "the model in memory"
        raise MeasurementError(f"onnxruntime cannot open {what}: {_why(error)}") from error


def _sizes(session: onnxruntime.InferenceSession, batch: int, bindings: Bindings) -> dict[str, int]:
    inputs, outputs = (
        [Value(one.name, tuple(one.shape)) for one in side]
        for side in (session.get_inputs(), session.get_outputs())
    )
    return sizes_of(inputs, outputs, batch, dict(bindings))


def _why(error: Exception) -> str:
    """What onnxruntime lacks, where it says so at length; otherwise its own words."""
    for pattern, text in _LACKS:
        found = re.search(pattern, str(error))
        if found:
            return text.format(*found.groups(), runtime=runtime_version())
    return first_line(error)


def first_line(error: Exception) -> str:
    """What an exception of onnxruntime says, shortened to one line; its class where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
