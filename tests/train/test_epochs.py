from pathlib import Path

import pytest
import torch

from mobinas.errors import TrainingError
from mobinas.train.epochs import enough_memory

CPU_TEXT = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: 12 bytes"
)
ERRORS = (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(CPU_TEXT), MemoryError())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_out_of_memory_is_one_line_with_a_remedy(error: Exception) -> None:
    with (
        pytest.raises(TrainingError, match=r"^the search ran out of memory: halve x \(now 8\)$"),
        enough_memory("the search", "x (now 8)"),
    ):
        raise error
    with (
        pytest.raises(TrainingError, match=r"halve x; the same command goes on from the last checkpoint$"),
        enough_memory("the search", "x", Path("checkpoint.pt")),
    ):
        raise error


def test_the_cpu_really_says_so() -> None:
    with pytest.raises(TrainingError, match="ran out of memory"), enough_memory("the search", "x"):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), enough_memory("the search", "x"):
        raise RuntimeError("shapes do not fit")
