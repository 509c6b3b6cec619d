"""Which images make a batch."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from mobinas.errors import TrainingError
from mobinas.train.parallel import processes

# Batches may be a quarter smaller than asked, and batch normalisation needs two images.
_FEWEST_EACH = 4


def check_batch_size(batch_size: int, sizes: Mapping[str, int]) -> None:
    """Refuses a batch that some part of the data cannot fill, or that is too small to be shared.

    Raises:
        TrainingError: Names part and size, or processes.
    """
    least = _FEWEST_EACH * processes()
    if processes() > 1 and batch_size < least:
        raise TrainingError(
            f"batch_size is {batch_size}, too few for {processes()} processes; set it to {least} or more"
        )
    for name, size in sizes.items():
        if batch_size > size:
            raise TrainingError(
                f"batch_size is {batch_size}, but part '{name}' has {size} images; set it to {size} or less"
            )


def shuffled_batches(n: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Positions in random order, in batches whose sizes differ by at most one; of one image only if asked."""
    most = n if batch_size == 1 else n // 2  # batch normalisation needs two
    return torch.randperm(n, generator=generator).tensor_split(max(1, min(round(n / batch_size), most)))


def endless_batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`shuffled_batches`, shuffled anew whenever they are used up."""
    while True:
        yield from shuffled_batches(n, batch_size, generator)
