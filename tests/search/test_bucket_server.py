"""Files in S3 over HTTP: several processes, and servers that are wrong, refuse, are away or silent."""

import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import s3_server
from worker_job import AXES, SPACE, evaluate_with_files

from mobinas.errors import ArtifactError
from mobinas.search import artifacts
from mobinas.search.artifacts import QUICK, Artifacts
from mobinas.search.parts import announced
from mobinas.search.study import pareto_search

PLACE = f"s3://{s3_server.BUCKET}/some/where"


def use(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with s3_server.serving() as found:
        yield found


def test_processes_share_files_through_a_server_though_one_is_killed(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, s3_server.settings(port))
    (tmp_path / "dead").mkdir()
    (tmp_path / "weights.txt").write_text("w" * 10_000_000)  # more than one part of an upload
    monkeypatch.setenv("DEADLY", str(tmp_path / "dead"))
    options: dict[str, Any] = {"artifacts": PLACE, "files": {"weights.txt": tmp_path / "weights.txt"}}
    options |= {"storage": str(tmp_path / "study"), "workers": 2, "sampler": "random", "seed": 5}
    found = pareto_search(SPACE, evaluate_with_files, AXES, n_trials=4, **options)
    assert list((tmp_path / "dead").iterdir()), "the test kills, after the file was attached"
    place = Artifacts(PLACE)
    (tmp_path / "got").mkdir()
    for evaluation in found.history:
        log = place.fetch(evaluation.files["log.txt"], tmp_path / "got").read_text()
        assert log == f"{evaluation.candidate.name} {'w' * 10_000_000}"


def refused(where: str) -> str:
    with pytest.raises(ArtifactError) as caught:
        Artifacts(where).check()
    assert s3_server.SECRET not in "".join(traceback.format_exception(caught.value))
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_wrong_settings_are_told_in_one_line(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fix = "check the bucket (--artifacts), AWS_ENDPOINT_URL, and your credentials (AWS_ACCESS_KEY_ID, ~/.aws)"
    use(monkeypatch, s3_server.settings(port))
    text = refused("s3://no-bucket/x")
    assert text.startswith("cannot store or read 'check' in s3://no-bucket/x: ")
    assert "bucket does not exist" in text and text.endswith(fix)
    assert 'Invalid bucket name "No_Bucket!"' in refused("s3://No_Bucket!/x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:{s3_server.SECRET}@127.0.0.1:9")
    assert 'Could not connect to the endpoint URL: "http://***@127.0.0.1:9/' in refused(PLACE)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"me:{s3_server.SECRET}@127.0.0.1:{port}")
    assert refused(PLACE).startswith(f"artifacts in S3: Invalid endpoint: ***@127.0.0.1:{port}; see boto3's")


def test_wrong_credentials_are_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server.serving(checked=True) as strict:
        use(monkeypatch, s3_server.settings(strict))
        assert "Key Id you provided does not exist" in refused(PLACE)
        storage = str(tmp_path / "study")
        environment = {**os.environ, "MOBINAS_STORAGE": storage, "PYTHONPATH": os.pathsep.join(sys.path)}
        for command in (
            ["run", "smoke", "--study", "x", "--artifacts", PLACE, "--out", str(tmp_path / "run")],
            ["worker", "--study", "job"],
        ):
            with announced(storage, "job", {}, PLACE):  # which no part ever begins
                done = subprocess.run(
                    [sys.executable, "-m", "mobinas", *command],
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
            assert done.returncode == 1 and s3_server.SECRET not in done.stdout + done.stderr
            (line,) = done.stderr.splitlines()[-1:]
            assert "Key Id you provided does not exist" in line and "your credentials" in line
        assert not list((tmp_path / "run").glob("predictor*"))


def test_a_silent_server_does_not_hold_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "_ANSWER_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        use(monkeypatch, s3_server.settings(silent.getsockname()[1]))
        assert "Read timeout on endpoint URL" in refused(PLACE)


@pytest.mark.slow
def test_a_server_that_is_restarted_loses_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.txt").write_text("w")
    with s3_server.serving() as port:
        for name, value in s3_server.settings(port).items():
            monkeypatch.setenv(name, value)
        place = Artifacts(PLACE)
    began = time.monotonic()
    with pytest.raises(ArtifactError, match="Could not connect"):
        Artifacts(PLACE, attempts=QUICK).check()
    assert time.monotonic() - began < 5
    with ThreadPoolExecutor(1) as pool:
        stored = pool.submit(place.put, tmp_path / "weights.txt", "weights.txt")
        time.sleep(8)
        with s3_server.serving(port):
            place.fetch(stored.result(), tmp_path)
