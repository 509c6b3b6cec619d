"""One training by several processes, as a `torch.distributed` process group.

All processes call the same function with the same arguments and hold the same weights. They draw the same
numbers, each computes its share of every batch, and gradients, losses and rewards are added up, so that all
take the same steps: those of one process with the whole batch. One thing differs: batch normalisation takes
the statistics of each share (`torch.nn.SyncBatchNorm.convert_sync_batchnorm` makes a network of the usual
layers take them of the whole), and running statistics are those of the process. The first process alone
reads and writes checkpoints.

Without a process group, nothing here does anything.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mobinas.errors import MobinasError

T = TypeVar("T")


def processes() -> int:
    """How many there are; 1 without a process group."""
    return dist.get_world_size() if _grouped() else 1


def is_first() -> bool:
    """Whether this is the process that writes files."""
    return not _grouped() or dist.get_rank() == 0


def share(batch: Tensor) -> Tensor:
    """This process's part of a batch, along its first axis; shares differ by at most one."""
    return batch.tensor_split(dist.get_world_size())[dist.get_rank()] if _grouped() else batch


def fraction(batch: Tensor) -> float:
    """How much of a batch this process's share is; a mean loss is multiplied with it before its gradient."""
    return len(share(batch)) / len(batch)


def add_up(tensors: Iterable[Tensor]) -> None:
    """Replaces float tensors by their sums over all processes."""
    tensors = list(tensors)
    if not _grouped() or not tensors:
        return
    # One message; thousands of small ones would take most of a step.
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


def gradients(loss: Tensor, parameters: Sequence[nn.Parameter]) -> tuple[Tensor | None, ...]:
    """Gradients of the sum of all processes' losses; None for a parameter that it does not depend on."""
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    add_up(g for g in found if g is not None)
    return found


def total(numbers: Sequence[float]) -> tuple[float, ...]:
    """The sum of each number over all processes."""
    if not _grouped():
        return tuple(numbers)
    device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
    sums = torch.tensor(numbers, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return tuple(sums.tolist())


def start_alike(tensors: Iterable[Tensor]) -> None:
    """Gives all processes the values of the first."""
    for tensor in tensors if _grouped() else ():
        dist.broadcast(tensor.detach(), 0)


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes of plain data and tensors, for all; its error, too, is raised in all."""
    if not _grouped():
        return make()
    made: list[Any] = [None, None]
    if is_first():
        try:
            made[0] = make()
        except MobinasError as error:
            made[1] = error
    dist.broadcast_object_list(made, 0)
    if made[1] is not None:
        raise made[1]
    result: T = made[0]
    return result


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()
