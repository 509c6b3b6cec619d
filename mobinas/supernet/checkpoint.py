"""States of a supernet's training on disk: whole or absent, and never those of another training."""

import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from mobinas.errors import TrainingError
from mobinas.files import write_atomic
from mobinas.train.splits import Part


def identity_of(space: Any, settings: Any, seed: int, *parts: Part) -> dict[str, str]:
    """What a checkpoint must have in common with the training that goes on from it."""
    sizes = ", ".join(f"{len(part)} images, labels {int(part.labels.sum())}" for part in parts)
    return {"space": str(space), "settings": str(settings), "seed": str(seed), "data": sizes}


def save_state(path: Path, identity: Mapping[str, str], state: Mapping[str, Any]) -> None:
    """Writes tensors and plain data in one step.

    Raises:
        RunFolderError: The file cannot be written; an older one stays.
    """
    buffer = io.BytesIO()
    torch.save({"identity": dict(identity), "state": dict(state)}, buffer)
    write_atomic(path, buffer.getvalue())


def load_state(path: Path, identity: Mapping[str, str]) -> dict[str, Any] | None:
    """Reads what `save_state` wrote.

    Args:
        path: The file.
        identity: Must equal the one saved.

    Returns:
        The state; None where the file is missing or torn.

    Raises:
        TrainingError: The state is of another training; the text names what differs.
    """
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        found, state = data["identity"], data["state"]
    except (OSError, EOFError, RuntimeError, UnpicklingError, KeyError, ValueError, TypeError):
        return None
    for key, wanted in identity.items():
        if found.get(key) != wanted:
            raise TrainingError(
                f"checkpoint {path} is of another {key} ({found.get(key)} instead of {wanted}); "
                "delete it or choose another folder"
            )
    return dict(state)


def check_batch_size(batch_size: int, sizes: Mapping[str, int]) -> None:
    """Refuses a batch that some part of the data cannot fill.

    Raises:
        TrainingError: Names part and size.
    """
    for name, size in sizes.items():
        if batch_size > size:
            raise TrainingError(
                f"batch_size is {batch_size}, but part '{name}' has {size} images; set it to {size} or less"
            )


def shuffled_batches(n: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Positions in random order, in batches whose sizes differ by at most one."""
    return torch.randperm(n, generator=generator).tensor_split(max(1, round(n / batch_size)))


def endless_batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`shuffled_batches`, shuffled anew whenever they are used up."""
    while True:
        yield from shuffled_batches(n, batch_size, generator)


def cosine(start: float, end: float, step: float, steps: float) -> float:
    """Half a cosine from `start` at step 0 towards `end` at step `steps`."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(max(step, 0.0) / max(steps, 1.0), 1.0)))
