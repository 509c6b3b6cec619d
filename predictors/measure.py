"""Measures models on a target, keeping every result and never taking one twice."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mobinas.arch.architecture import Architecture
from mobinas.errors import MeasurementError
from mobinas.files import LineLog
from mobinas.progress import Progress, silent
from mobinas.targets import Bindings
from mobinas.targets.measurement import Measurement
from mobinas.targets.target import Target
from predictors.runners import MeasuringPlan, ModelFile, Runner, runner_for

if TYPE_CHECKING:
    import onnx

_Key = tuple[tuple[str, Bindings], tuple[str, str, str]]
_LOG = LineLog("a measurement log", "structure_digest", "choose another log", MeasurementError)
_NO_BINDINGS: Mapping[str, int] = {}


def measure(
    models: "Sequence[Path | onnx.ModelProto | ModelFile | Architecture]",
    target: Target,
    *,
    runner: Runner | None = None,
    rounds: int = 6,
    block_s: float = 0.02,
    interval_half_width: float = 0.05,
    max_rounds: int = 12,
    budget_s: float | None = None,
    log: Path | None = None,
    seed: int = 0,
    bindings: Mapping[str, int] = _NO_BINDINGS,
    progress: Progress = silent,
) -> list[Measurement]:
    """Measures each model's latency on a target.

    Args:
        models: Files, models in memory, or architectures (written with seeded weights).
        target: Under which settings.
        runner: How to reach the device; by default what the target asks for.
        rounds: Blocks of samples per model at least, spread over time and over two processes.
        block_s: Length of a block in seconds.
        interval_half_width: Of the 95 % interval, relative to the median: models whose interval is wider get
            further rounds.
        max_rounds: Blocks per model at most, unless `rounds` are more.
        budget_s: Seconds after which no further rounds are added.
        log: A JSONL file. Measurements in it of the same file, bindings, target, host and runtime are reused;
            each new one is appended as soon as it is final, so a killed call continues from there.
        seed: Of the order in which models take turns.
        bindings: Sizes of the models' open dimensions beside the batch, by their names.
        progress: Told as the measuring goes on.

    Returns:
        One measurement per model, in the models' order; one file given twice is measured once.

    Raises:
        MeasurementError: A model is unreadable or cannot run, or the log holds something else.
        TargetError: The target's provider is not available.
    """
    runner = runner_for(target) if runner is None else runner
    files = [ModelFile.of(model, bindings) for model in models]
    for file in files:
        file.sizes(target.batch)  # refuses what cannot be measured, before anything is
    setting = (target.fingerprint, runner.host, runner.runtime_version)
    keys: list[_Key] = [((file.file_sha256, file.bindings), setting) for file in files]
    known = {_key(m): m for m in (load_measurements(log) if log else [])}
    missing = {key: file for key, file in zip(keys, files, strict=True) if key not in known}
    todo = list(missing.values())

    def keep(_: int, measurement: Measurement) -> None:
        known[_key(measurement)] = measurement
        if log:
            append_measurement(log, measurement)

    if todo:
        level_s = next((m.reference_level_s for m in known.values() if _key(m)[1] == setting), None)
        plan = MeasuringPlan(
            rounds,
            block_s,
            seed,
            reference_level_s=level_s,
            interval_half_width=interval_half_width,
            max_rounds=max_rounds,
            budget_s=budget_s,
        )
        runner.measure(todo, target, plan, keep, progress)
    for key, file in missing.items():
        if key not in known:
            raise MeasurementError(f"the runner gave no measurement for {file.name}; measure again")
    return [known[key] for key in keys]


def check_log(log: Path) -> None:
    """Refuses a file that is no log of measurements; a missing or an empty one may become one.

    Raises:
        MeasurementError: The text says what is there.
    """
    _LOG.check(log)


def append_measurement(log: Path, measurement: Measurement) -> None:
    """Adds one to a log that `measure` and `load_measurements` read."""
    _LOG.append(log, json.dumps(measurement.to_json(), separators=(",", ":")))


def load_measurements(log: Path) -> list[Measurement]:
    """Reads a log that `measure` wrote; a torn last line is ignored, a missing file is empty.

    Raises:
        MeasurementError: The file is something else, or a line is not a measurement; the text says which.
    """
    measurements = []
    for number, line in enumerate(_LOG.lines(log), start=1):
        try:
            measurements.append(Measurement.from_json(json.loads(line)))
        except (ValueError, MeasurementError) as error:
            raise MeasurementError(
                f"{log}, line {number} is not a measurement: {error}; choose another log"
            ) from error
    return measurements


def _key(measurement: Measurement) -> _Key:
    setting = (measurement.target_fingerprint, measurement.host, measurement.runtime_version)
    return (measurement.file_sha256, measurement.bindings), setting
