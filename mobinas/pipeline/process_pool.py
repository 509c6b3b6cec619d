"""Runs one function over many keys in worker processes, each on its own share of the cores.

Small networks gain little from a second thread and much from a second process: a training step of theirs is
hundreds of short kernels. With one worker, everything stays in this process.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mobinas.errors import TrainingError
from mobinas.processes import cores
from mobinas.progress import Progress
from mobinas.train import parallel
from mobinas.train.splits import Part

_POLL_S = 0.5

Work = Callable[[Any, str, Progress], None]
KeyProgress = Callable[[str, int, int, str], None]


def worker_count(asked: int | None, tasks: int, device: torch.device) -> int:
    """Processes for so many tasks: as asked, or one per core, or one for a GPU; never more than tasks.

    In a process group it is one, as each training already has all processes.
    """
    if parallel.processes() > 1:
        return 1
    return min(asked or (cores() if device.type == "cpu" else 1), tasks)


def run_all(
    work: Work, shared: Any, keys: Sequence[str], workers: int, progress: KeyProgress
) -> Iterator[str]:
    """Calls ``work(shared, key, progress)`` for every key.

    Args:
        work: A function of a module; what it makes, it writes to files.
        shared: Sent to each worker once.
        keys: What to do, in this order; long work first keeps all workers busy to the end.
        workers: Processes; with 1 everything runs here.
        progress: Told ``(key, done, total, text)`` from time to time.

    Yields:
        Each key when its work is done.

    Raises:
        TrainingError: A worker was killed, usually for want of memory.
        MobinasError: What the work raised; the other workers are stopped first.
    """
    if not keys:
        return
    if workers <= 1:
        for key in keys:
            work(shared, key, _bound(progress, key))
            yield key
        return
    context = multiprocessing.get_context("spawn")
    stop, queue = context.Event(), context.SimpleQueue()
    threads = max(1, cores() // workers)
    worker = (work, shared, queue.put, stop.is_set, os.getpid(), threads)
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=worker) as pool:
        waiting = {pool.submit(_call, key): key for key in keys}
        try:
            while waiting:
                finished, _ = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                while not queue.empty():
                    progress(*queue.get())
                for future in finished:
                    future.result()
                    yield waiting.pop(future)
        except BrokenProcessPool as error:
            raise TrainingError(
                "a worker process died: for want of memory (set train.workers=1), or because the script that "
                "called run() lacks 'if __name__ == \"__main__\":' around it"
            ) from error
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True, eq=False)
class PackedPart:
    """Images and labels as NumPy arrays.

    torch would hand tensors over to workers in shared memory, of which containers have little.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    @classmethod
    def of(cls, part: Part) -> "PackedPart":
        """Packs a part."""
        return cls(part.images.numpy(), part.labels.numpy())

    def part(self) -> Part:
        """Unpacks it, without a copy."""
        return Part(torch.from_numpy(self.images), torch.from_numpy(self.labels))


@dataclass(slots=True)
class _Worker:
    """What a worker process was given."""

    work: Work
    shared: Any
    put: Callable[[tuple[str, int, int, str]], None]
    stopped: Callable[[], bool]
    parent: int

    def progress(self, key: str, done: int, total: int, text: str) -> None:
        # A worker whose parent was killed must not go on beside the run that replaces it.
        if self.stopped() or os.getppid() != self.parent:
            os._exit(1)
        self.put((key, done, total, text))


_this: _Worker | None = None


def _begin(
    work: Work,
    shared: Any,
    put: Callable[[tuple[str, int, int, str]], None],
    stopped: Callable[[], bool],
    parent: int,
    threads: int,
) -> None:
    global _this
    torch.set_num_threads(threads)
    _this = _Worker(work, shared, put, stopped, parent)


def _call(key: str) -> None:
    assert _this is not None, "the pool begins each worker first"
    _this.work(_this.shared, key, _bound(_this.progress, key))


def _bound(progress: KeyProgress, key: str) -> Progress:
    def report(done: int, total: int, text: str, /) -> None:
        progress(key, done, total, text)

    return report
