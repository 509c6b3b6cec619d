"""The measuring worker as one file."""

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from mobinas.targets.target import Target
from mobinas.testing import sample
from predictors.runners import ModelFile
from predictors.runners.archive import worker_archive
from predictors.runners.reference import reference_model
from predictors.worker.measuring import Beside, MeasuringPlan, Model
from predictors.worker.messages import request_line

PLAN = MeasuringPlan(rounds=3, max_rounds=3, block_s=0.002)
REFERENCE = reference_model().SerializeToString(deterministic=True)
# Runs a zipapp where importing anything that a bare device lacks fails, and says what it loaded of ours.
BARE = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "pydantic", "onnx", "optuna", "typer", "scipy", "sklearn", "rich"}:
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
try:
    runpy.run_path(sys.argv[1], run_name="__main__")
finally:
    ours = [m for n, m in sys.modules.items() if n.split(".")[0] in ("mobinas", "predictors")]
    assert ours and all(m.__file__.startswith(sys.argv[1]) for m in ours), ours
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed worker."""
    path = tmp_path_factory.mktemp("worker") / "worker.pyz"
    path.write_bytes(worker_archive())
    return path


def _answers(worker: Path, request: bytes) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", BARE, worker],
        input=request,
        capture_output=True,
        cwd=worker.parent,
        check=False,
    )
    assert b"AssertionError" not in done.stderr, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("part", [False, True])
def test_it_needs_neither_torch_nor_mobinas(worker: Path, part: bool) -> None:
    data = ModelFile.of(sample(0)).content()
    line = request_line(Target.local(), asdict(PLAN), REFERENCE, [Model("net", data)], part=part)
    answers = _answers(worker, line + REFERENCE + data)
    assert [a["kind"] for a in answers if a["kind"] != "progress"] == ["hello", "measured", "end"]
    (measured,) = (a for a in answers if a["kind"] == "measured")
    assert len(measured["blocks_s"]) == len(measured["reference_blocks_s"]) == 3
    assert measured["reference_level_s"] > 0
    assert measured["blocks_per_process"] == ([3] if part else [2, 1])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda line, files: line.replace(b'"protocol": 3', b'"protocol": 99') + files,
            "protocol 3, the request 99",
        ),
        (lambda line, files: line + files[:-1], "ended early"),
        (lambda line, files: line + files[:-1] + b"x", "net arrived damaged"),
        (lambda line, files: b"nonsense\n", "not a request"),
        (lambda line, files: line.replace(b'"rounds": 3', b'"rounds": 0') + files, "rounds is 0"),
    ],
)
def test_a_bad_request_is_answered_in_words(worker: Path, change: Any, text: str) -> None:
    data = ModelFile.of(sample(0)).content()
    line = request_line(Target.local(), asdict(PLAN), REFERENCE, [Model("net", data)])
    last = _answers(worker, change(line, REFERENCE + data))[-1]
    assert last["kind"] == "error" and text in last["text"]


def test_weights_beside_a_model_are_written_to_its_folder_alone(worker: Path) -> None:
    data = ModelFile.of(sample(0)).content()
    beside = (Beside("../../outside", hashlib.sha256(b"x").hexdigest(), 1),)
    line = request_line(Target.local(), asdict(PLAN), REFERENCE, [Model("net", data, beside=beside)])
    last = _answers(worker, line + REFERENCE + data + b"x")[-1]
    assert last["kind"] == "error" and "'../../outside', which leaves its folder" in last["text"]


def test_its_language_is_that_of_python_3_9(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(worker_archive())) as archive:
        archive.extractall(tmp_path)
    vermin = Path(sys.executable).with_name("vermin")
    # Annotations stay text there (``from __future__ import annotations``), so they are not judged.
    command = [vermin, "--target=3.9-", "--violations", "--no-tips", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_same_sources_give_the_same_bytes() -> None:
    again = worker_archive.__wrapped__()
    assert again == worker_archive()
