"""Commands about devices."""

from pathlib import Path

import onnx
import pytest
from onnx_models import convolved, mapped
from typer.testing import CliRunner

from mobinas.arch.architecture import Architecture
from mobinas.cli import app
from mobinas.errors import MeasurementError, MobinasError, PredictorError, TargetError
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_writer import write_onnx
from mobinas.testing import sample
from predictors.profile import WIDE_SPACE
from predictors.runners.fake import FakeRunner


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's targets lie in a folder of the test."""
    monkeypatch.setenv("MOBINAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def said(*arguments: str | Path) -> str:
    """What a command prints; its expected errors are raised."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)
    if isinstance(result.exception, MobinasError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def written(path: Path, architecture: Architecture) -> Path:
    """An architecture as a file."""
    path.write_bytes(write_onnx(lower(architecture)).SerializeToString())
    return path


@pytest.mark.slow
def test_a_device_is_named_profiled_and_asked(home: Path, tmp_path: Path) -> None:
    assert "local  CPUExecutionProvider, 1 thread(s), batch 1, no profile" in said("target", "list")
    said("target", "add", "pi", "--provider", "fake", "--threads", "4", "--affinity", "0", "--affinity", "2")
    assert (home / "targets" / "pi" / "target.toml").exists()
    assert "affinity = [0, 2]" in said("target", "show", "pi")
    profiled = said("target", "profile", "pi", "--networks", "16")
    assert "held out from 16 networks" in profiled
    assert [line for line in profiled.splitlines() if line.startswith("drawn: ")]
    for name in ("predictor.png", "costs.png"):
        assert (home / "targets" / "pi" / name).read_bytes().startswith(b"\x89PNG")
    log = home / "targets" / "pi" / "measurements.jsonl"
    before = log.read_text()
    assert "held out from 20" in said("target", "profile", "pi", "--networks", "20")
    assert log.read_text().startswith(before)  # only four more
    assert "pi  fake, 4 thread(s), batch 1, profiled" in said("target", "list")
    assert "Spearman" in said("target", "show", "pi")

    alike = written(tmp_path / "alike.onnx", next(iter(WIDE_SPACE.single_op_architectures())))
    answer = said("predict", alike, "--target", "pi")
    assert "90 % interval" in answer and " x, " in answer
    measured = said("measure", alike, "--target", "pi", "--log", tmp_path / "log.jsonl")
    predicted_ms = float(answer.split(": ")[1].split(" ms")[0])
    row = next(line for line in measured.splitlines() if str(alike) in line)
    measured_ms = float(row.split("|")[2])
    assert predicted_ms == pytest.approx(measured_ms, rel=0.2)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


@pytest.mark.slow
def test_open_sizes_are_bound_to_measure_and_predict(tmp_path: Path) -> None:
    said("target", "profile", "fake", "--networks", "16")
    model = onnx.load(written(tmp_path / "net.onnx", sample(0)))
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"size{axis}"
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "open.onnx")
    latencies_ms = {}
    for size in (8, 32):
        bind = ("--bind", f"size2={size}", "--bind", f"size3={size}", "--target", "fake")
        answer = said("predict", tmp_path / "open.onnx", *bind)
        latencies_ms[size] = float(answer.split("open.onnx: ")[1].split(" ms")[0])
        assert "verdict" in said("measure", tmp_path / "open.onnx", *bind)
    assert latencies_ms[8] < latencies_ms[32]
    for command, error in (("measure", MeasurementError), ("predict", PredictorError)):
        with pytest.raises(error, match="--bind size2=224 --bind size3=224"):
            said(command, tmp_path / "open.onnx", "--target", "fake")
        with pytest.raises(MobinasError, match="no open dimension 'size'; did you mean 'size"):
            said(command, tmp_path / "open.onnx", "--target", "fake", "--bind", "size=8")


def test_a_model_without_a_batch_has_no_throughput(tmp_path: Path) -> None:
    chw, images = tmp_path / "chw.onnx", tmp_path / "images.onnx"
    onnx.save(mapped([3, 8, 8]), chw)
    onnx.save(convolved(["batch", 3, 8, 8], ["batch", 4]), images)
    answer = said("measure", chw, images, "--target", "fake", "--throughput-batch", "4")
    reason = "no dimension is known to be a batch (x is [3, 8, 8])"
    assert f"no images per s: {reason}" in answer and f"no throughput of {chw}: {reason}" in answer
    answer = said("measure", images, "--target", "fake", "--bind", "batch=8", "--throughput-batch", "4")
    latency, beside = [line.split("|") for line in answer.splitlines() if line.startswith(f"| {images}")]
    assert float(beside[4]) == pytest.approx(8000 / float(latency[2]), rel=0.1)
    assert f"no throughput of {images}: one inference takes 8 images" in answer


def test_what_models_take_beside_time_is_told(tmp_path: Path) -> None:
    open_batch = written(tmp_path / "open.onnx", sample(0))
    fixed = onnx.load(open_batch)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(fixed, tmp_path / "fixed.onnx")
    short = ("--rounds", "3", "--max-rounds", "3", "--throughput-batch", "4")
    answer = said("measure", open_batch, tmp_path / "fixed.onnx", *short)
    rows = [line.split("|") for line in answer.splitlines() if line.startswith(f"| {open_batch}")]
    assert [len(row) for row in rows] == [8, 7, 6]
    megabytes, _, per_second, _ = map(str.strip, rows[1][2:-1])
    assert float(megabytes) == pytest.approx(open_batch.stat().st_size / 1e6, rel=0.01)
    assert float(per_second) == pytest.approx(1000 / float(rows[0][2]), rel=0.01)
    assert float(rows[2][2]) > 0
    assert (
        f"no throughput of {tmp_path / 'fixed.onnx'}: fixed.onnx: the model has a fixed batch of 1" in answer
    )
    assert "no energy: the fake device takes none" in said("measure", open_batch, "--target", "fake")


@pytest.mark.slow
def test_a_model_unlike_the_profile_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said("target", "profile", "fake", "--networks", "16")
    tiny = written(tmp_path / "tiny.onnx", sample(0))
    assert "unlike what was profiled, so measured: " in said("predict", tiny, "--target", "fake")

    def gone(*_: object) -> None:
        raise MeasurementError("the device is gone")

    monkeypatch.setattr(FakeRunner, "measure", gone)
    assert "and not measured: the device is gone" in said("predict", tiny, "--target", "fake")


def test_check_runs_the_reference_model() -> None:
    assert "the reference model takes" in said("target", "check", "fake")
    with pytest.raises(TargetError, match="NoSuchProvider"):
        said("target", "add", "odd", "--provider", "NoSuchProvider")
        said("target", "check", "odd")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("target", "add", "local"), TargetError, "built in"),
        (("target", "add", "../out"), TargetError, "letters, digits"),
        (("target", "add", "a.toml"), TargetError, "must not end in .toml"),
        (("target", "add", "x", "--threads", "0"), TargetError, "threads is 0"),
        (("target", "show", "loca"), TargetError, "did you mean 'local'"),
        (("predict", "x.onnx"), PredictorError, "mobinas target profile local"),
        (("measure", "x.onnx", "--bind", "height"), MeasurementError, "such as height=224"),
        (("measure", "x.onnx", "--bind", "=3"), MeasurementError, "such as height=224"),
        (("measure", "gone.onnx", "--target", "fake"), MeasurementError, "gone.onnx"),
    ],
)
def test_bad_input_gets_one_line(arguments: tuple[str, ...], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as raised:
        said(*arguments)
    assert "\n" not in str(raised.value)


def test_a_profile_of_other_settings_is_refused(home: Path) -> None:
    said("target", "add", "pi", "--provider", "fake")
    said("target", "profile", "pi", "--networks", "8")
    path = home / "targets" / "pi" / "target.toml"
    path.write_text(path.read_text().replace("threads = 1", "threads = 2"))
    with pytest.raises(PredictorError, match="settings of target 'pi' have changed"):
        said("target", "show", "pi")


@pytest.mark.slow
def test_names_and_files_do_not_collide(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said("target", "add", "pi", "--provider", "fake")
    said("target", "profile", "pi", "--networks", "8")
    Path("pi").write_text("a file of the same name")
    Path("pi.toml").write_text('provider = "fake"\nthreads = 2\n')
    said("target", "profile", "pi.toml", "--networks", "9")
    assert "threads = 2" in said("target", "show", "pi.toml")
    assert "held out from 8" in said("target", "show", "pi")  # neither took the other's place
    path = home / "targets" / "pi" / "target.toml"
    path.write_text(path.read_text().replace('"pi"', '"quince"'))
    with pytest.raises(TargetError, match="name is 'quince'; it must be 'pi'"):
        said("target", "show", "pi")


def test_a_name_is_taken_once() -> None:
    said("target", "add", "pi")
    with pytest.raises(TargetError, match="there is a target 'pi' already"):
        said("target", "add", "pi")
