"""The machine that measures."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from mobinas.errors import TargetError


@lru_cache(maxsize=1)
def host() -> str:
    """Name, CPU model and number of CPUs of this machine."""
    return f"{platform.node() or 'unnamed'} ({_cpu_model()}, {os.cpu_count()} CPUs)"


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def bound_to(cpus: tuple[int, ...]) -> Iterator[None]:
    """This process runs on these CPUs alone inside; on all that it may where none are named.

    Raises:
        TargetError: The system has no such CPU for it, or cannot bind processes.
    """
    if not cpus:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise TargetError("this system cannot bind a process to CPUs; leave the target's affinity empty")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        allowed = ", ".join(map(str, sorted(before)))
        raise TargetError(
            f"cannot bind to CPUs {list(cpus)}: {error.strerror}; available: {allowed}"
        ) from None
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
