import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from mobinas.arch.architecture import Task
from mobinas.arch.ops import op_set
from mobinas.arch.space import SearchSpace
from mobinas.errors import MeasurementError, TargetError
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_writer import write_onnx
from mobinas.progress import Progress, silent
from mobinas.targets.measurement import Measurement
from mobinas.targets.target import Target
from predictors.measure import load_measurements, measure
from predictors.networks import Layout, kernels_of
from predictors.runners import MeasuringPlan, ModelFile
from predictors.runners.base import OnResult
from predictors.runners.fake import FakeRunner, fake_latency_s
from predictors.runners.local import LocalRunner
from predictors.runners.reference import reference_model
from predictors.sampling import sample_for_profile
from predictors.worker.timing import SessionTimer, Stopwatch, tick_of

SPACE = SearchSpace(Task(10, 1), (8, 16), (3, 4), (2, 4), (op_set("darts"),))
MODELS = sample_for_profile(SPACE, 6, random.Random(0))


def open_sized() -> onnx.ModelProto:
    """A convolution over images of open height and width."""
    sizes = ["batch", 3, "height", "width"]
    values = [onnx.helper.make_tensor_value_info(name, 1, sizes) for name in ("x", "y")]
    weights = onnx.numpy_helper.from_array(np.ones((3, 3, 3, 3), np.float32), "w")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)
    graph = onnx.helper.make_graph([node], "open", values[:1], values[1:], [weights])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


class CountingRunner(FakeRunner):
    def __init__(self, stop_after: int = 10**6) -> None:
        self.measured: list[str] = []
        self.stop_after = stop_after

    def measure(
        self,
        models: Sequence[ModelFile],
        target: Target,
        plan: MeasuringPlan,
        on_result: OnResult,
        progress: Progress,
    ) -> None:
        def counted(i: int, m: Measurement) -> None:
            if len(self.measured) >= self.stop_after:
                raise KeyboardInterrupt
            self.measured.append(m.file_sha256)
            on_result(i, m)

        super().measure(models, target, plan, counted, progress)


def test_results_come_in_order_and_one_file_is_measured_once() -> None:
    runner = CountingRunner()
    results = measure([*MODELS, MODELS[0]], Target.fake(), runner=runner)
    assert len(runner.measured) == 6
    assert [m.name for m in results] == [a.name for a in MODELS] + [MODELS[0].name]
    assert results[0] == results[-1]


def test_a_killed_call_continues_and_ends_the_same(tmp_path: Path) -> None:
    log = tmp_path / "m.jsonl"
    whole = measure(MODELS, Target.fake())
    with pytest.raises(KeyboardInterrupt):
        measure(MODELS, Target.fake(), runner=CountingRunner(stop_after=2), log=log)
    with log.open("a") as file:
        file.write('{"torn')
    second = CountingRunner()
    assert measure(MODELS, Target.fake(), runner=second, log=log) == whole
    assert len(second.measured) == 4
    third = CountingRunner()
    assert measure(MODELS, Target.fake(), runner=third, log=log) == whole
    assert third.measured == []
    assert load_measurements(log) == whole


def test_another_target_or_file_is_not_answered_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "m.jsonl"
    measure(MODELS[:2], Target.fake(), log=log)
    runner = CountingRunner()
    measure(MODELS[:2], replace(Target.fake(), batch=2), runner=runner, log=log)
    other_weights = write_onnx(lower(MODELS[0]), seed=1)
    measure([other_weights], Target.fake(), runner=runner, log=log)
    assert len(runner.measured) == 3


@pytest.mark.parametrize("target", [Target.fake(), Target.local()], ids=["fake", "local"])
def test_other_bindings_are_another_measurement(tmp_path: Path, target: Target) -> None:
    path, log = tmp_path / "open.onnx", tmp_path / "m.jsonl"
    onnx.save(open_sized(), path)
    how: dict = {"rounds": 2, "max_rounds": 2, "block_s": 0.002, "log": log}
    (small,) = measure([path], target, bindings={"width": 8, "height": 8}, **how)
    (large,) = measure([path], target, bindings={"width": 64, "height": 64}, **how)
    (again,) = measure([path], target, bindings={"height": 8, "width": 8}, **how)
    assert again == small and large.median_s > 2 * small.median_s
    assert small.bindings == (("height", 8), ("width", 8))
    assert load_measurements(log) == [small, large]
    with pytest.raises(MeasurementError, match="size of 1 or more"):
        measure([path], target, bindings={"height": 0}, **how)


def test_a_log_of_something_else_is_named(tmp_path: Path) -> None:
    log = tmp_path / "m.jsonl"
    log.write_text('{"a": 1}\n')
    with pytest.raises(MeasurementError, match=r"m\.jsonl is JSON of something else, not a measurement log"):
        measure(MODELS[:1], Target.fake(), log=log)


def test_the_fake_follows_its_formula_for_files_and_architectures(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    onnx.save(write_onnx(lower(MODELS[0])), path)
    by_path, by_architecture = measure([path, MODELS[0]], Target.fake())
    assert by_path.blocks_s == by_architecture.blocks_s
    assert by_path.file_sha256 == by_architecture.file_sha256
    assert by_path.median_s == pytest.approx(fake_latency_s(kernels_of(MODELS[0], Layout())), rel=0.02)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08"])
def test_a_file_that_is_no_model_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(MeasurementError, match=r"bad\.onnx"):
        measure([path], Target.fake())
    with pytest.raises(MeasurementError, match=r"gone\.onnx"):
        measure([tmp_path / "gone.onnx"], Target.fake())


def test_the_local_runner_measures_with_a_reference(tmp_path: Path) -> None:
    log = tmp_path / "m.jsonl"
    seen: list[int] = []
    first = measure(
        MODELS[:2],
        Target.local(),
        rounds=3,
        max_rounds=4,
        block_s=0.002,
        log=log,
        progress=lambda done, total, text: seen.append(done),
    )
    assert seen
    for m in first:
        assert len(m.blocks_s) == sum(m.blocks_per_process) and m.blocks_per_process[:2] == (2, 1)
        assert [len(b) for b in m.blocks_s] == [len(b) for b in m.reference_blocks_s]
        assert m.warmup_samples > 0
        assert m.interval_s[0] <= m.median_s <= m.interval_s[1]
    (later,) = measure(MODELS[2:3], Target.local(), rounds=1, block_s=0.002, log=log)
    assert later.reference_level_s == first[0].reference_level_s


def test_affinity_is_bound_and_given_back() -> None:
    os = pytest.importorskip("os")
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system cannot bind processes")
    before = os.sched_getaffinity(0)
    measure(MODELS[:1], Target(affinity=(min(before),)), rounds=1, block_s=0.001)
    assert os.sched_getaffinity(0) == before
    with pytest.raises(TargetError, match="cannot bind to CPUs"):
        measure(MODELS[:1], Target(affinity=(4000,)), rounds=1)
    assert os.sched_getaffinity(0) == before


class FakeSession:
    def __init__(self, clock: list[float], run_s: float) -> None:
        self.clock, self.run_s = clock, run_s

    def get_inputs(self) -> list[object]:
        return []

    def run(self, names: None, feeds: object) -> None:
        self.clock[0] += self.run_s


def stopwatch(clock: list[float], run_s: float, tick_s: float) -> Stopwatch:
    session: object = FakeSession(clock, run_s)
    return Stopwatch(session, Target(), 0, lambda: clock[0] // tick_s * tick_s, tick_s)  # type: ignore[arg-type]


def test_a_coarse_clock_is_met_by_longer_samples() -> None:
    clock = [0.0]
    reference = stopwatch(clock, 3e-4, 1e-3)
    reference.warm_up()
    timer = SessionTimer(stopwatch(clock, 7e-5, 1e-3), reference, 0.01)
    timer.warm_up()
    own, other = timer.block()
    assert own == pytest.approx([7e-5] * len(own), rel=0.01)
    assert other == pytest.approx([3e-4] * 5, rel=0.02)
    assert len(own) == 5
    assert timer.clock_error < 0.01


def test_every_other_block_has_a_new_session() -> None:
    clock = [0.0]
    reference = stopwatch(clock, 3e-4, 1e-6)
    reference.warm_up()
    opened = iter([2e-3, 3e-3])

    def renewed() -> Stopwatch:
        return stopwatch(clock, next(opened), 1e-6)

    timer = SessionTimer(stopwatch(clock, 1e-3, 1e-6), reference, 0.01, renewed)
    timer.warm_up()
    seen = [round(1e3 * min(timer.block()[0]), 2) for _ in range(6)]
    assert seen == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]


def test_a_clock_too_coarse_for_any_sample_is_told() -> None:
    clock = [0.0]
    reference = stopwatch(clock, 3e-4, 0.05)
    reference.warm_up()
    timer = SessionTimer(stopwatch(clock, 7e-5, 0.05), reference, 0.01)
    timer.warm_up()
    assert timer.clock_error > 0.1


def test_a_tick_is_what_the_clock_shows() -> None:
    ticking = iter(k // 3 * 0.25 for k in range(1000))
    assert tick_of(lambda: next(ticking)) == 0.25


def test_the_reference_model_never_changes() -> None:
    # Reference levels in users' logs belong to this very network.
    assert ModelFile.of(reference_model()).structure_digest.startswith("c78179b6377fea7e")


def test_hosts_name_their_cpu() -> None:
    assert "CPUs" in LocalRunner().host


def test_nothing_to_measure() -> None:
    assert measure([], Target.fake(), progress=silent) == []
