"""A device that is not the CPU, on machines without a GPU.

Fake tensors have a device but no values, and torch refuses to combine those of two devices. Their device is
"meta", as builds of torch for the CPU cannot index fake "cuda" tensors. Not everything is refused: torch
lets convolutions and indices pass whatever their device.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

ELSEWHERE = torch.device("meta")


class _Answers(TorchDispatchMode):
    """Stands in where a program asks for values: all are true, 1.0 or 0, and no entry is found to be zero."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return _value(args[0].dtype)
        if func is torch.ops.aten.nonzero.default:
            return args[0].new_zeros((args[0].numel(), args[0].ndim), dtype=torch.int64)
        if func is torch.ops.aten.exponential_.default:  # fake tensors take no generator there
            return args[0]
        return func(*args, **(kwargs or {}))


def _value(dtype: torch.dtype) -> float | int | bool:
    return True if dtype == torch.bool else 1.0 if dtype.is_floating_point else 0


@contextlib.contextmanager
def fake_values() -> Iterator[None]:
    """Inside, tensors have a device and a shape, but no values."""
    with FakeTensorMode(allow_non_fake_inputs=True), _Answers():
        yield
