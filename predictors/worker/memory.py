"""The peak memory of a stretch of work in this process."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

from mobinas.targets.resources import Reading, reading

_RESET_PEAK = "5"


class PeakMemory:
    """What is done from now on adds how much to this process's resident memory, at its peak."""

    def __init__(self, process: Path = Path("/proc/self")) -> None:
        """Forgets the peak until now.

        Args:
            process: Where the system tells about this process.
        """
        self._status = process / "status"
        self._before_bytes: int | None = None
        _give_back_what_is_free()
        with contextlib.suppress(OSError, ValueError):
            (process / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
            self._before_bytes = self._bytes("VmRSS")

    def reading(self) -> Reading:
        """Bytes, or why they are not known."""
        if self._before_bytes is None:
            return Reading(None, "this system does not tell a process its peak memory")
        return reading(max(0, self._bytes("VmHWM") - self._before_bytes))

    def _bytes(self, name: str) -> int:
        for line in self._status.read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
        raise ValueError(f"no {name} in {self._status}")


def _give_back_what_is_free() -> None:
    # Memory that earlier work freed but the allocator kept would take new work without any growth.
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
