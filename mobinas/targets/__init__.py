"""Targets (the settings of a device) and measurements (what was seen on one); standard library only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mobinas.errors import MeasurementError

FAKE_PROVIDER = "fake"

Shape = tuple[int, ...]
# Sizes of open dimensions, by their names, in the order of names.
Bindings = tuple[tuple[str, int], ...]


class KernelTime(NamedTuple):
    """One node that the runtime executed.

    Attributes:
        op: What it computes, such as ``Conv`` or ``ReorderInput``.
        inputs: Shapes of its inputs, weights among them; absent optional ones are left out.
        output: Shape of its first output.
        blocked: Whether it works on the runtime's blocked layout of channels, or changes to or from it.
        seconds: Mean over several inferences.
    """

    op: str
    inputs: tuple[Shape, ...]
    output: Shape
    blocked: bool
    seconds: float


def read_bindings(data: Any) -> Bindings:
    """Reads sizes of open dimensions from a mapping of their names.

    Raises:
        MeasurementError: Something else, or a size below 1.
    """
    if not isinstance(data, Mapping):
        raise MeasurementError(f"bindings are {data!r}; they must give a size to each name")
    for name, size in data.items():
        if type(name) is not str or not name or type(size) is not int or size < 1:
            raise MeasurementError(f"a binding is {name!r}={size!r}; it needs a name and a size of 1 or more")
    return tuple(sorted(data.items()))


def block_statistic(block: Sequence[float], statistic: str) -> float:
    """What stands for a block of samples: its ``median``, or its ``minimum``."""
    return min(block) if statistic == "minimum" else statistics.median(block)


def read_kernels(data: Any) -> tuple[KernelTime, ...]:
    """Reads kernel times from plain data.

    Args:
        data: A list of ``[op, inputs, output, blocked, seconds]``.

    Raises:
        MeasurementError: Something else, or a time that is not finite or below 0.
    """
    try:
        kernels = tuple(
            KernelTime(op, tuple(map(tuple, inputs)), tuple(output), blocked, seconds)
            for op, inputs, output, blocked, seconds in data
        )
    except (TypeError, ValueError) as error:
        raise MeasurementError(f"not the times of kernels: {error}") from None
    for kernel in kernels:
        if type(kernel.op) is not str or type(kernel.blocked) is not bool:
            raise MeasurementError(f"a kernel is {kernel!r}; it needs an op and whether it is blocked")
        sizes = [size for shape in (*kernel.inputs, kernel.output) for size in shape]
        if not all(type(size) is int and size >= 0 for size in sizes):
            raise MeasurementError(f"a shape of kernel {kernel.op} is none; sizes are whole numbers from 0")
        if type(kernel.seconds) is not float or not 0 <= kernel.seconds < math.inf:
            raise MeasurementError(f"kernel {kernel.op} takes {kernel.seconds!r} s; it must be 0 or more")
    return kernels
