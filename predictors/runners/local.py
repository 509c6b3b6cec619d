"""Times models with onnxruntime on this machine."""

import contextlib
import gc
import math
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from mobinas.errors import MeasurementError, TargetError
from mobinas.progress import Progress
from mobinas.runtime import example_feeds, open_session, runtime_version
from mobinas.targets.measurement import Measurement, block_statistic
from mobinas.targets.target import Target
from predictors.runners.base import MeasuringPlan, ModelFile, OnResult
from predictors.runners.reference import reference_model
from predictors.runners.rounds import Block, Outcome, run_rounds

if TYPE_CHECKING:
    import onnxruntime

# A sample spans this many ticks of the clock, so that rounding to a tick stays below 0.1 %.
_TICKS_PER_SAMPLE = 1000
_MIN_SAMPLE_S = 100e-6
_PAIRS_PER_BLOCK = (5, 60)
_MAX_REFERENCE_RUNS = 8
# Other models ran since the last block: the first inferences only bring caches back.
_SETTLING_RUNS = 2
_WARMUP_WINDOW = 5
_WARMUP_LIMIT_S = 0.5
_STATIONARY = 0.03
# Half of the 95 % interval, relative to the median.
_TRUSTED_HALF_WIDTH = 0.1


class LocalRunner:
    """onnxruntime on this machine, in this process."""

    @property
    def host(self) -> str:
        """Name, CPU model and number of CPUs of this machine."""
        return _host()

    @property
    def runtime_version(self) -> str:
        """The installed onnxruntime."""
        return runtime_version()

    def measure(
        self,
        models: Sequence[ModelFile],
        target: Target,
        plan: MeasuringPlan,
        on_result: OnResult,
        progress: Progress,
    ) -> None:
        """Measures group by group; see `predictors.runners.Runner`."""
        rng = random.Random(plan.seed)
        level_s = plan.reference_level_s
        with _bound_to(target.affinity):
            reference = Stopwatch(open_session(reference_model(), target), target, plan.seed)
            reference.warm_up()
            groups = _groups(len(models), plan.group_size)
            total = len(groups) * plan.rounds
            for g, group in enumerate(groups):

                def after_round(good: int, drift: float, before: int = g * plan.rounds) -> None:
                    progress(before + good, total, f"{len(models)} models, drift {drift:.1%}")

                started_at = datetime.now(UTC).isoformat(timespec="seconds")
                timers = [_timer(models[i], reference, target, plan) for i in group]
                warmups = [timer.warm_up() for timer in timers]
                outcome = run_rounds(
                    timers,
                    rounds=plan.rounds,
                    max_repeats=plan.max_repeats,
                    drift_tolerance=plan.drift_tolerance,
                    rng=rng,
                    after_round=after_round,
                )
                level_s = level_s or _level(outcome, target)
                for place, i in enumerate(group):
                    result = Measurement(
                        models[i].structure_digest,
                        models[i].file_sha256,
                        target.fingerprint,
                        self.host,
                        self.runtime_version,
                        tuple(_rounded(r.blocks[place]) for r in outcome.rounds),
                        warmups[place],
                        started_at,
                        target.statistic,
                        reference_blocks_s=tuple(_rounded(r.references[place]) for r in outcome.rounds),
                        reference_level_s=level_s,
                        name=models[i].name,
                    )
                    on_result(i, _judged(result))


def _rounded(block: Block) -> Block:
    # A nanosecond is below the clock's overhead; more digits would only swell the log.
    return tuple(round(seconds, 9) for seconds in block)


def _level(outcome: Outcome, target: Target) -> float:
    blocks = [block for r in outcome.rounds for block in r.references]
    return statistics.median(block_statistic(block, target.statistic) for block in blocks)


def _judged(measurement: Measurement) -> Measurement:
    low, high = measurement.interval_s
    trusted = (high - low) / 2 <= _TRUSTED_HALF_WIDTH * measurement.median_s
    return replace(measurement, verdict="steady" if trusted else "unstable")


class Stopwatch:
    """Times inferences of one session on seeded inputs."""

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        target: Target,
        seed: int,
        clock: Callable[[], float] = time.perf_counter,
        tick_s: float | None = None,
    ) -> None:
        """Prepares inputs; runs nothing yet.

        Args:
            session: What to time.
            target: For the batch.
            seed: Of the inputs.
            clock: Seconds, monotonic.
            tick_s: The clock's resolution; that of `time.perf_counter` by default.
        """
        self._session = session
        self._feeds: dict[str, npt.NDArray[Any]] = example_feeds(session, target.batch, seed)
        self._clock = clock
        self.tick_s = time.get_clock_info("perf_counter").resolution if tick_s is None else tick_s
        self.once_s = self.tick_s

    def time(self, runs: int) -> float:
        """Seconds per inference over this many; never below the clock's resolution."""
        run, feeds, clock = self._session.run, self._feeds, self._clock
        start = clock()
        for _ in range(runs):
            run(None, feeds)
        return max(clock() - start, self.tick_s) / runs

    def warm_up(self) -> int:
        """Runs until two windows of inferences agree within 3 %, for at most half a second.

        Returns:
            The number of inferences; `once_s` holds the last window's median.
        """
        windows: list[float] = []
        start = self._clock()
        while True:
            windows.append(statistics.median(self.time(1) for _ in range(_WARMUP_WINDOW)))
            stationary = len(windows) > 2 and abs(windows[-1] / windows[-2] - 1) < _STATIONARY
            if stationary or self._clock() - start > _WARMUP_LIMIT_S:
                break
        self.once_s = windows[-1]
        return _WARMUP_WINDOW * len(windows)


class SessionTimer:
    """Times a model in turns with the reference model; a `PairTimer`."""

    def __init__(self, model: Stopwatch, reference: Stopwatch, block_s: float) -> None:
        """Takes two stopwatches, the reference warmed up, and the length of a block in seconds."""
        self._model = model
        self._reference = reference
        self._block_s = block_s
        self._runs = self._reference_runs = 1
        self._pairs = _PAIRS_PER_BLOCK[0]

    def warm_up(self) -> int:
        """Warms the model up and fixes how many inferences a sample spans and how many pairs a block has."""
        count = self._model.warm_up()
        once_s, reference_s = self._model.once_s, self._reference.once_s
        sample_s = max(_TICKS_PER_SAMPLE * self._model.tick_s, _MIN_SAMPLE_S)
        self._runs = math.ceil(sample_s / once_s)
        spanned_s = self._runs * once_s
        # A long sample is paired with a longer stretch of the reference, so that both see the same machine.
        self._reference_runs = min(_MAX_REFERENCE_RUNS, max(1, round(spanned_s / reference_s)))
        least, most = _PAIRS_PER_BLOCK
        pairs = round(self._block_s / (spanned_s + self._reference_runs * reference_s))
        self._pairs = min(most, max(least, pairs))
        return count

    def block(self) -> tuple[Block, Block]:
        """One block of pairs: seconds per inference of the model, and of the reference right after."""
        model, reference = self._model, self._reference
        model.time(_SETTLING_RUNS)
        collecting = gc.isenabled()
        gc.disable()
        try:
            pairs = [
                (model.time(self._runs), reference.time(self._reference_runs)) for _ in range(self._pairs)
            ]
        finally:
            if collecting:
                gc.enable()
        return tuple(own for own, _ in pairs), tuple(other for _, other in pairs)


def _timer(model: ModelFile, reference: Stopwatch, target: Target, plan: MeasuringPlan) -> SessionTimer:
    stopwatch = Stopwatch(open_session(model.source, target), target, plan.seed)
    try:
        stopwatch.time(1)
    except Exception as error:
        # onnxruntime's exceptions share no base below Exception.
        text = str(error).strip().splitlines()
        raise MeasurementError(
            f"{model.name} opens but does not run: {text[0] if text else error}"
        ) from error
    return SessionTimer(stopwatch, reference, plan.block_s)


def _groups(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


@contextlib.contextmanager
def _bound_to(cpus: tuple[int, ...]) -> Iterator[None]:
    if not cpus:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise TargetError("this system cannot bind a process to CPUs; leave the target's affinity empty")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        allowed = ", ".join(map(str, sorted(before)))
        raise TargetError(
            f"cannot bind to CPUs {list(cpus)}: {error.strerror}; available: {allowed}"
        ) from None
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@lru_cache(maxsize=1)
def _host() -> str:
    return f"{platform.node() or 'unnamed'} ({_cpu_model()}, {os.cpu_count()} CPUs)"


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
