"""Jobs whose front is searched and whose networks are trained by workers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import postgres
import pytest
import s3_server
import torch
from worker_job import AXES, SPACE

from mobinas import cli
from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import published
from mobinas.config import JobConfig, dump_toml, load_config
from mobinas.errors import ArtifactError, ConfigError, DataError, SearchError, TrainingError
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.objective import Objective
from mobinas.metrics.result import SearchResult
from mobinas.pipeline import cluster_work
from mobinas.pipeline.cluster import DATA_FILE, JOB_FILE, NETWORKS_FILE, Cluster, check_complete
from mobinas.pipeline.cluster_networks import each_network
from mobinas.pipeline.context import Contender
from mobinas.pipeline.job import run
from mobinas.pipeline.load import images_of
from mobinas.progress import silent
from mobinas.search.artifacts import Artifacts, Files
from mobinas.search.choice_space import Choices
from mobinas.search.study import pareto_search

ALIKE = ("--set", "search.sampler=random")  # proposals that do not depend on the order of answers


def given(folder: Path, digest: str = "") -> Files:
    """What a job hands out to train one small network."""
    config = load_config("smoke")
    config = JobConfig(data=config.data, images=config.images, train=config.train)
    digest = digest or images_of(config, config.data).digest
    contender = Contender("plain_cnn", "plain_cnn", 8)
    files = {
        JOB_FILE: dump_toml(config),
        DATA_FILE: json.dumps({"name": "digits", "digest": digest}),
        NETWORKS_FILE: json.dumps({"contenders": [contender.to_json()], "epochs": {"plain_cnn": 1}}),
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    return Files(Artifacts(folder / "files", make=True), {name: folder / name for name in files})


def trained(files: Files, folder: Path) -> dict[str, torch.Tensor]:
    with files.at_hand() as attached:
        cluster_work.trained.prepare()
        cluster_work.trained(Choices({"network": "plain_cnn"}))
    assert set(attached) == {"plain_cnn.pt", "plain_cnn.json"}
    assert files.artifacts is not None
    for file in attached.values():
        files.artifacts.fetch(file, folder)
    weights: dict[str, torch.Tensor] = torch.load(folder / "plain_cnn.pt", weights_only=True)
    return weights


def test_other_images_are_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with given(tmp_path, "0" * 64).at_hand(), pytest.raises(DataError, match=r"not those of the job.*--data"):
        cluster_work.trained.prepare()
    monkeypatch.setenv(cluster_work.DATA_ENV, str(tmp_path / "elsewhere"))
    with given(tmp_path).at_hand(), pytest.raises(DataError, match="elsewhere"):
        cluster_work.trained.prepare()


def test_contenders_travel_as_plain_data() -> None:
    body = CellBody(published("DARTS_V2"), 4, 8)
    for contender in (
        Contender("plain_cnn", "plain_cnn", 8),
        Contender.finalist(Architecture(body, 16, Task(10, 1))),
    ):
        assert Contender.from_json(json.loads(json.dumps(contender.to_json()))) == contender


def test_several_gpus_train_under_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert cluster_work.processes() == 4
    command = cluster_work.torchrun(4, tmp_path, "net", tmp_path / "out")
    assert command[1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
    assert command[6:8] == ["-m", "mobinas.pipeline.cluster_work"]
    assert command[8:] == [str(tmp_path), "net", str(tmp_path / "out"), str(os.getpid())]
    monkeypatch.setenv(cluster_work.PROCESSES_ENV, "1")
    assert cluster_work.processes() == 1


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    files = given(tmp_path)
    alone = trained(files, tmp_path / "one")
    monkeypatch.setenv(cluster_work.PROCESSES_ENV, "2")
    together = trained(files, tmp_path / "two")
    assert alone.keys() == together.keys()
    histories = [json.loads((tmp_path / n / "plain_cnn.json").read_text()) for n in ("one", "two")]
    assert histories[1]["losses"] == pytest.approx(histories[0]["losses"], rel=0.2)
    (tmp_path / DATA_FILE).write_text(json.dumps({"digest": "0" * 64}))
    with pytest.raises(TrainingError, match="under torchrun: the images of 'digits' here are not those"):
        cluster_work._run_torchrun(cluster_work.torchrun(2, tmp_path, "plain_cnn", tmp_path / "two"))


def start(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "mobinas", *command], env=environment, stdout=out, stderr=out
        )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same job without workers."""
    folder = tmp_path_factory.mktemp("alone")
    job = start(["run", "smoke", "--out", str(folder / "run"), *ALIKE], folder / "log")
    assert job.wait(200) == 0, (folder / "log").read_text()
    return folder / "run"


def same(one: Path, other: Path) -> bool:
    names = ["front.json", *(str(path.relative_to(one)) for path in (one / "trained").iterdir())]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def wait_for(there: Callable[[], bool], job: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 200
    while not there():
        assert job.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.1)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where files of a job lie."""
    if request.param == "folder":
        yield str(tmp_path / "files")
        return
    with s3_server.serving() as port:
        for name, value in s3_server.settings(port).items():
            monkeypatch.setenv(name, value)
        yield f"s3://{s3_server.BUCKET}/mobinas"


@pytest.mark.slow
def test_a_job_by_workers_is_the_job_alone_though_a_worker_is_killed(
    tmp_path: Path, alone: Path, place: str
) -> None:
    shared, journal, log = tmp_path / "shared", tmp_path / "study", tmp_path / "log"
    where = ["--storage", str(journal), "--study", "job"]
    places = ["--artifacts", place, "--out", str(shared)]
    job = start(["run", "smoke", *ALIKE, *where, *places, "--workers", "0"], log)
    wait_for(lambda: journal.exists() and "mobinas:work" in journal.read_text(), job, log)
    first, second = (start(["worker", *where], tmp_path / f"worker{k}") for k in range(2))
    wait_for((shared / "train.json").exists, job, log)
    first.send_signal(signal.SIGKILL)
    assert job.wait(200) == 0, log.read_text()
    assert (first.wait(), second.wait(30)) == (-signal.SIGKILL, 0)
    assert same(alone, shared)
    logs = (log, tmp_path / "worker0", tmp_path / "worker1")
    assert not any(s3_server.SECRET in path.read_text() for path in logs)


@pytest.mark.slow
def test_a_job_by_workers_outlasts_its_first_process_and_the_server(tmp_path: Path, alone: Path) -> None:
    shared, log = tmp_path / "shared", tmp_path / "log"
    for server in postgres.serving():
        where = ["--storage", server.url(), "--study", "job"]
        places = ["--artifacts", str(tmp_path / "files"), "--out", str(shared)]
        command = ["run", "smoke", *ALIKE, *where, *places, "--workers", "0"]
        server.stop()
        worker = None
        job = start(command, log)
        assert job.wait(60) == 1 and "refused" in log.read_text()
        server.start()
        for there in ((shared / "front.toml").exists, (shared / "train.json").exists):
            job = start(command, log)
            wait_for((shared / "elastic.pt").exists, job, log)
            worker = worker or start(["worker", *where], tmp_path / "worker")
            wait_for(there, job, log)
            time.sleep(1)
            job.kill()
            job.wait()
        job = start(command, log)
        server.stop()
        time.sleep(1)
        server.start()
        assert job.wait(200) == 0, log.read_text()
        assert worker is not None and worker.wait(60) == 0, (tmp_path / "worker").read_text()
        assert postgres.PASSWORD not in log.read_text() + (tmp_path / "worker").read_text()
    assert same(alone, shared)


def test_a_failed_training_is_tried_again_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(str(tmp_path / "study"), str(tmp_path / "files"), "job")
    seconds, job = Objective("seconds", "minimize", "s"), "worker_job:train_unless_broken"
    (tmp_path / "train.json").write_text("{}")

    def run_once() -> set[str]:
        files = {NETWORKS_FILE: tmp_path / "train.json"}
        return set(each_network(cluster, "train", ["small", "large"], job, seconds, files, silent))

    monkeypatch.setenv("CALLS", str(tmp_path))
    monkeypatch.setenv("BROKEN", "large")
    for _ in range(2):
        with pytest.raises(TrainingError, match="of large failed: MemoryError: out of memory; mend it and"):
            run_once()
    monkeypatch.delenv("BROKEN")
    assert run_once() == {"small", "large"}
    assert [(tmp_path / name).read_text() for name in ("small", "large")] == ["x", "xxx"]


def test_a_stopped_search_ends_the_job() -> None:
    axes = (Objective("seconds", "minimize"),)
    found = SearchResult(axes, ParetoFront.of((), axes), ())
    check_complete(found)
    with pytest.raises(KeyboardInterrupt):
        check_complete(replace(found, interrupted=True))


@pytest.mark.parametrize(
    "options", [["--study", "x"], ["--artifacts", "y"], ["--storage", "z"], ["--workers", "3"]]
)
def test_half_a_place_is_refused(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOBINAS_STORAGE", raising=False)
    with pytest.raises(ConfigError, match="needs --study, --artifacts, and --storage"):
        cli.app(["run", "smoke", *options], standalone_mode=False)
    monkeypatch.setenv("MOBINAS_STORAGE", "postgresql://host/of-other-jobs")
    assert cli._cluster(None, os.environ["MOBINAS_STORAGE"], None, None) is None


def test_two_jobs_of_one_name_are_refused(tmp_path: Path) -> None:
    cluster = Cluster(str(tmp_path / "study"), str(tmp_path / "files"), "job")
    config = load_config("smoke")
    with cluster.announced(config):
        with pytest.raises(SearchError, match="is being run by another process"):
            run(config, tmp_path / "run", cluster=cluster)
        part: dict[str, Any] = {**cluster.part("front"), "workers": 0, "sampler": "random", "timeout_s": 0.0}
        pareto_search(SPACE, "worker_job:evaluate", AXES, n_trials=1, **part)
    refused = pytest.raises(SearchError, match=r"--study job in .* another search: its seed is 0, not 7")
    with refused, cluster.announced(load_config("smoke", {"seed": 7})):
        pass
    with cluster.announced(load_config("smoke", {"train.epochs": 7, "threads": 1})):
        pass


def test_what_would_fail_late_fails_at_once(tmp_path: Path) -> None:
    cluster = Cluster(str(tmp_path / "study"), "/dev/null/files", "job")
    with pytest.raises(ArtifactError, match="cannot make the folder"):
        run(load_config("smoke"), tmp_path / "run", cluster=cluster)
