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

from mobinas.errors import ConfigError, TrainingError
from mobinas.progress import Progress, silent
from mobinas.train import parallel

T = TypeVar("T")

# The others wait while the first one measures and searches.
_PATIENCE = datetime.timedelta(days=7)
_BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


@contextlib.contextmanager
def group(device: str) -> Iterator[None]:
    """Joins the processes that torchrun started, until the end; alone, does nothing.

    Args:
        device: The job's; see `find_device`.

    Raises:
        ConfigError: More processes than GPUs.
    """
    if not _started_together() or dist.is_initialized():
        yield
        return
    on_gpu, own = device != "cpu" and torch.cuda.is_available(), int(os.environ.get("LOCAL_RANK", "0"))
    if on_gpu and own >= torch.cuda.device_count():
        raise ConfigError(
            f"more processes than the {torch.cuda.device_count()} GPU(s) here; "
            "lower --nproc-per-node, or set device to 'cpu'"
        )
    if on_gpu:
        torch.cuda.set_device(own)
    dist.init_process_group(_BACKENDS["cuda" if on_gpu else "cpu"], timeout=_PATIENCE)
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

    What goes wrong in such a call ends this process, and torchrun then ends the others: they wait for it.

    Raises:
        TrainingError: The first process ended without a word; its own message says why.
    """
    while True:
        call: list[Any] = [None]
        try:
            dist.broadcast_object_list(call, 0)
        except (RuntimeError, dist.DistError) as error:
            raise TrainingError("the first process has ended; its message says why") from error
        if call[0] is None:
            return
        work, arguments = call[0]
        work(*arguments, progress=silent)


def is_helper() -> bool:
    """Whether torchrun started this process to help another one."""
    return _started_together() and os.environ["RANK"] != "0"


def _started_together() -> bool:
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
