"""Measures models group by group, each in turns with the others of its group and with a reference model."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, Protocol

from mobinas.errors import MeasurementError
from mobinas.runtime import SessionSettings, first_line, open_session
from mobinas.targets import KernelTime, block_statistic
from predictors.worker.host import bound_to
from predictors.worker.rounds import Block, Outcome, run_rounds
from predictors.worker.timing import SessionTimer, Stopwatch
from predictors.worker.trace import trace

_MIN_TRACE_RUNS = 8


@dataclass(frozen=True)
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
        trace_runs: Inferences, at most, for the times of single nodes; 0 for none.
    """

    rounds: int = 6
    block_s: float = 0.03
    seed: int = 0
    drift_tolerance: float = 0.1
    max_repeats: int = 2
    group_size: int = 12
    reference_level_s: float | None = None
    trace_runs: int = 24

    def __post_init__(self) -> None:
        for key, least in (("rounds", 1), ("max_repeats", 0), ("group_size", 1), ("trace_runs", 0)):
            if getattr(self, key) < least:
                raise MeasurementError(f"{key} is {getattr(self, key)}; it must be at least {least}")
        for key in ("block_s", "drift_tolerance"):
            if not getattr(self, key) > 0:
                raise MeasurementError(f"{key} is {getattr(self, key)}; it must be above 0")


class DeviceSettings(SessionSettings, Protocol):
    """Of a `Target`, what measuring needs."""

    @property
    def affinity(self) -> tuple[int, ...]:
        """CPU numbers to bind to; empty for none."""
        ...

    @property
    def statistic(self) -> str:
        """What stands for a block of samples, ``median`` or ``minimum``."""
        ...


class Model(NamedTuple):
    """A model to measure: its name for people, and its file or the bytes of one."""

    name: str
    source: Path | bytes


class Timed(NamedTuple):
    """What was seen of one model; the fields are those of a `Measurement`."""

    blocks_s: tuple[Block, ...]
    reference_blocks_s: tuple[Block, ...]
    reference_level_s: float
    warmup_samples: int
    started_at: str
    kernels: tuple[KernelTime, ...] = ()


def measure_models(
    models: Sequence[Model],
    reference: bytes,
    settings: DeviceSettings,
    plan: MeasuringPlan,
    on_result: Callable[[int, Timed], None],
    progress: Callable[[int, int, str], None],
) -> None:
    """Measures every model once.

    Args:
        models: What to measure.
        reference: The reference model's file.
        settings: Of the device.
        plan: How long and how often.
        on_result: Called once per model with its position and what was seen, as soon as it is final.
        progress: Told the rounds done, all rounds, and what goes on.

    Raises:
        TargetError: This machine lacks the provider, or the CPUs to bind to.
        MeasurementError: A model cannot run here; the text names it.
    """
    rng = random.Random(plan.seed)
    level_s = plan.reference_level_s
    with bound_to(settings.affinity):
        beside = Stopwatch(open_session(reference, settings), settings, plan.seed)
        beside.warm_up()
        groups = [
            range(start, min(start + plan.group_size, len(models)))
            for start in range(0, len(models), plan.group_size)
        ]
        total = len(groups) * plan.rounds
        for g, group in enumerate(groups):

            def after_round(good: int, drift: float, before: int = g * plan.rounds) -> None:
                progress(before + good, total, f"{len(models)} models, drift {drift:.1%}")

            started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
            timers = [_timer(models[i], beside, settings, plan) for i in group]
            warmups = [timer.warm_up() for timer in timers]
            outcome = run_rounds(
                timers,
                rounds=plan.rounds,
                max_repeats=plan.max_repeats,
                drift_tolerance=plan.drift_tolerance,
                rng=rng,
                after_round=after_round,
            )
            level_s = level_s or _level(outcome, settings.statistic)
            for place, i in enumerate(group):
                blocks = tuple(_rounded(r.blocks[place]) for r in outcome.rounds)
                references = tuple(_rounded(r.references[place]) for r in outcome.rounds)
                kernels = _kernels(models[i], timers[place], beside, settings, plan, level_s)
                on_result(i, Timed(blocks, references, level_s, warmups[place], started_at, kernels))


def _timer(model: Model, reference: Stopwatch, settings: DeviceSettings, plan: MeasuringPlan) -> SessionTimer:
    try:
        stopwatch = Stopwatch(open_session(model.source, settings), settings, plan.seed)
    except MeasurementError as error:
        raise MeasurementError(f"{model.name}: {error}") from error
    try:
        stopwatch.time(1)
    except Exception as error:
        # onnxruntime's exceptions share no base below Exception.
        raise MeasurementError(f"{model.name} opens but does not run: {first_line(error)}") from error
    return SessionTimer(stopwatch, reference, plan.block_s)


def _kernels(
    model: Model,
    timer: SessionTimer,
    reference: Stopwatch,
    settings: DeviceSettings,
    plan: MeasuringPlan,
    level_s: float,
) -> tuple[KernelTime, ...]:
    """The times of a model's nodes at the speed that the machine has with the reference level."""
    runs = min(plan.trace_runs, max(_MIN_TRACE_RUNS, round(2 * plan.block_s / timer.once_s)))
    if not runs:
        return ()
    around_s = [reference.time(1) for _ in range(runs)]
    kernels = trace(model.source, settings, runs, plan.seed)
    around_s += [reference.time(1) for _ in range(runs)]
    # As in the trace, the faster half counts.
    speed = level_s / statistics.mean(sorted(around_s)[:runs])
    return tuple(kernel._replace(seconds=round(speed * kernel.seconds, 9)) for kernel in kernels)


def _rounded(block: Block) -> Block:
    # A nanosecond is below the clock's overhead; more digits would only swell the log.
    return tuple(round(seconds, 9) for seconds in block)


def _level(outcome: Outcome, statistic: str) -> float:
    blocks = [block for r in outcome.rounds for block in r.references]
    return statistics.median(block_statistic(block, statistic) for block in blocks)
