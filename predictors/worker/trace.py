"""Times each node that onnxruntime executes, with its own profiler."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mobinas.errors import MeasurementError
from mobinas.runtime import SessionSettings, example_feeds, first_line, open_session
from mobinas.targets import Bindings, KernelTime, Shape

_WARMUP_RUNS = 3
_KERNEL = "_kernel_time"
_LAYOUT_CHANGES = ("ReorderInput", "ReorderOutput")
_TICK_S = 1e-6


def trace(
    model: Path | bytes,
    settings: SessionSettings,
    runs: int,
    seed: int = 0,
    sizes: Bindings | None = None,
) -> tuple[KernelTime, ...]:
    """Times every node of a model over several inferences.

    The profiler itself takes some microseconds per node, mostly between nodes.

    Args:
        model: A file, or its bytes.
        settings: Of the device.
        runs: Inferences after the warm-up.
        seed: Of the inputs.
        sizes: Of all open dimensions that have names; by default the batch alone is open.

    Returns:
        One record per node in the order of execution; none where the provider gives no times of nodes.

    Raises:
        TargetError: This machine lacks the provider.
        MeasurementError: The model cannot be opened, or does not run.
    """
    with tempfile.TemporaryDirectory(prefix="mobinas-trace-") as folder:
        prefix = str(Path(folder) / "trace")
        session = open_session(model, settings, profile_prefix=prefix, sizes=sizes)
        feeds = example_feeds(session, settings.batch, seed)
        try:
            for _ in range(_WARMUP_RUNS + runs):
                session.run(None, feeds)
        except Exception as error:
            # onnxruntime's exceptions share no base below Exception.
            raise MeasurementError(f"it opens but does not run: {first_line(error)}") from error
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return kernel_times(events, _WARMUP_RUNS)


def kernel_times(events: Iterable[Mapping[str, Any]], warmup_runs: int) -> tuple[KernelTime, ...]:
    """What a profile says of the nodes.

    Args:
        events: As onnxruntime's profiler writes them; ``model_run`` ends a run.
        warmup_runs: Runs at the start that do not count.
    """
    runs: list[list[Mapping[str, Any]]] = [[]]
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name")).endswith(_KERNEL):
            runs[-1].append(event)
        elif event.get("name") == "model_run":
            runs.append([])
    timed = runs[warmup_runs:-1]
    if any(_nodes(run) != _nodes(timed[0]) for run in timed):
        return ()  # control flow: the nodes differ from run to run
    # Whole runs are kept or dropped, so that the nodes add up to a run. Interruptions only add time, so the
    # faster half counts; within it a mean, as durations are whole microseconds and a median would be one too.
    timed.sort(key=lambda run: sum(event["dur"] for event in run))
    kept = timed[: (len(timed) + 1) // 2]
    return tuple(_kernel(nodes) for nodes in zip(*kept))


def _nodes(run: list[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(event["name"] for event in run)


def _kernel(runs: tuple[Mapping[str, Any], ...]) -> KernelTime:
    """One node in several runs."""
    name, args = runs[0]["name"], runs[0]["args"]
    op = str(args["op_name"])
    inputs, outputs = (_shapes(args.get(f"{side}_type_shape", ())) for side in ("input", "output"))
    blocked = name.endswith("_nchwc" + _KERNEL) or op in _LAYOUT_CHANGES
    # Durations are rounded down, by half a tick on average.
    seconds = _TICK_S * (0.5 + sum(event["dur"] for event in runs) / len(runs))
    return KernelTime(op, inputs, outputs[0] if outputs else (), blocked, round(seconds, 9))


def _shapes(listed: Iterable[Mapping[str, Any]]) -> tuple[Shape, ...]:
    return tuple(tuple(dims) for one in listed for dims in one.values())
