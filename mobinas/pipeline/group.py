"""Processes that torchrun started: the first one runs the job, the others join its trainings.

``torchrun --nproc-per-node N -m mobinas run ...`` starts N processes that all get here. Searching the front,
measuring and exporting stay with the first; whatever trains is called through `lead`, which has all of them
call the same function, and there `mobinas.train.parallel` shares the work.
"""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from mobinas.errors import MobinasError, TrainingError
from mobinas.progress import Progress, silent
from mobinas.train import parallel

T = TypeVar("T")

# The others wait while the first one measures and searches.
_PATIENCE = datetime.timedelta(days=7)
_BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


@contextlib.contextmanager
def group() -> Iterator[None]:
    """Joins the processes that torchrun started, until the end; alone, does nothing."""
    if not _started_together() or dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group(_BACKENDS["cuda" if torch.cuda.is_available() else "cpu"], timeout=_PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def lead(work: Callable[..., T], *arguments: Any, progress: Progress = silent) -> T:
    """Calls ``work(*arguments, progress=progress)``, in a group in all processes at once.

    Args:
        work: A function of a module; it moves what it is given to `find_device`'s device, and leaves writing
            to the first process.
        arguments: Sent to the others, from the CPU.
        progress: Told by the first process alone.

    Returns:
        What the first process found.
    """
    if parallel.processes() > 1:
        dist.broadcast_object_list([(work, arguments)], 0)
    return work(*arguments, progress=progress)


def dismiss() -> None:
    """Tells the others that the job is done."""
    if parallel.processes() > 1:
        dist.broadcast_object_list([None], 0)


def follow() -> None:
    """Joins every call of the first process's `lead`, until it says `dismiss`.

    Raises:
        TrainingError: The first process ended without a word; its own message says why.
    """
    while True:
        call: list[Any] = [None]
        try:
            dist.broadcast_object_list(call, 0)
            if call[0] is None:
                return
            work, arguments = call[0]
            # What goes wrong in all of them alike is for the first one to report.
            with contextlib.suppress(MobinasError):
                work(*arguments, progress=silent)
        except (RuntimeError, dist.DistError) as error:
            raise TrainingError("the first process has ended; its message says why") from error


def is_helper() -> bool:
    """Whether torchrun started this process to help another one."""
    return _started_together() and os.environ["RANK"] != "0"


def _started_together() -> bool:
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
