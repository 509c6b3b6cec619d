"""Talks with a worker: starts its process, sends a request, and reads answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mobinas.errors import MeasurementError, TargetError
from predictors.worker.measuring import Timed
from predictors.worker.messages import progress_of, timed_of

_RAISED = {error.__name__: error for error in (MeasurementError, TargetError)}
# This very code, packed or not, whatever else of this name is installed.
_ROOT = str(Path(__file__).parents[2])
_START = (
    "import sys; root = sys.argv[1]; root in sys.path or sys.path.insert(0, root); "
    "from predictors.worker.answering import main; sys.exit(main())"
)

# glibc keeps seven freed pieces of each size at hand; for the others it searches lists that grow with every
# session that was ever opened. A model of 80 us took 87 us once 12 more were open, whatever ran in between,
# and 77 us alone or among others with more pieces at hand.
_TUNABLES = "GLIBC_TUNABLES"
_MORE_AT_HAND = "glibc.malloc.tcache_count=2000"


def here() -> list[str]:
    """The command of a worker on this machine."""
    return [sys.executable, "-c", _START, _ROOT]


class Worker:
    """A process that answers a request.

    Attributes:
        answers: What it says.
        complaint: The last line of its standard error, once it has ended.
        status: Its exit status then.
    """

    def __init__(self, answers: Iterator[dict[str, Any]]) -> None:
        """Has not ended yet."""
        self.answers = answers
        self.complaint = ""
        self.status = 0


@contextmanager
def started(command: Sequence[str], request: Iterable[bytes]) -> Iterator[Worker]:
    """A worker that is sent a request; it has ended after the ``with``."""
    with tempfile.TemporaryFile() as sent, tempfile.TemporaryFile() as complaints:
        for piece in request:
            sent.write(piece)
        sent.seek(0)
        tunables = ":".join(filter(None, (os.environ.get(_TUNABLES), _MORE_AT_HAND)))
        process = subprocess.Popen(
            command,
            stdin=sent,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={**os.environ, _TUNABLES: tunables},
        )
        assert process.stdout is not None
        worker = Worker(_messages(process.stdout))
        try:
            yield worker
            worker.status = process.wait()
            complaints.seek(0)
            worker.complaint = last_line(complaints.read())
        finally:
            process.kill()
            process.stdout.close()
            process.wait()


def take(
    worker: Worker,
    models: int,
    where: str,
    keep: Callable[[int, Timed], None],
    progress: Callable[[int, int, str], None],
    meet: Callable[[dict[str, Any]], object] = lambda hello: None,
) -> bool:
    """Takes all answers to a request.

    Args:
        worker: Who answers.
        models: How many were asked about.
        where: Of the worker, for error messages; empty for this machine.
        keep: Given each measured model's position and what was seen.
        progress: Told as the measuring goes on.
        meet: Given the greeting.

    Returns:
        Whether the worker came to its end.

    Raises:
        TargetError: The worker lacks the target's provider or CPUs.
        MeasurementError: A model cannot run there, or the worker says what no worker says.
    """
    seen: set[int] = set()
    prefix = f"{where}: " if where else ""
    for message in worker.answers:
        kind = message.get("kind")
        if kind == "hello":
            meet(message)
        elif kind == "measured":
            place = message.pop("model", None)
            if type(place) is not int or not 0 <= place < models or place in seen:
                raise MeasurementError(f"{prefix}the worker answered for an unknown model")
            seen.add(place)
            keep(place, timed_of(message))
        elif kind == "progress":
            progress(*progress_of(message))
        elif kind == "error":
            raised = _RAISED.get(str(message.get("error")), MeasurementError)
            raise raised(f"{prefix}{message.get('text')}")
        elif kind == "end":
            return True
    return False


def _messages(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    for line in stream:
        if not line.endswith(b"\n"):
            return  # torn by a lost connection
        try:
            message = json.loads(line)
        except ValueError:
            continue  # a login script that prints
        if isinstance(message, dict):
            yield message


def last_line(text: bytes) -> str:
    """The last line of what a process says; empty where it says nothing."""
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
