"""Measuring by file."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mobinas.errors import MeasurementError, MobinasError
from mobinas.targets.target import Target
from mobinas.testing import sample
from predictors.measure import load_measurements
from predictors.profile import MEASUREMENTS, load_profile, profile_from_kit
from predictors.runners import MeasuringPlan, ModelFile
from predictors.runners.kit import read_kit, write_kit

TARGET = Target("pi")
PLAN = MeasuringPlan(rounds=3, max_rounds=3, block_s=0.002)


def _run(kit: Path, folder: Path) -> Path:
    """What a user does on the device."""
    with zipfile.ZipFile(kit) as archive:
        archive.extractall(folder)
        assert "python3 worker.pyz < request.bin > result.jsonl" in archive.read("README.txt").decode()
    result = folder / "result.jsonl"
    with (folder / "request.bin").open("rb") as request, result.open("wb") as out:
        subprocess.run([sys.executable, folder / "worker.pyz"], stdin=request, stdout=out, check=False)
    return result


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kit of eight models."""
    path = tmp_path_factory.mktemp("kit") / "kit.zip"
    write_kit(path, [ModelFile.of(sample(k)) for k in range(8)], TARGET, PLAN)
    return path


@pytest.fixture(scope="module")
def result(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What its worker found."""
    return _run(kit, tmp_path_factory.mktemp("device"))


def test_a_result_becomes_measurements_and_a_profile(kit: Path, result: Path, tmp_path: Path) -> None:
    models, measurements = read_kit(kit, result, TARGET)
    assert [m.name for m in measurements] == [sample(k).name for k in range(8)]
    assert [m.file_sha256 for m in measurements] == [model.file_sha256 for model in models]
    predictor = profile_from_kit(TARGET, tmp_path, kit, result)
    assert predictor.report.n == 8
    assert load_profile(TARGET, tmp_path).host == predictor.host == measurements[0].host
    assert load_measurements(tmp_path / MEASUREMENTS) == measurements


def _without_last_line(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[:-1])


def _faster(text: str) -> str:
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        if line["kind"] == "measured":
            line["blocks_s"] = [[s / 2 for s in block] for block in line["blocks_s"]]
    return "".join(json.dumps(line) + "\n" for line in lines)


def _of_protocol_2(text: str) -> str:
    lines = text.replace('"protocol": 3', '"protocol": 2').splitlines()
    sealed = [line for line in lines if '"kind": "hello"' in line or '"kind": "measured"' in line]
    end = json.loads(lines[-1])
    end["answers_sha256"] = hashlib.sha256("".join(sealed).encode()).hexdigest()
    return "\n".join([*lines[:-1], json.dumps(end)]) + "\n"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_without_last_line, "is incomplete"),
        (_faster, "was changed"),
        (lambda text: re.sub(r'.*"model": 3.*\n', "", text), "was changed"),
        (lambda text: text.replace('"host": "', '"host": "another ', 1), "was changed"),
        (lambda text: text.replace('"model": 3, ', "", 1), "was changed"),
        (lambda text: text[:-20], "is not what a kit's worker writes"),
        (lambda text: "", "is incomplete"),
        (_of_protocol_2, "of another version"),
        (lambda text: '{"kind": "error", "text": "no provider"}\n', "the device says: no provider"),
    ],
)
def test_a_result_that_is_not_whole_is_refused(
    kit: Path, result: Path, tmp_path: Path, change: Callable[[str], str], text: str
) -> None:
    changed = tmp_path / "result.jsonl"
    changed.write_text(change(result.read_text()))
    with pytest.raises(MeasurementError, match=text):
        profile_from_kit(TARGET, tmp_path / "profile", kit, changed)
    assert not (tmp_path / "profile").exists()  # nothing is half taken over


def test_kit_result_and_target_belong_together(kit: Path, result: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    write_kit(other, [ModelFile.of(sample(9))], TARGET, PLAN)
    with pytest.raises(MeasurementError, match="of another kit"):
        read_kit(other, result, TARGET)
    with pytest.raises(MeasurementError, match="other settings"):
        read_kit(kit, result, Target("pi", threads=2))
    with pytest.raises(MeasurementError, match="not a kit"):
        read_kit(result, result, TARGET)
    for missing in ((tmp_path / "no.zip", result), (kit, tmp_path / "no.jsonl")):
        with pytest.raises(MobinasError, match="No such file"):
            read_kit(*missing, TARGET)
