"""Memory that a computation frees and soon needs again stays with the process.

glibc takes blocks above a limit (at most 32 MB) from the system and gives them back at once; each is then
zeroed page by page when next used. A supernet step or a large batch does that hundreds of times: 8 of 20
seconds of judging subnets at 32x32 passed in the kernel, with the setting below 0.1.
"""

import contextlib
import ctypes
from collections.abc import Iterator

# <malloc.h>; mallopt(3) and, for the defaults, mallopt(3) again.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_REUSING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 64 << 20}
# What glibc adapts its limits to once large blocks were freed; the first call ends that adapting.
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20, _TOP_PAD: 128 << 10}

_reusing = False


@contextlib.contextmanager
def reused_memory() -> Iterator[None]:
    """Inside, freed memory is kept for the next use; at the end it goes back to the system.

    Changes no result. Does nothing inside another one, or where the C library is not glibc.
    """
    global _reusing
    libc = None if _reusing else _glibc()
    if libc is None:
        yield
        return
    _reusing = True
    _set(libc, _REUSING)
    try:
        yield
    finally:
        _reusing = False
        _set(libc, _USUAL)
        libc.malloc_trim(0)


def _set(libc: ctypes.CDLL, options: dict[int, int]) -> None:
    for option, value in options.items():
        libc.mallopt(option, value)


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
