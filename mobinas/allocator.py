"""How the C library hands memory out: kept between steps instead of given back and fetched again.

A training step allocates and frees hundreds of megabytes. By default glibc returns large blocks to the system
as soon as they are free, and every later step takes them again page by page.
"""

import ctypes
import ctypes.util
import sys

# malloc.h; the limits are ints.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_NEVER = 2**31 - 1
_STEP_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Tells glibc to keep what the process frees; elsewhere it does nothing.

    Returns:
        Whether it was told.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _STEP_BYTES))
    return all(mallopt(name, value) for name, value in settings)
