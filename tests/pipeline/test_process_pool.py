import os
import signal
import time
from pathlib import Path

import pytest
import torch

from mobinas.errors import DataError, TrainingError
from mobinas.pipeline.process_pool import run_all
from mobinas.progress import Progress


def write_pid(folder: Path, key: str, progress: Progress) -> None:
    progress(1, 1, "working")
    (folder / key).write_text(f"{os.getpid()} {torch.get_num_threads()}", encoding="utf-8")


def fail_on_b(folder: Path, key: str, progress: Progress) -> None:
    if key == "b":
        raise DataError("no such image")
    for _ in range(600):
        progress(0, 1, "waiting")
        time.sleep(0.1)
    (folder / key).write_text("finished", encoding="utf-8")


def die(folder: Path, key: str, progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_everything_is_done_once_and_told(workers: int, tmp_path: Path) -> None:
    told = []
    done = list(run_all(write_pid, tmp_path, ["a", "b", "c"], workers, lambda *args: told.append(args)))
    assert sorted(done) == ["a", "b", "c"]
    assert {args[0] for args in told} == {"a", "b", "c"}
    pids = {int((tmp_path / key).read_text(encoding="utf-8").split()[0]) for key in done}
    assert (pids == {os.getpid()}) == (workers == 1)
    assert len(pids) <= workers


def test_an_error_stops_the_others(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(DataError, match="no such image"):
        list(run_all(fail_on_b, tmp_path, ["a", "b"], 2, lambda *_: None))
    # The other worker would have gone on for a minute.
    assert time.monotonic() - started < 50
    assert not (tmp_path / "a").exists()


def test_a_killed_worker_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"train\.workers=1"):
        list(run_all(die, tmp_path, ["a", "b"], 2, lambda *_: None))
