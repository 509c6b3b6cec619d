"""Jobs of several processes."""

import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from mobinas.errors import MobinasError, TrainingError
from mobinas.pipeline.front_file import load_front
from mobinas.pipeline.group import dismiss, follow, group, is_helper, lead
from mobinas.pipeline.process_pool import worker_count
from mobinas.progress import Progress
from mobinas.train import parallel


def _count(folder: Path, word: str, *, progress: Progress) -> float:
    progress(1, 1, word)
    (number,) = parallel.total((1.0,))
    (folder / f"{word}-{os.environ['RANK']}").touch()
    return number


def _short_of_memory(*, progress: Progress) -> float:
    if os.environ["RANK"] == "1":
        raise MobinasError("out of memory here alone")
    return parallel.total((1.0,))[0]


def _joined(rank: int, port: int) -> AbstractContextManager[None]:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return group("cpu")


def _process(rank: int, port: int, folder: Path, dismissed: bool, pipe: Connection) -> None:
    told: list[str] = []
    try:
        with _joined(rank, port):
            if rank:
                assert is_helper()
                follow()
                pipe.send("followed")
                return
            assert lead(_count, folder, "good", progress=lambda *said: told.append(said[2])) == 2
            assert worker_count(None, 9, torch.device("cpu")) == 1
            if dismissed:
                dismiss()
        pipe.send(told)
    except TrainingError as error:
        pipe.send(str(error))


def _failing(rank: int, port: int, pipe: Connection) -> None:
    try:
        with _joined(rank, port):
            if rank:
                follow()
            else:
                lead(_short_of_memory)
    except (MobinasError, RuntimeError) as error:
        pipe.send(type(error).__name__)


def _both(target: Callable[..., None], *arguments: object) -> list[Any]:
    """What two processes send."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(2):
        here, there = context.Pipe()
        processes.append(context.Process(target=target, args=(rank, port, *arguments, there)))
        processes[-1].start()
        pipes.append(here)
    sent = [pipe.recv() if pipe.poll(120) else None for pipe in pipes]
    for process in processes:
        process.join(30)
        process.kill()
    return sent


@pytest.mark.slow
def test_an_error_in_one_process_alone_ends_all() -> None:
    assert _both(_failing) == ["RuntimeError", "MobinasError"]


@pytest.mark.slow
@pytest.mark.parametrize("dismissed", [True, False])
def test_the_others_join_what_the_first_leads_until_it_ends(tmp_path: Path, dismissed: bool) -> None:
    first, second = _both(_process, tmp_path, dismissed)
    assert first == ["good"]  # what is told in the others is not shown
    assert second == "followed" if dismissed else "the first process has ended" in str(second)
    assert {path.name for path in tmp_path.iterdir()} == {"good-0", "good-1"}


def test_alone_a_call_is_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with group("cpu"):
        assert lead(_count, tmp_path, "alone") == 1
        dismiss()
    assert not is_helper()


@pytest.mark.slow
def test_a_job_under_torchrun(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    job = ["-m", "mobinas", "run", "smoke", "--out", str(tmp_path / "run"), "--set", "target=fake"]
    done = subprocess.run([*command, *job], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    front = load_front(tmp_path / "run")
    assert front.rows and done.stdout.count("report:") == 1
    assert all((front.directory / row.onnx).exists() for row in front.rows)
