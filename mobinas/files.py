"""Writing files: a crash leaves the old content or the new one, and what is not ours stays as it is.

Whatever writes to a path looks first at what lies there. A file is ours if its content says so
(`mobinas.content`), or if it is empty; nothing else is replaced, appended to, cut, locked or removed.
"""

import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mobinas.content import alike, begins_like, described, is_blank, is_cut_json
from mobinas.errors import MobinasError, RunFolderError

_MOST_LINKS = 40
_KINDS = (
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
    (stat.S_ISLNK, "is a link that leads in a circle"),
)
_LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")
_OF_DESKTOPS = (".DS_Store", "Thumbs.db", "desktop.ini")
_OUTPUTS = Path("/proc")  # where /dev/stdout and its like lead to


def real_file(
    path: Path, ask: str = "choose another path", error: type[MobinasError] = RunFolderError
) -> Path:
    """The plain file that a path leads to, or would be made at; nothing is opened or made.

    Args:
        path: As a user names it; links are followed, so that they stay links.
        ask: What the error message asks for.
        error: What is raised.

    Raises:
        MobinasError: A folder, a device, a pipe, a link to nothing, or no folder to write it in; of the
            class that was given.
    """
    real = path
    with _explained(path, error):
        for _ in range(_MOST_LINKS):
            real = real.parent.resolve() / real.name
            if real.is_relative_to(_OUTPUTS):
                raise error(f"cannot write {path}: it is no plain file; {ask}")
            if not real.is_symlink():
                break
            real = real.parent / real.readlink()
        found = _stat(real)
        if found is None:
            above = next(folder for folder in real.parents if os.path.lexists(folder))
            problem = None if above.is_dir() else f"lies below {above}, which is no folder"
            problem = f"is a link to {real}, which does not exist" if path.is_symlink() else problem
        else:
            problem = next((words for is_kind, words in _KINDS if is_kind(found.st_mode)), None)
    if problem is not None:
        raise error(f"cannot write {path}: it {problem}; {ask}")
    return real


def real_folder(path: Path) -> Path:
    """The folder that a path leads to, or would be made at; nothing is made.

    Args:
        path: As a user names it; links are followed, so that they stay links.

    Raises:
        RunFolderError: Something else is there, or a link to nothing.
    """
    with _explained(path):
        real = path.resolve()
        problem = f"is a link to {real}, which does not exist" if path.is_symlink() else "is no folder"
    if os.path.lexists(path) and not real.is_dir():
        raise RunFolderError(f"{path} {problem}; choose another folder")
    return real


def check_ours(
    path: Path,
    is_ours: Callable[[Path], bool],
    wanted: str = "a file of mobinas",
    ask: str = "choose another path",
    error: type[MobinasError] = RunFolderError,
) -> Path:
    """Refuses what is there and not recognisably ours; a missing or an empty file is free.

    Args:
        path: As a user names it.
        is_ours: Asked of a plain file that is not empty.
        wanted: What should be there, for the error message.
        ask: What the message asks for.
        error: What is raised.

    Returns:
        The file itself, see `real_file`.

    Raises:
        MobinasError: Something else is there; of the class that was given.
    """
    real = real_file(path, ask, error)
    with _explained(path, error):
        if real.exists() and real.stat().st_size and not is_ours(real):
            raise error(f"{path} is {described(real)}, not {wanted}; it was left as it is, {ask}")
    return real


def write_atomic(path: Path, content: bytes | str, is_ours: Callable[[Path], bool] | None = None) -> None:
    """Replaces a file's content in one step.

    The content goes to a temporary file beside it, reaches the disk, and only then takes the name. Missing
    folders are made.

    Args:
        path: The file to write.
        content: Bytes, or text that is stored as UTF-8 without newline translation.
        is_ours: As of `check_ours`; without, what is `mobinas.content.alike` may be replaced.

    Raises:
        RunFolderError: The disk is full, the folder cannot be written, or what lies there is not ours; it is
            untouched.
    """
    real = _check_replaceable(path, content, is_ours)
    with _explained(path):
        _replace(real, content)


def write_together(contents: Mapping[Path, bytes | str]) -> None:
    """Writes several files as `write_atomic` does; none, where one of them may not be replaced.

    Args:
        contents: By path, what to write.

    Raises:
        RunFolderError: As `write_atomic`.
    """
    for path, content in contents.items():
        _check_replaceable(path, content, None)
    for path, content in contents.items():
        write_atomic(path, content)


def _check_replaceable(path: Path, content: bytes | str, is_ours: Callable[[Path], bool] | None) -> Path:
    data = content.encode() if isinstance(content, str) else content
    real = check_ours(path, is_ours or (lambda real: alike(real, data)))
    if (found := _stat(real)) is not None and not found.st_mode & 0o222:
        raise RunFolderError(f"cannot write {path}: it is read-only; choose another path")
    return real


def _replace(path: Path, content: bytes | str) -> None:
    data = content.encode() if isinstance(content, str) else content
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


def is_leftover(path: Path) -> bool:
    """Whether a file may be what `write_atomic` leaves where it is killed, or what a desktop leaves."""
    named = path.name in _OF_DESKTOPS or _LEFTOVER.fullmatch(path.name) is not None
    return named and path.is_file() and not path.is_symlink()


def make_folder(path: Path) -> None:
    """Makes a folder with those above it, unless it is there.

    Raises:
        RunFolderError: It cannot be made, or something else has its name.
    """
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)


def remove_ours(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Removes a file, unless it is missing or not recognisably ours."""
    found = _stat(path)
    if found is not None and stat.S_ISREG(found.st_mode) and (not found.st_size or is_ours(path)):
        path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class LineLog:
    """A kind of log that this project writes: one JSON object a line.

    Attributes:
        what: Its name for messages, such as ``a measurement log``.
        key: The first key of every line.
        ask: What error messages ask for.
        error: What is raised where the file is none.
    """

    what: str
    key: str
    ask: str = "choose another path"
    error: type[MobinasError] = RunFolderError

    def check(self, path: Path) -> Path:
        """Refuses a file that is no log of this kind; a missing or an empty one may become one.

        Returns:
            The file itself, see `real_file`.

        Raises:
            MobinasError: Something else is there.
        """
        return check_ours(path, self._is_ours, self.what, self.ask, self.error)

    def lines(self, path: Path) -> list[str]:
        """The lines of a log; a torn last one is left out, a missing file has none.

        Returns:
            Lines without their line breaks.

        Raises:
            MobinasError: Something else is there.
            RunFolderError: The file cannot be read, or is not UTF-8 text.
        """
        real = self.check(path)
        try:
            data = real.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunFolderError(f"cannot read {path}: {error.strerror}; check its permissions") from error
        end = data.rfind(b"\n") + 1
        whole = data if _is_object(data[end:]) else data[:end]
        try:
            text = whole.decode("utf-8-sig").removesuffix("\n")
        except UnicodeDecodeError as error:
            number = whole.count(b"\n", 0, error.start) + 1
            raise RunFolderError(f"{path}, line {number} is not UTF-8 text; {self.ask}") from None
        return [line.rstrip("\r") for line in text.split("\n")] if whole else []

    def append(self, path: Path, line: str) -> None:
        """Adds one line and waits until it is on the disk.

        A torn last line (of a run that was killed while it wrote) is cut off first, so that it cannot spoil
        the new one; one that lacks its line break alone is kept.

        Args:
            path: The log, made with its folder if missing.
            line: A JSON object with the key first, without a line break.

        Raises:
            MobinasError: Something else is there.
            RunFolderError: The disk is full, or the file cannot be written; the log is as it was.
        """
        if "\n" in line:
            raise ValueError("a log line must not hold a line break")
        real = self.check(path)
        with _explained(path):
            real.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(real, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            with os.fdopen(handle, "r+b") as file:
                end = mend_end(file)
                try:
                    file.seek(end)
                    file.write(line.encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):
                        os.ftruncate(handle, end)
                    raise

    def _is_ours(self, path: Path) -> bool:
        if is_blank(path):
            return True
        with path.open("rb") as file:
            if not file.read(4).removeprefix(b"\xef\xbb\xbf").startswith(b"{"):
                return False
            file.seek(0)
            first = file.readline().removeprefix(b"\xef\xbb\xbf")
            whole = first.endswith(b"\n")
            if whole and not self._is_line(first):
                return False
            file.seek(last_line_start(file))
            last = file.read().removeprefix(b"\xef\xbb\xbf").rstrip(b"\0")
        if self._is_line(last) or (whole and last.startswith(b"{") and is_cut_json(last)):
            return True
        return begins_like(last.replace(b" ", b""), b'{"' + self.key.encode() + b'":')

    def _is_line(self, line: bytes) -> bool:
        return _is_object(line) and self.key in json.loads(line.decode())


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode()), dict)  # of bytes, it would take UTF-16, too
    except (ValueError, RecursionError):
        return False


def mend_end(file: IO[bytes]) -> int:
    """Cuts a torn last line off a log of JSON objects that is ours, or ends it where it is whole.

    Args:
        file: Opened to read and write bytes.

    Returns:
        Where the next line begins.
    """
    start, size = last_line_start(file), file.seek(0, os.SEEK_END)
    file.seek(start)
    if start < size and _is_object(file.read()):
        file.write(b"\n")
        return size + 1
    if start < size:
        file.truncate(start)
    return start


def last_line_start(file: IO[bytes]) -> int:
    """Where what follows the last line break begins."""
    block, end = 4096, file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat(follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


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
def _explained(path: Path, kind: type[MobinasError] = RunFolderError) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise kind(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from error
    except (ValueError, RuntimeError) as error:  # a null in the name, or links in a circle
        raise kind(f"cannot write {path}: {error}; choose another path") from error


def read_text(path: Path) -> str:
    """A text file that people may have edited: UTF-8, with or without the mark that some editors begin with.

    Raises:
        OSError: It cannot be read.
        UnicodeDecodeError: It is no UTF-8 text.
    """
    return path.read_text(encoding="utf-8-sig")
