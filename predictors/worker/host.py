"""The machine that measures."""

from __future__ import annotations

import contextlib
import os
import platform
import time
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


class Waiting:
    """How long this thread is ready to run but has no CPU, from now on."""

    def __init__(self) -> None:
        """Starts."""
        self._start_ns, self._waited_ns = time.perf_counter_ns(), _waited_ns()

    def share(self) -> float:
        """Of the time since the start; 0 where the system does not tell."""
        elapsed_ns = max(1, time.perf_counter_ns() - self._start_ns)
        return round((_waited_ns() - self._waited_ns) / elapsed_ns, 4)


def _waited_ns() -> int:
    try:
        # Nanoseconds on a CPU, nanoseconds in the queue for one, and turns.
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0


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
