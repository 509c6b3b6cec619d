"""Measures models in several fresh processes, and again where they disagree too much.

The layout of a process's memory changes latencies for as long as it lives, so blocks of one process look
steadier than they are: each model is seen by two processes at least.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from mobinas.errors import MeasurementError, RunFolderError
from mobinas.locks import open_lock
from mobinas.targets.spread import TRUSTED_WAIT, block_values, half_width, interval
from predictors.worker.measuring import DeviceSettings, MeasuringPlan, Model, Timed
from predictors.worker.messages import request_line
from predictors.worker.talk import here, started, take

_WAIT_S, _POLL_S = 180.0, 0.02

Progress = Callable[[int, int, str], None]
Part = Callable[[Sequence[Model], MeasuringPlan, Progress], "list[Timed]"]


def measure_models(
    models: Sequence[Model],
    plan: MeasuringPlan,
    statistic: str,
    run: Part,
    on_result: Callable[[int, Timed], None],
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Measures every model, group by group.

    Args:
        models: What to measure.
        plan: How long and how often.
        statistic: What stands for a block of samples.
        run: Measures some models in a process of their own, see `in_a_process`.
        on_result: Called once per model with its position and what was seen, as soon as it is final.
        progress: Told the rounds done, all rounds at least, and what goes on.
        clock: Seconds, monotonic; for the budget.

    Raises:
        TargetError: This machine lacks the provider, or the CPUs to bind to.
        MeasurementError: A model cannot run here; the text names it.
    """
    start_s, size, rounds = clock(), plan.group_size, plan.rounds
    groups = [range(len(models))[i : i + size] for i in range(0, len(models), size)]
    for g, group in enumerate(groups):
        end_s = start_s + (plan.budget_s or float("inf")) * (g + 1) / len(groups)

        def told(before: int, more: int, _: int, text: str, g: int = g) -> None:
            progress(g * rounds + min(before + more, rounds), len(groups) * rounds, text)

        left = list(group)
        seen: dict[int, list[Timed]] = defaultdict(list)
        done: list[int] = []
        while left:
            part = _part(plan, done)
            timed = run([models[i] for i in left], part, partial(told, sum(done)))
            for i, one in zip(left, timed):
                seen[i].append(one)
            plan = replace(plan, reference_level_s=timed[0].reference_level_s)
            done.append(part.rounds)
            if len(done) < plan.processes:
                continue
            last = sum(done) >= plan.max_rounds or clock() >= end_s
            merged = [(i, _merged(seen[i])) for i in left]
            left = [i for i, one in merged if not last and _wide(one, plan, statistic)]
            for i, one in merged:
                if i not in left:
                    on_result(i, one)


def _part(plan: MeasuringPlan, done: Sequence[int]) -> MeasuringPlan:
    """What the next process does after others that made this many rounds."""
    share, more = divmod(plan.rounds, plan.processes)
    if len(done) < plan.processes:
        rounds = share + (len(done) < more)
    else:
        rounds = min(share, plan.max_rounds - sum(done))
    return replace(
        plan,
        rounds=max(1, rounds),
        seed=plan.seed + len(done),
        trace_runs=0 if done else plan.trace_runs,
        energy=plan.energy and not done,
    )


def _merged(parts: Sequence[Timed]) -> Timed:
    return parts[0]._replace(
        blocks_s=tuple(block for part in parts for block in part.blocks_s),
        reference_blocks_s=tuple(block for part in parts for block in part.reference_blocks_s),
        warmup_samples=sum(part.warmup_samples for part in parts),
        blocks_per_process=tuple(len(part.blocks_s) for part in parts),
        clock_error=max(part.clock_error for part in parts),
        waited=max(part.waited for part in parts),
    )


def _wide(timed: Timed, plan: MeasuringPlan, statistic: str) -> bool:
    if timed.waited > TRUSTED_WAIT:
        return False  # more rounds would not make it trusted
    values = block_values(timed.blocks_s, timed.reference_blocks_s, timed.reference_level_s, statistic)
    ends = interval(values, timed.blocks_per_process)
    return ends is None or half_width(statistics.median(values), ends) > plan.interval_half_width


def in_a_process(reference: Path, settings: DeviceSettings) -> Part:
    """What measures models in a fresh process, while no other worker of this user measures here."""

    def run(models: Sequence[Model], plan: MeasuringPlan, progress: Progress) -> list[Timed]:
        found: dict[int, Timed] = {}
        line = request_line(settings, asdict(plan), reference, models, part=True)
        with _alone(), started(here(), [line]) as worker:
            ended = take(worker, len(models), "", found.__setitem__, progress)
        if not ended or len(found) < len(models):
            why = worker.complaint or f"exit status {worker.status}"
            raise MeasurementError(f"the measuring process died: {why}; is the device still there?")
        return [found[i] for i in range(len(models))]

    return run


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Waits until no other worker of this user measures here, such as one whose connection was just lost."""
    try:
        import fcntl
    except ImportError:  # Windows, which no lost connection leaves a worker on
        yield
        return
    path = Path(tempfile.gettempdir()) / f"mobinas-worker-{os.getuid()}.lock"
    with os.fdopen(_opened(path), "r+") as lock:
        deadline_s = time.monotonic() + _WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise MeasurementError(
                        "another measurement runs on this machine; wait until it ends"
                    ) from None
                time.sleep(_POLL_S)
        yield
    time.sleep(2 * _POLL_S)  # lets another one have its turn


def _opened(path: Path) -> int:
    try:
        return open_lock(path)
    except RunFolderError as error:
        raise MeasurementError(f"{error}: set TMPDIR to another folder") from None
