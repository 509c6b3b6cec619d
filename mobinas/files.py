"""Writing files so that a crash leaves the old content or the new one, never half of either."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobinas.errors import RunFolderError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replaces a file's content in one step.

    The content goes to a temporary file beside it, reaches the disk, and only then takes the name. Missing
    folders are made.

    Args:
        path: The file to write.
        content: Bytes, or text that is stored as UTF-8 without newline translation.

    Raises:
        RunFolderError: The disk is full, or the folder cannot be written; the old file is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """Adds one line to a log file and waits until it is on the disk.

    A torn last line (of a run that was killed while it wrote) is cut off first, so that it cannot spoil
    the new one.

    Args:
        path: The log, made with its folder if missing.
        line: One line of text, without a line break.

    Raises:
        RunFolderError: The disk is full, or the file cannot be written; the log is as it was.
    """
    if "\n" in line:
        raise ValueError("a log line must not hold a line break")
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(handle, "r+b") as file:
            end = _whole_lines_end(file.seek(0, os.SEEK_END), path)
            file.truncate(end)
            try:
                file.seek(end)
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, end)
                raise


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cut_torn_line(path: Path) -> None:
    """Removes what follows the last line break of a file, if anything; a missing file is left missing.

    Args:
        path: A log of lines that a killed run may have torn.

    Raises:
        RunFolderError: The file cannot be written.
    """
    with _explained(path), contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        end = _whole_lines_end(size, path)
        if end < size:
            file.truncate(end)


def read_lines(path: Path) -> list[str]:
    """The whole lines of a log; a torn last one is left out, a missing file has none.

    Args:
        path: A file that `append_line` wrote.

    Returns:
        Lines without their line breaks.

    Raises:
        RunFolderError: The file cannot be read, or is not UTF-8 text.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    whole = data[: data.rfind(b"\n") + 1]
    try:
        return whole.decode().split("\n")[:-1]
    except UnicodeDecodeError:
        raise RunFolderError(f"{path} is not UTF-8 text; it is torn, delete it to make it anew") from None


def _whole_lines_end(size: int, path: Path) -> int:
    block = 4096
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - block)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def _umask() -> int:
    # Linux tells it without changing it for a moment, which other threads would see.
    with contextlib.suppress(OSError, IndexError, StopIteration):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(next(s for s in status.splitlines() if s.startswith("Umask:")).split()[1], 8)
    return 0o022


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # folders cannot be opened everywhere
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from error


def read_text(path: Path) -> str:
    """A text file that people may have edited: UTF-8, with or without the mark that some editors begin with.

    Raises:
        OSError: It cannot be read.
        UnicodeDecodeError: It is no UTF-8 text.
    """
    return path.read_text(encoding="utf-8-sig")


def toml_value(value: Any) -> str:
    """Text, a truth value, a number, or a list of these, as TOML spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[{', '.join(toml_value(v) for v in value)}]"
    return repr(value)
