"""Measures models in turns with each other and with a reference model, in one process."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, Protocol

from mobinas.errors import MeasurementError
from mobinas.runtime import SessionSettings, first_line, open_session
from mobinas.targets import Bindings, KernelTime, block_statistic
from mobinas.targets.resources import Reading, Resources
from predictors.worker.energy import energy_of
from predictors.worker.host import Waiting, bound_to
from predictors.worker.memory import PeakMemory
from predictors.worker.rounds import Block, Outcome, run_rounds
from predictors.worker.timing import SessionTimer, Stopwatch
from predictors.worker.trace import trace

_MIN_TRACE_RUNS = 8
# Providers that compile models take minutes to open one.
_MOST_OPENING_S = 0.3


@dataclass(frozen=True)
class MeasuringPlan:
    """How long and how often to measure.

    Attributes:
        rounds: Blocks per model at least, one a round; all processes together.
        block_s: Length of a block in seconds, half of which goes to the reference model.
        seed: Of the order of models within rounds, and of inputs.
        drift_tolerance: Relative change of the reference model within a round that makes the round drift.
        max_repeats: Rounds added for drifting ones, per process.
        group_size: Models that take turns; results come group by group, so a killed run loses one at most.
        reference_level_s: What the reference model takes on this host, from earlier measurements; by default
            the first group finds it.
        trace_runs: Inferences, at most, for the times of single nodes; 0 for none.
        processes: Fresh processes, at least, that share the rounds.
        interval_half_width: Of the 95 % interval, relative to the median: where it is wider, further
            processes add rounds.
        max_rounds: Blocks per model at most, unless `rounds` are more.
        budget_s: Seconds for the whole call after which no further rounds are added; the least ones are
            always made.
        energy: Measure the energy per inference too, where the system tells.
    """

    rounds: int = 6
    block_s: float = 0.03
    seed: int = 0
    drift_tolerance: float = 0.1
    max_repeats: int = 1
    group_size: int = 25
    reference_level_s: float | None = None
    trace_runs: int = 24
    processes: int = 2
    interval_half_width: float = 0.02
    max_rounds: int = 24
    budget_s: float | None = None
    energy: bool = True

    def __post_init__(self) -> None:
        counts = {"rounds": 1, "max_repeats": 0, "group_size": 1, "trace_runs": 0, "processes": 1}
        for key, least in {**counts, "max_rounds": 1}.items():
            if getattr(self, key) < least:
                raise MeasurementError(f"{key} is {getattr(self, key)}; it must be at least {least}")
        for key in ("block_s", "drift_tolerance", "interval_half_width", "budget_s"):
            if getattr(self, key) is not None and not getattr(self, key) > 0:
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


class Beside(NamedTuple):
    """A file that holds weights of a model: where it lies from the model's folder, and what it must be."""

    location: str
    sha256: str
    size_bytes: int


class Model(NamedTuple):
    """A model to measure.

    Attributes:
        name: For people.
        source: Its file, or the bytes of one.
        bindings: Sizes of open dimensions that somebody gave.
        sizes: Of all open dimensions that have names, the batch among them; by default the model is opened
            once more to find them.
        beside: Files that are sent after the bytes.
    """

    name: str
    source: Path | bytes
    bindings: Bindings = ()
    sizes: Bindings | None = None
    beside: tuple[Beside, ...] = ()


class Timed(NamedTuple):
    """What was seen of one model; the fields are those of a `Measurement`."""

    blocks_s: tuple[Block, ...]
    reference_blocks_s: tuple[Block, ...]
    reference_level_s: float
    warmup_samples: int
    started_at: str
    kernels: tuple[KernelTime, ...] = ()
    blocks_per_process: tuple[int, ...] = ()
    clock_error: float = 0.0
    waited: float = 0.0
    resources: Resources = Resources()


def measure_group(
    models: Sequence[Model],
    reference: Path,
    settings: DeviceSettings,
    plan: MeasuringPlan,
    progress: Callable[[int, int, str], None],
) -> list[Timed]:
    """Measures models in turns, in this very process.

    Args:
        models: What to measure.
        reference: The reference model's file.
        settings: Of the device.
        plan: How long; its rounds are all made here.
        progress: Told the rounds done, all rounds, and what goes on.

    Returns:
        What was seen of each model.

    Raises:
        TargetError: This machine lacks the provider, or the CPUs to bind to.
        MeasurementError: A model cannot run here; the text names it.
    """
    with bound_to(settings.affinity):
        beside = Stopwatch(open_session(reference, settings), settings, plan.seed)
        beside.warm_up()
        started_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        timers, peaks = zip(*(_timer(model, beside, settings, plan) for model in models))
        warmups = [timer.warm_up() for timer in timers]
        waiting = Waiting()
        outcome = _outcome(timers, plan, progress)
        waited = waiting.share()
        references = [tuple(_rounded(r.references[i]) for r in outcome.rounds) for i in range(len(models))]
        level_s = plan.reference_level_s or _level(references, settings.statistic)
        return [
            Timed(
                tuple(_rounded(r.blocks[i]) for r in outcome.rounds),
                references[i],
                level_s,
                warmups[i],
                started_at,
                _kernels(model, timers[i], beside, settings, plan, level_s),
                (len(outcome.rounds),),
                timers[i].clock_error,
                waited,
                Resources(peak_memory_bytes=peaks[i], energy_j=_energy(timers[i], settings, plan)),
            )
            for i, model in enumerate(models)
        ]


def _outcome(
    timers: Sequence[SessionTimer], plan: MeasuringPlan, progress: Callable[[int, int, str], None]
) -> Outcome:
    def after_round(good: int, drift: float) -> None:
        progress(good, plan.rounds, f"{len(timers)} models, drift {drift:.1%}")

    return run_rounds(
        timers,
        rounds=plan.rounds,
        max_repeats=plan.max_repeats,
        drift_tolerance=plan.drift_tolerance,
        rng=random.Random(plan.seed),
        after_round=after_round,
    )


def _timer(
    model: Model, reference: Stopwatch, settings: DeviceSettings, plan: MeasuringPlan
) -> tuple[SessionTimer, Reading]:
    """A timer, and the memory that opening the model and its first run take."""

    def opened() -> Stopwatch:
        session = open_session(model.source, settings, bindings=model.bindings, sizes=model.sizes)
        return Stopwatch(session, settings, plan.seed)

    memory, start_s = PeakMemory(), time.perf_counter()
    try:
        stopwatch = opened()
    except MeasurementError as error:
        raise MeasurementError(f"{model.name}: {error}") from error
    opening_s = time.perf_counter() - start_s
    try:
        stopwatch.time(1)
    except Exception as error:
        # onnxruntime's exceptions share no base below Exception.
        raise MeasurementError(f"{model.name} opens but does not run: {first_line(error)}") from error
    renewed = opened if opening_s < _MOST_OPENING_S else None
    return SessionTimer(stopwatch, reference, plan.block_s, renewed), memory.reading()


def _energy(timer: SessionTimer, settings: DeviceSettings, plan: MeasuringPlan) -> Reading:
    if not plan.energy:
        return Reading()
    if settings.provider != "CPUExecutionProvider":
        return Reading(
            None, f"the energy counters are the processor's, and {settings.provider} may run beside it"
        )
    return energy_of(timer.run, timer.once_s)


def _kernels(
    model: Model,
    timer: SessionTimer,
    reference: Stopwatch,
    settings: DeviceSettings,
    plan: MeasuringPlan,
    level_s: float,
) -> tuple[KernelTime, ...]:
    """The times of a model's nodes at the speed that the machine has with the reference level."""
    runs = min(plan.trace_runs, max(_MIN_TRACE_RUNS, round(plan.block_s / timer.once_s)))
    if not runs:
        return ()
    around_s = [reference.time(1) for _ in range(runs)]
    kernels = trace(model.source, settings, runs, plan.seed, model.sizes)
    around_s += [reference.time(1) for _ in range(runs)]
    # As in the trace, the faster half counts.
    speed = level_s / statistics.mean(sorted(around_s)[:runs])
    return tuple(kernel._replace(seconds=round(speed * kernel.seconds, 9)) for kernel in kernels)


def _rounded(block: Block) -> Block:
    # A nanosecond is below the clock's overhead; more digits would only swell the log.
    return tuple(round(seconds, 9) for seconds in block)


def _level(references: Sequence[Sequence[Block]], statistic: str) -> float:
    blocks = [block for one in references for block in one]
    return statistics.median(block_statistic(block, statistic) for block in blocks)
