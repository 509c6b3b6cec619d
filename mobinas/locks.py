"""Lock files, which the operating system frees when their holder dies; also packed for other machines."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from mobinas.errors import RunFolderError

_MOST_BYTES = 1000


def _nothing(_content: bytes) -> bool:
    return False


def check_lock(path: Path, is_ours: Callable[[bytes], bool] = _nothing) -> None:
    """Refuses to lock what is no lock file of this kind.

    Args:
        path: The lock file, which may be missing.
        is_ours: Asked of the content of one that is not empty; without, all are.

    Raises:
        RunFolderError: Something else has its name.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    plain = stat.S_ISREG(found.st_mode) and found.st_size <= _MOST_BYTES
    if not plain or (found.st_size and not is_ours(path.read_bytes())):
        raise RunFolderError(
            f"{path} has the name of a lock, but is none of ours; it was left as it is, choose another path"
        )


def open_lock(path: Path, is_ours: Callable[[bytes], bool] = _nothing) -> int:
    """Opens a lock file, which is made if it is missing, and left as it is otherwise.

    Args:
        path: The lock file.
        is_ours: As of `check_lock`.

    Returns:
        A file descriptor to read and write.

    Raises:
        RunFolderError: Something else has its name, or it cannot be made.
    """
    check_lock(path, is_ours)
    more = [getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK")]
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | sum(more), 0o666)
    except OSError as error:
        raise RunFolderError(f"cannot lock {path}: {error.strerror}; choose another path") from error
