"""What a model takes beside time."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobinas.errors import MeasurementError
from mobinas.targets.resources import Resources
from mobinas.targets.target import Target
from predictors.measure import measure
from predictors.worker.energy import energy_of
from predictors.worker.memory import PeakMemory

ONE_MB = 1_000_000


def product(columns: int, batch: int | str = "batch") -> onnx.ModelProto:
    """A matrix product whose weights take 4000 bytes per column."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, size])
        for name, size in (("x", 1000), ("y", columns))
    ]
    weights = numpy_helper.from_array(np.ones((1000, columns), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process's peak memory")
def test_peak_memory_follows_the_weights() -> None:
    small, large = measure([product(100), product(5000)], Target(), rounds=1, max_rounds=1, block_s=0.001)
    peaks = [m.resources.peak_memory_bytes.value for m in (small, large)]
    assert peaks[0] is not None and peaks[0] < 8 * ONE_MB
    assert peaks[1] is not None and 20 * ONE_MB < peaks[1] < 90 * ONE_MB
    assert large.resources.size_bytes.value == pytest.approx(20 * ONE_MB, rel=0.01)


def test_peak_memory_is_the_growth_since_the_reset(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t 5000 kB\nVmRSS:\t 3000 kB\n")
    memory = PeakMemory(tmp_path)
    assert (tmp_path / "clear_refs").read_text() == "5"
    (tmp_path / "status").write_text("VmHWM:\t 4500 kB\nVmRSS:\t 3100 kB\n")
    assert memory.reading() == (1500 * 1024, "")


def test_absent_peak_memory_has_a_reason(tmp_path: Path) -> None:
    assert PeakMemory(tmp_path / "nothing").reading() == (
        None,
        "this system does not tell a process its peak memory",
    )


class Package:
    """A processor package whose counter wraps around."""

    def __init__(self, root: Path, name: str, start_uj: int, range_uj: int) -> None:
        self.folder, self.range_uj = root / name, range_uj
        self.folder.mkdir()
        (self.folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        self.now_uj = start_uj
        self.take(0)

    def take(self, energy_uj: int) -> None:
        self.now_uj = (self.now_uj + energy_uj) % self.range_uj
        (self.folder / "energy_uj").write_text(f"{self.now_uj}\n")


def test_energy_adds_packages_up_and_wraps_around(tmp_path: Path) -> None:
    packages = [
        Package(tmp_path, "intel-rapl:0", 0, 10**9),
        Package(tmp_path, "intel-rapl:1", 999_000, 1_000_000),
    ]
    part = Package(tmp_path, "intel-rapl:0:0", 0, 10**9)
    asked: list[int] = []

    def run(runs: int) -> None:
        asked.append(runs)
        for package in (*packages, part):
            package.take(2000 * runs)

    assert energy_of(run, 0.01, tmp_path) == (pytest.approx(2 * 2000e-6), "")
    assert asked == [10]


def test_absent_energy_has_a_reason(tmp_path: Path) -> None:
    assert "no energy counters" in energy_of(lambda _: None, 0.01, tmp_path).reason
    (tmp_path / "intel-rapl:0").mkdir()
    assert "cannot be read" in energy_of(lambda _: None, 0.01, tmp_path).reason
    (seen,) = measure([product(10)], Target(), rounds=1, max_rounds=1, block_s=0.001)
    assert seen.resources.energy_j.value is not None or seen.resources.energy_j.reason


@pytest.mark.parametrize(
    "data",
    [None, {"energy": {"value": 1}}, {"energy_j": 1}, {"energy_j": {}}, {"energy_j": {"value": -1}}]
    + [{"energy_j": {"value": x}} for x in (None, "1", True, float("nan"), float("inf"))],
)
def test_other_resources_are_refused(data: object) -> None:
    with pytest.raises(MeasurementError):
        Resources.from_json(data)
