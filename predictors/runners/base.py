"""What every runner takes and gives."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from mobinas.progress import Progress
from mobinas.targets.measurement import Measurement
from mobinas.targets.resources import reading
from mobinas.targets.target import Target
from mobinas.targets.verdict import verdict_of
from predictors.model_file import ModelFile
from predictors.worker.measuring import MeasuringPlan, Timed

__all__ = ["ModelFile", "OnResult", "Runner", "measurement_of"]

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
        resources=replace(
            timed.resources, size_bytes=reading(model.size_bytes), images=model.images(target.batch)
        ),
    )
    return replace(seen, verdict=verdict_of(seen))
