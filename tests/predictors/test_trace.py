"""Times of single nodes."""

from pathlib import Path
from typing import Any

import pytest

from mobinas.targets import KernelTime
from mobinas.targets.target import Target
from mobinas.testing import sample
from predictors.measure import load_measurements, measure
from predictors.runners import ModelFile
from predictors.worker.trace import kernel_times, trace


def node(name: str, dur: int, **args: Any) -> dict[str, Any]:
    shapes = {"input_type_shape": [{"float": [1, 3, 4, 4]}], "output_type_shape": [{"float": [1, 8, 4, 4]}]}
    return {"cat": "Node", "name": name, "dur": dur, "args": {"op_name": "Conv", **shapes, **args}}


def run_of(*nodes: dict[str, Any]) -> list[dict[str, Any]]:
    before = {"cat": "Node", "name": "a_fence_before", "dur": 50, "args": {}}
    return [before, *nodes, {"cat": "Session", "name": "model_run", "dur": 1000}]


def test_the_faster_half_of_the_runs_counts_after_the_warm_up() -> None:
    durations = [(900, 900), (10, 20), (11, 20), (300, 20), (10, 400)]
    events = [
        e
        for a, b in durations
        for e in run_of(
            node("a_nchwc_kernel_time", a), node("b_kernel_time", b, op_name="Add", output_type_shape=[])
        )
    ]
    first, second = kernel_times(events, warmup_runs=1)
    assert first == KernelTime("Conv", ((1, 3, 4, 4),), (1, 8, 4, 4), True, pytest.approx(11e-6))
    assert second == KernelTime("Add", ((1, 3, 4, 4),), (), False, pytest.approx(20.5e-6))


@pytest.mark.parametrize(
    ("name", "op"), [("x_kernel_time", "ReorderInput"), ("y_kernel_time", "ReorderOutput")]
)
def test_changes_of_layout_are_blocked(name: str, op: str) -> None:
    (kernel,) = kernel_times(run_of(node(name, 1, op_name=op)), warmup_runs=0)
    assert kernel.blocked


def test_no_kernels_no_times() -> None:
    assert kernel_times([], 0) == kernel_times(run_of() * 3, 1) == ()
    changing = [*run_of(node("a_kernel_time", 1)), *run_of(node("b_kernel_time", 1))]
    assert kernel_times(changing, 0) == ()


def test_a_network_is_traced_with_its_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kernels = trace(ModelFile.of(sample(0)).content(), Target(batch=2), runs=4)
    assert not list(tmp_path.iterdir())
    convs = [k for k in kernels if k.op == "Conv"]
    assert convs and all(k.inputs[0][0] == k.output[0] == 2 and len(k.inputs) >= 2 for k in convs)
    assert any(k.blocked for k in convs) and all(k.seconds > 0 for k in kernels)


@pytest.mark.slow
def test_a_measurement_keeps_its_kernels(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    (seen,) = measure([sample(0)], Target.local(), rounds=2, block_s=0.002, log=log)
    assert {"Conv", "Concat"} <= {k.op for k in seen.kernels}
    assert load_measurements(log) == [seen]
