"""Measuring over ssh, against a real server on the loopback interface."""

import os
import signal
import subprocess
from pathlib import Path

import onnx
import pytest
from sshd import Sshd

from mobinas import load_config, run
from mobinas.errors import MeasurementError, TargetError
from mobinas.progress import silent
from mobinas.targets.measurement import Measurement
from mobinas.targets.target import Target
from mobinas.testing import sample
from predictors.measure import load_measurements, measure
from predictors.runners import ModelFile
from predictors.runners.local import LocalRunner
from predictors.runners.ssh import SshRunner
from predictors.worker.measuring import MeasuringPlan

pytestmark = pytest.mark.usefixtures("sshd")

TARGET = Target("pi", ssh="device")


def test_models_are_measured_over_there_and_results_come_back(sshd, tmp_path: Path) -> None:
    log, told = tmp_path / "log.jsonl", []
    models = [sample(k) for k in range(3)]
    seen = measure(models, TARGET, rounds=3, block_s=0.002, log=log, progress=lambda *said: told.append(said))
    assert [m.name for m in seen] == [model.name for model in models]
    assert sorted(load_measurements(log), key=lambda m: m.name) == sorted(seen, key=lambda m: m.name)
    assert {m.host for m in seen} == {LocalRunner().host}  # the same machine, by another way
    assert {m.target_fingerprint for m in seen} == {TARGET.fingerprint}
    assert told[-1][:2] == (3, 3)
    assert len(list((sshd.home / ".cache" / "mobinas").glob("worker-*.pyz"))) == 1
    (here,) = measure(models[:1], Target.local(), rounds=3, block_s=0.002)
    assert here.structure_digest == seen[0].structure_digest


def test_errors_over_there_are_told_here(tmp_path: Path) -> None:
    odd = Target("pi", provider="NoSuchProvider", ssh="device")
    with pytest.raises(TargetError, match="device: provider 'NoSuchProvider'"):
        measure([sample(0)], odd)
    with pytest.raises(TargetError, match="cannot reach nowhere"):
        measure([sample(0)], Target("pi", ssh="nowhere"))
    with pytest.raises(TargetError, match="pip install onnxruntime there"):
        measure([sample(0)], Target("pi", ssh="device", python="python-that-is-not-there"))


def _kill_ssh() -> None:
    children = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-x", "ssh"], capture_output=True, text=True, check=True
    )
    for pid in children.stdout.split():
        os.kill(int(pid), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 3])
def test_a_lost_connection_loses_nothing(kills: int) -> None:
    models = [ModelFile.of(sample(k)) for k in range(5)]
    seen: list[int] = []
    levels: set[float | None] = set()

    def keep(i: int, measurement: Measurement) -> None:
        seen.append(i)
        levels.add(measurement.reference_level_s)
        if len(seen) <= kills:
            _kill_ssh()

    plan = MeasuringPlan(rounds=2, block_s=0.002, group_size=1)
    SshRunner(TARGET, pause_s=0.01).measure(models, TARGET, plan, keep, silent)
    assert seen == list(range(5))
    assert len(levels) == 1  # one reference level for all


def test_a_connection_that_brings_nothing_is_given_up() -> None:
    def cut(*_: object) -> None:
        _kill_ssh()

    plan = MeasuringPlan(rounds=50, block_s=0.05)
    with pytest.raises(MeasurementError, match=r"lost the connection to device 4 times .*the same command"):
        SshRunner(TARGET, pause_s=0.01).measure([ModelFile.of(sample(0))], TARGET, plan, lambda *_: None, cut)


@pytest.mark.slow
def test_a_whole_job_for_another_machine(tmp_path: Path) -> None:
    target = tmp_path / "pi.toml"
    target.write_text(TARGET.to_toml())
    config = load_config("smoke", {"target": str(target)})
    front = run(config, tmp_path / "run")
    measured = load_measurements(tmp_path / "run" / "measurements.jsonl")
    assert front.rows and {m.target_fingerprint for m in measured} == {TARGET.fingerprint}


def test_a_worker_that_was_copied_in_part_is_copied_again(sshd: Sshd) -> None:
    (path,) = (sshd.home / ".cache" / "mobinas").glob("worker-*.pyz")
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    assert SshRunner(TARGET).host == LocalRunner().host
    assert path.read_bytes() == whole


def test_a_worker_that_dies_is_no_lost_connection(sshd: Sshd) -> None:
    (path,) = (sshd.home / ".cache" / "mobinas").glob("worker-*.pyz")
    whole = path.read_bytes()
    runner = SshRunner(TARGET)
    assert runner.host
    path.write_bytes(b"raise SystemExit('no more room')")
    try:
        with pytest.raises(MeasurementError, match="the worker on device died: no more room"):
            runner.measure([ModelFile.of(sample(0))], TARGET, MeasuringPlan(), lambda *_: None, silent)
    finally:
        path.write_bytes(whole)


def test_a_worker_of_another_version_is_refused(sshd: Sshd) -> None:
    (path,) = (sshd.home / ".cache" / "mobinas").glob("worker-*.pyz")
    whole = path.read_bytes()
    runner = SshRunner(TARGET)
    assert runner.host
    path.write_text('print(\'{"kind": "hello", "protocol": 1, "host": "h", "runtime_version": "r"}\')')
    try:
        with pytest.raises(TargetError, match="worker on device is of another version"):
            runner.measure([ModelFile.of(sample(0))], TARGET, MeasuringPlan(), lambda *_: None, silent)
    finally:
        path.write_bytes(whole)


def test_a_model_that_cannot_run_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.onnx"
    model = onnx.load_from_string(ModelFile.of(sample(0)).content())
    model.opset_import[0].version = 999
    path.write_bytes(model.SerializeToString())
    with pytest.raises(MeasurementError, match=r"device: odd\.onnx: "):
        measure([path], TARGET)


def test_a_destination_is_never_an_option() -> None:
    with pytest.raises(TargetError, match="host or user@host"):
        Target("pi", ssh="-oProxyCommand=touch /tmp/x")
