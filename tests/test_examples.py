"""Every example runs."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mobinas.config import load_config
from mobinas.train.data import load_data

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_no_example_is_forgotten() -> None:
    assert {p.name for p in EXAMPLES.iterdir() if not p.name.startswith(("_", "."))} == {
        "another_device.py",
        "classify.py",
        "fashion_mnist.toml",
        "front_search.py",
        "own_data.py",
        "own_networks.py",
        "parallel_search.py",
        "pick_by_budget.py",
    }


def test_the_fashion_job_is_valid() -> None:
    assert load_config(EXAMPLES / "fashion_mnist.toml").data == "fashion_mnist"


def test_own_data_loads() -> None:
    data = load_data(f"{EXAMPLES / 'own_data.py'}:blobs")
    assert data.images.shape == (600, 1, 16, 16)
    assert len(data.classes) == 3


@pytest.mark.slow
def test_pick_by_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pick_by_budget.py", str(tmp_path / "run")])
    runpy.run_path(str(EXAMPLES / "pick_by_budget.py"), run_name="__main__")
    assert "model.onnx" in capsys.readouterr().out


@pytest.mark.slow
def test_a_search_runs_under_torchrun() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(EXAMPLES / "parallel_search.py")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    # Both write to one pipe at once, so a line break may come after the other's line.
    nothing, first, second = done.stdout.split("loss ")
    assert not nothing and first.strip() == second.strip() and "genotype" in first


@pytest.mark.slow
def test_another_device(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "another_device.py"), run_name="__main__")
    assert capsys.readouterr().out.count("give or take") == 3


def test_front_search(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "front_search.py"), run_name="__main__")
    *members, knee = capsys.readouterr().out.splitlines()
    assert members and all("accuracy" in line and "p95_s" in line for line in members)
    assert all(float(line.rsplit(" ", 1)[1]) <= 8000 for line in members)
    assert knee.startswith("knee: {")


@pytest.mark.slow
def test_own_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["own_networks.py", str(tmp_path), "2"])
    runpy.run_path(str(EXAMPLES / "own_networks.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(Path(path.strip()).is_file() for path in lines[1::2])
