"""Times models with onnxruntime on this machine."""

import contextlib
import gc
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mobinas.errors import MeasurementError, TargetError
from mobinas.progress import Progress
from mobinas.runtime import example_feeds, open_session, runtime_version
from mobinas.targets.measurement import Measurement
from mobinas.targets.target import Target
from predictors.runners.base import MeasuringPlan, ModelFile, OnResult
from predictors.runners.rounds import Block, Outcome, run_rounds

if TYPE_CHECKING:
    import onnx
    import onnxruntime

# A sample spans this many ticks of the clock, so that rounding to a tick stays below 0.1 %.
_TICKS_PER_SAMPLE = 1000
_MIN_SAMPLE_S = 100e-6
_SAMPLES_PER_BLOCK = (3, 60)
# Other models ran since the last block: the first inferences only bring caches back.
_SETTLING_RUNS = 2
_WARMUP_WINDOW = 5
_WARMUP_LIMIT_S = 0.5
_STATIONARY = 0.03


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
        with _bound_to(target.affinity):
            reference = SessionTimer(open_session(_reference_model(), target), target, plan)
            reference.warm_up()
            groups = _groups(len(models), plan.group_size)
            total = len(groups) * plan.rounds
            for g, group in enumerate(groups):

                def after_round(good: int, drift: float, before: int = g * plan.rounds) -> None:
                    progress(before + good, total, f"{len(models)} models, drift {drift:.1%}")

                started_at = datetime.now(UTC).isoformat(timespec="seconds")
                timers = [_timer(models[i], target, plan) for i in group]
                warmups = [timer.warm_up() for timer in timers]
                outcome = run_rounds(
                    timers,
                    reference,
                    rounds=plan.rounds,
                    max_repeats=plan.max_repeats,
                    drift_tolerance=plan.drift_tolerance,
                    rng=rng,
                    after_round=after_round,
                )
                for place, i in enumerate(group):
                    measurement = self._measurement(
                        models[i], target, outcome, place, warmups[place], started_at
                    )
                    on_result(i, measurement)

    def _measurement(
        self, model: ModelFile, target: Target, outcome: Outcome, place: int, warmup: int, started_at: str
    ) -> Measurement:
        return Measurement(
            structure_digest=model.structure_digest,
            file_sha256=model.file_sha256,
            target_fingerprint=target.fingerprint,
            host=self.host,
            runtime_version=self.runtime_version,
            blocks_s=tuple(r.blocks[place] for r in outcome.rounds),
            warmup_samples=warmup,
            started_at=started_at,
            statistic=target.statistic,
            verdict="steady" if outcome.steady else "unstable",
            reference_s=tuple((r.before_s, r.after_s) for r in outcome.rounds),
            name=model.name,
        )


class SessionTimer:
    """Times a session on seeded inputs."""

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        target: Target,
        plan: MeasuringPlan,
        clock: Callable[[], float] = time.perf_counter,
        tick_s: float | None = None,
    ) -> None:
        """Prepares inputs; runs nothing yet.

        Args:
            session: What to time.
            target: For the batch.
            plan: For the length of a block, and the seed of the inputs.
            clock: Seconds, monotonic.
            tick_s: The clock's resolution; that of `time.perf_counter` by default.
        """
        self._session = session
        self._feeds: dict[str, npt.NDArray[Any]] = example_feeds(session, target.batch, plan.seed)
        self._block_s = plan.block_s
        self._clock = clock
        self._tick_s = time.get_clock_info("perf_counter").resolution if tick_s is None else tick_s
        self._inner = 1
        self._samples = _SAMPLES_PER_BLOCK[0]

    def _time(self, inner: int) -> float:
        run, feeds, clock = self._session.run, self._feeds, self._clock
        start = clock()
        for _ in range(inner):
            run(None, feeds)
        return max(clock() - start, self._tick_s) / inner

    def warm_up(self) -> int:
        """Runs until two windows of inferences agree within 3 %, for at most half a second.

        Then fixes how many inferences a sample spans, and how many samples a block has.

        Returns:
            The number of inferences.

        Raises:
            MeasurementError: The model opens but does not run.
        """
        windows: list[float] = []
        start = self._clock()
        while True:
            windows.append(statistics.median(self._time(1) for _ in range(_WARMUP_WINDOW)))
            stationary = len(windows) > 2 and abs(windows[-1] / windows[-2] - 1) < _STATIONARY
            if stationary or self._clock() - start > _WARMUP_LIMIT_S:
                break
        once_s = windows[-1]
        least, most = _SAMPLES_PER_BLOCK
        sample_s = max(_TICKS_PER_SAMPLE * self._tick_s, _MIN_SAMPLE_S, self._block_s / most)
        self._inner = max(1, round(sample_s / once_s))
        self._samples = min(most, max(least, round(self._block_s / (self._inner * once_s))))
        return _WARMUP_WINDOW * len(windows)

    def block(self) -> Block:
        """Seconds per inference of each sample of one block."""
        self._time(_SETTLING_RUNS)
        collecting = gc.isenabled()
        gc.disable()
        try:
            return tuple(self._time(self._inner) for _ in range(self._samples))
        finally:
            if collecting:
                gc.enable()


def _timer(model: ModelFile, target: Target, plan: MeasuringPlan) -> SessionTimer:
    session = open_session(model.source, target)
    timer = SessionTimer(session, target, plan)
    try:
        session.run(None, timer._feeds)
    except Exception as error:
        # onnxruntime's exceptions share no base below Exception.
        text = str(error).strip().splitlines()
        raise MeasurementError(
            f"{model.name} opens but does not run: {text[0] if text else error}"
        ) from error
    return timer


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


def _reference_model() -> "onnx.ModelProto":
    """A small convolutional network that never changes: about 0.1 ms, dense and depthwise work."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, constants, x = [], [], "image"
    shapes = ((32, 3, 3, 3), (32, 32, 3, 3), (32, 1, 3, 3), (64, 32, 1, 1), (10, 64, 1, 1))
    for k, shape in enumerate(shapes):
        weight = (rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5).astype(np.float32)
        constants.append(numpy_helper.from_array(weight, f"w{k}"))
        group, pad = (shape[0], 1) if shape[1] == 1 else (1, shape[2] // 2)
        nodes.append(
            helper.make_node("Conv", [x, f"w{k}"], [f"c{k}"], group=group, pads=[pad] * 4, strides=[1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"c{k}"], [f"r{k}"]))
        x = f"r{k}"
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["result"]))
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["batch", 10, 1, 1])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
