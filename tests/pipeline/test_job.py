"""The main job on an invented device: complete, refused on bad input, and the same after kill -9 anywhere."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from exporters.bundle import ExportBundle
from mobinas.arch.architecture import Architecture
from mobinas.config import load_config
from mobinas.errors import (
    ArchitectureError,
    ConfigError,
    DataError,
    Infeasible,
    MobinasError,
    RunFolderError,
    TargetError,
)
from mobinas.pipeline.front_file import load_front
from mobinas.pipeline.job import run
from mobinas.pipeline.proxy_check import proxy_check
from mobinas.train.data import load_data
from mobinas.train.splits import Splits, split
from predictors.models.latency import LatencyPredictor

TINY = {"search.trials": 4, "train.finalists": 2, "train.epochs": 1}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "smoke"
    _complete(_start(directory))
    return directory


def _start(directory: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mobinas", "run", "smoke", "--out", str(directory)]
    return subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with SIGINT ignored, which a child would inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _complete(process: "subprocess.Popen[str]") -> str:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


def test_everything_that_was_promised_is_there(finished: Path) -> None:
    with (finished / "front.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        assert (finished / row["onnx"]).is_file()
        assert (finished / row["onnx"]).with_name("manifest.json").is_file()
        assert (
            0 <= float(row["test_ci_low"]) <= float(row["test_accuracy"]) <= float(row["test_ci_high"]) <= 1
        )
        low, high = float(row["latency_ci_low_ms"]), float(row["latency_ci_high_ms"])
        assert low <= float(row["latency_ms"]) <= high
    assert [row["pick"] for row in rows].count("True") == 1
    for name in ("report.html", "plots/tradeoff.png", "plots/primitives.png", "measurements.jsonl"):
        assert (finished / name).stat().st_size > 0
    for name in ("job.toml", "study.journal"):
        assert (finished / name).stat().st_size > 0
    assert (finished / "baselines/plain_cnn/model.onnx").is_file()


def test_every_model_tells_its_recalls(finished: Path) -> None:
    with (finished / "recall.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    front = json.loads((finished / "front.json").read_text(encoding="utf-8"))
    models = [c["name"] for c in front["confirmed"]]
    assert len(rows) == len(models) * 2 * 10 and {row["model"] for row in rows} == set(models)
    for row in load_front(finished).rows:
        tested = [one for one in rows if (one["model"], one["part"]) == (row.name, "test")]
        right, n = (sum(int(one[key]) for one in tested) for key in ("right", "images"))
        assert row.test_accuracy == right / n
        recalls = [float(one["recall"]) for one in tested]
        assert row.test_balanced_accuracy == pytest.approx(sum(recalls) / len(recalls))
        results = ExportBundle.load((finished / row.onnx).parent).manifest["results"]
        assert results["test"]["accuracy"] == row.test_accuracy
    with pytest.raises(RunFolderError, match=r"search\.metric was 'accuracy' there, now 'balanced_accuracy'"):
        run(load_config("smoke", {"search.metric": "balanced_accuracy"}), finished)


def test_the_front_is_a_front_of_all_finalists(finished: Path) -> None:
    data = json.loads((finished / "front.json").read_text(encoding="utf-8"))
    points = {
        c["name"]: (c["accuracy"], c["latency_s"]) for c in data["confirmed"] if c["name"] != "plain_cnn"
    }
    undominated = {
        name
        for name, (accuracy, latency_s) in points.items()
        if not any(
            a >= accuracy and s <= latency_s and (a, s) != (accuracy, latency_s) for a, s in points.values()
        )
    }
    assert set(data["members"]) == undominated


def test_a_model_file_classifies_by_its_manifest_alone(finished: Path) -> None:
    from torch.nn.functional import interpolate

    row = load_front(finished).pick()
    manifest = json.loads((finished / row.onnx).with_name("manifest.json").read_text(encoding="utf-8"))
    test = _splits().test
    size = (manifest["resolution"], manifest["resolution"])
    images = interpolate(test.images / 255, size, mode="bilinear", antialias=True, align_corners=False)
    images = (images - manifest["mean"][0]) / manifest["std"][0]
    session = onnxruntime.InferenceSession(finished / row.onnx)
    logits = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    accuracy = np.mean(logits.argmax(1) == test.labels.numpy())
    # The job rounds resized pixels to whole numbers, which may tip one or two images.
    assert accuracy == pytest.approx(row.test_accuracy, abs=2.1 / len(test))


def _splits() -> Splits:
    """The split of the smoke job."""
    return split(load_data("digits", limit=400, seed=0), seed=0)


def test_the_front_is_judged_on_select_and_told_on_test(finished: Path) -> None:
    splits = _splits()
    for row in load_front(finished).rows:
        session = onnxruntime.InferenceSession(finished / row.onnx)
        manifest = json.loads((finished / row.onnx).with_name("manifest.json").read_text(encoding="utf-8"))
        for part, wanted in ((splits.select, row.accuracy), (splits.test, row.test_accuracy)):
            images = splits.normalisation(part.batch(torch.arange(len(part)), manifest["resolution"]))
            logits = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
            right = int((logits.argmax(1) == part.labels.numpy()).sum())
            assert wanted == pytest.approx(right / len(part), abs=1e-9)


def test_pick_prints_the_model_and_its_file(finished: Path) -> None:
    command = [sys.executable, "-m", "mobinas", "pick", str(finished)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert output[0].startswith(load_front(finished).pick().name)
    assert Path(output[1]).is_file()


def test_a_budget_that_no_model_meets_names_the_fastest(finished: Path) -> None:
    front = load_front(finished)
    assert front.pick(max_latency_ms=1e9).accuracy == max(row.accuracy for row in front.rows)
    with pytest.raises(Infeasible, match="the fastest"):
        front.pick(max_latency_ms=1e-6)


@pytest.mark.slow
def test_killed_in_every_step_it_ends_with_the_same_result(finished: Path, tmp_path: Path) -> None:
    directory = tmp_path / "killed"
    for step in range(1, 11):
        process = _start(directory)
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(f"[{step}/10]"):
                break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    _complete(_start(directory))
    for name in ("front.csv", "front.json", "test.json", "profile.json"):
        assert (directory / name).read_text() == (finished / name).read_text(), name
    cells, wanted = (json.loads((d / "supernet.json").read_text()) for d in (directory, finished))
    assert cells["probabilities"] == wanted["probabilities"]
    for row in load_front(finished).rows:
        assert (directory / row.onnx).read_bytes() == (finished / row.onnx).read_bytes()


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_result(finished: Path, tmp_path: Path) -> None:
    directory, rng = tmp_path / "killed", random.Random(0)
    for _ in range(15):
        process = _start(directory)
        time.sleep(rng.uniform(2.0, 9.0))
        process.kill()
        process.communicate()
    _complete(_start(directory))
    for name in ("front.csv", "front.json", "test.json", "profile.json"):
        assert (directory / name).read_text() == (finished / name).read_text(), name


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("most_bytes", [3_000, 90_000])
def test_a_full_disk_is_one_line_and_loses_nothing(most_bytes: int, finished: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({most_bytes}, -1)); "
        "import sys; from mobinas.cli import main; "
        f"sys.argv = ['mobinas', 'run', 'smoke', '--out', {str(directory)!r}]; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("mobinas: ") and "free some space" in last, result.stderr
    _complete(_start(directory))
    assert (directory / "front.csv").read_text() == (finished / "front.csv").read_text()


def test_a_torn_model_is_made_again(finished: Path) -> None:
    row = load_front(finished).rows[0]
    whole = (finished / row.onnx).read_bytes()
    (finished / row.onnx).write_bytes(whole[:100])
    run("smoke", finished)
    assert (finished / row.onnx).read_bytes() == whole


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        ({"data": "digitz"}, DataError, "digits"),
        ({"target": "lokal"}, TargetError, "local"),
        ({"device": "cuda:99"}, MobinasError, "set device to 'auto'"),
        ({"max_latency_ms": 1e-5}, Infeasible, "the fastest architecture"),
        ({"supernet.method": "dart"}, MobinasError, "darts"),
        ({"search.sampler": "nsg2"}, MobinasError, "nsga2"),
        ({"train.baselines": ["plain_cn"]}, MobinasError, "plain_cnn"),
        ({"space.ops": ["none"]}, ArchitectureError, "besides 'none'"),
        ({"space.resolutions": [10]}, ArchitectureError, "multiple of 4"),
        ({"images.limit": 12}, DataError, "too few"),
    ],
)
def test_bad_input_ends_at_once_with_the_fix(
    overrides: dict[str, object], error: type[MobinasError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words) as caught:
        run(load_config("smoke", {**TINY, **overrides}), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "supernet.json").exists()


def test_an_error_is_one_line_and_a_failing_exit(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mobinas",
        "run",
        "smoke",
        "--data",
        "nowhere/",
        "--out",
        str(tmp_path / "x"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    *steps, error = result.stderr.splitlines()
    assert error.startswith("mobinas: ") and steps == ["[1/10] read the images"]


def test_a_folder_of_another_job_is_refused(finished: Path) -> None:
    with pytest.raises(RunFolderError, match="belongs to another job"):
        run(load_config("smoke", {"seed": 7}), finished)


@pytest.mark.slow
def test_the_way_to_the_device_may_change_but_not_its_settings(tmp_path: Path) -> None:
    target, out = tmp_path / "pi.toml", tmp_path / "run"
    config = load_config("smoke", {**TINY, "target": str(target)})
    target.write_text('provider = "fake"\n')
    names = [row.name for row in run(config, out).rows]
    target.write_text('provider = "fake"\npython = "/opt/python3"\n')
    assert [row.name for row in run(config, out).rows] == names
    target.write_text('provider = "fake"\nthreads = 2\n')
    with pytest.raises(RunFolderError, match="another target or machine"):
        run(config, out)


@pytest.mark.slow
def test_a_latency_budget_is_kept(tmp_path: Path, finished: Path) -> None:
    data = json.loads((finished / "front.json").read_text(encoding="utf-8"))
    latencies_ms = sorted(c["latency_s"] * 1e3 for c in data["confirmed"] if c["name"] != "plain_cnn")
    budget_ms = latencies_ms[1] * 1.02
    front = run(load_config("smoke", {"max_latency_ms": budget_ms}), tmp_path / "run")
    assert all(row.latency_ms <= budget_ms for row in front.rows)
    predictor = LatencyPredictor.load(tmp_path / "run" / "predictor")
    manifests = sorted((tmp_path / "run" / "models").glob("*/manifest.json"))
    trained = [Architecture.from_json(json.loads(path.read_text())["architecture"]) for path in manifests]
    predicted_ms = predictor.predict(trained).mean_s * 1e3
    assert (predicted_ms <= budget_ms).all(), "nothing beyond the budget is even trained"


def test_unknown_keys_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        run(load_config("smoke", {"train.epoch": 1}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_says_how_to_continue(tmp_path: Path) -> None:
    process = _start(tmp_path / "run")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("[3/10]"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "mobinas: stopped; the same command continues from here"


@pytest.mark.slow
def test_two_workers_train_what_one_process_trains(tmp_path: Path) -> None:
    for workers in (1, 2):
        overrides = {**TINY, "threads": 1, "train.workers": workers}
        run(load_config("smoke", overrides), tmp_path / str(workers))
    for name in ("front.csv", "front.json", "test.json"):
        assert (tmp_path / "1" / name).read_text() == (tmp_path / "2" / name).read_text(), name


@pytest.mark.slow
def test_a_corrected_job_may_take_the_folder_of_a_failed_one(tmp_path: Path) -> None:
    with pytest.raises(ArchitectureError):
        run(load_config("smoke", {**TINY, "space.resolutions": [10]}), tmp_path / "run")
    assert run(load_config("smoke", TINY), tmp_path / "run").rows


def test_a_torn_predictor_is_fitted_again(finished: Path) -> None:
    front = (finished / "front.csv").read_text()
    for path in (finished / "predictor").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    run("smoke", finished)
    assert (finished / "front.csv").read_text() == front


@pytest.mark.slow
def test_proxy_check_trains_each_architecture_once(finished: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    shutil.copytree(finished, directory)
    command = [sys.executable, "-m", "mobinas", "proxy-check", str(directory)]
    command += ["--architectures", "4", "--epochs", "1", "--images", "64"]
    output = _complete(subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    rows = [line.split("|")[1].strip() for line in output.splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        "inherited weights",
        "synflow",
        "jacob_cov",
        "naswot",
        "grad_norm",
        "parameters",
        "multiply-accumulates",
    ]
    assert "4 architectures are too few to tell" in output
    kept = {path: path.stat().st_mtime_ns for path in (directory / "proxy_check").rglob("*.json")}
    assert len(kept) == 4
    assert (
        _complete(subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        == output
    )
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    (directory / "elastic.pt").unlink()
    with pytest.raises(RunFolderError, match="no trained supernet"):
        proxy_check(directory)


@pytest.mark.slow
def test_the_front_is_frozen_before_the_test_part_is_known(finished: Path, tmp_path: Path) -> None:
    from mobinas.pipeline import confirm

    def closed(*_: object) -> None:
        raise RuntimeError("opened")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confirm, "open_test", closed)
        with pytest.raises(RuntimeError, match="opened"):
            run("smoke", tmp_path / "run")
    frozen = json.loads((tmp_path / "run" / "front.json").read_text())
    assert frozen == json.loads((finished / "front.json").read_text())
    assert not (tmp_path / "run" / "test.json").exists()
