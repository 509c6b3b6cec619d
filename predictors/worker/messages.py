"""What host and worker say to each other: JSON lines, after a request the bytes of its files.

A request is one line, an object with these keys, followed by the bytes of the reference model and of each
model, in that order:

- ``protocol``: `PROTOCOL` of who asks.
- ``target``: Settings, see `Settings`.
- ``plan``: Fields of a `MeasuringPlan`.
- ``reference``: ``{"sha256", "size_bytes"}``.
- ``models``: A list of ``{"name", "sha256", "size_bytes"}``.

The worker answers in lines ``{"kind": ...}``: ``hello`` (protocol, host, runtime_version) at once, then
``progress`` (done, total, text), ``measured`` (model: its position; the fields of a `Timed`), and in the end
``error`` (error: name of the class; text) or ``end`` (request_sha256: of the request's first line;
answers_sha256: of the ``hello`` and all ``measured`` lines).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from mobinas.errors import MeasurementError, MobinasError
from mobinas.runtime import runtime_version
from mobinas.targets import read_kernels
from predictors.worker import PROTOCOL
from predictors.worker.host import host
from predictors.worker.measuring import MeasuringPlan, Model, Timed, measure_models

_PATIENCE_S, _POLL_S = 180.0, 0.2


class Settings(NamedTuple):
    """Of a `Target`, what a worker needs."""

    name: str
    provider: str
    threads: int
    batch: int
    graph_optimisation: str
    affinity: tuple[int, ...]
    statistic: str


def hello() -> dict[str, Any]:
    """Who measures here."""
    return {"kind": "hello", "protocol": PROTOCOL, "host": host(), "runtime_version": runtime_version()}


def answer(stream: BinaryIO, folder: Path, out: TextIO) -> int:
    """Reads a request, measures, and writes answers.

    Args:
        stream: The request with its files.
        folder: Where the files are put meanwhile; it exists and is empty.
        out: Takes the answers.

    Returns:
        An exit status.
    """
    answers = hashlib.sha256()
    try:
        answers.update(_say(out, hello()))
        line = stream.readline()
        request = json.loads(line)
        if request["protocol"] != PROTOCOL:
            raise MeasurementError(
                f"this worker speaks protocol {PROTOCOL}, the request {request['protocol']}; "
                "copy the worker of the same version"
            )
        listed = [request["reference"], *request["models"]]
        paths = [_received(stream, folder / f"{i}.onnx", one) for i, one in enumerate(listed)]
        with _alone():
            _measure(request, paths, out, answers.update)
    except MobinasError as error:
        _say(out, {"kind": "error", "error": type(error).__name__, "text": str(error)})
        return 1
    except BrokenPipeError:  # nobody listens any more
        return 1
    except OSError as error:
        _say(out, {"kind": "error", "error": "MeasurementError", "text": f"the worker cannot go on: {error}"})
        return 1
    except (ValueError, KeyError, TypeError) as error:
        _say(out, {"kind": "error", "error": "MeasurementError", "text": f"not a request: {error}"})
        return 1
    digests = {"request_sha256": hashlib.sha256(line).hexdigest(), "answers_sha256": answers.hexdigest()}
    _say(out, {"kind": "end", **digests})
    return 0


def _measure(
    request: Mapping[str, Any], paths: list[Path], out: TextIO, seal: Callable[[bytes], None]
) -> None:
    reference, *files = paths
    target = dict(request["target"])
    settings = Settings(**{**target, "affinity": tuple(target["affinity"])})

    def measured(model: int, timed: Timed) -> None:
        seal(_say(out, {"kind": "measured", "model": model, **timed._asdict()}))

    def progress(done: int, total: int, text: str) -> None:
        _say(out, {"kind": "progress", "done": done, "total": total, "text": text})

    models = [Model(str(one["name"]), path) for one, path in zip(request["models"], files)]
    plan = MeasuringPlan(**request["plan"])
    measure_models(models, reference.read_bytes(), settings, plan, measured, progress)


def _received(stream: BinaryIO, path: Path, listed: Mapping[str, Any]) -> Path:
    digest, left = hashlib.sha256(), int(listed["size_bytes"])
    with path.open("wb") as file:
        while left:
            piece = stream.read(min(left, 1 << 20))
            if not piece:
                raise MeasurementError("the request ended early; send it again")
            file.write(piece)
            digest.update(piece)
            left -= len(piece)
    if digest.hexdigest() != listed["sha256"]:
        raise MeasurementError(f"{listed.get('name', 'the reference model')} arrived damaged; send it again")
    return path


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Waits until no other worker of this user measures here, such as one whose connection was just lost."""
    try:
        import fcntl
    except ImportError:  # Windows, which no lost connection leaves a worker on
        yield
        return
    user = os.getuid()
    with (Path(tempfile.gettempdir()) / f"mobinas-worker-{user}.lock").open("w") as lock:
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise MeasurementError(
                        "another measurement runs on this machine; wait until it ends"
                    ) from None
                time.sleep(_POLL_S)
        yield


def request_line(
    target: Mapping[str, Any], plan: Mapping[str, Any], reference: bytes, models: Iterable[tuple[str, bytes]]
) -> bytes:
    """The first line of a request; the files' bytes follow it."""

    def listed(data: bytes) -> dict[str, Any]:
        return {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}

    request = {
        "protocol": PROTOCOL,
        "target": {key: target[key] for key in Settings._fields},
        "plan": dict(plan),
        "reference": listed(reference),
        "models": [{"name": name, **listed(data)} for name, data in models],
    }
    return json.dumps(request).encode() + b"\n"


def progress_of(message: Mapping[str, Any]) -> tuple[int, int, str]:
    """What a ``progress`` line says: done, total, text.

    Raises:
        MeasurementError: Not what a worker says.
    """
    try:
        return int(message["done"]), int(message["total"]), str(message["text"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MeasurementError(f"the worker's answer is no progress: {error}") from error


def timed_of(message: Mapping[str, Any]) -> Timed:
    """What a ``measured`` line says.

    Raises:
        MeasurementError: Not what a worker says.
    """
    try:
        return Timed(
            tuple(tuple(map(float, block)) for block in message["blocks_s"]),
            tuple(tuple(map(float, block)) for block in message["reference_blocks_s"]),
            float(message["reference_level_s"]),
            int(message["warmup_samples"]),
            str(message["started_at"]),
            read_kernels(message["kernels"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MeasurementError(f"the worker's answer is not a measurement: {error}") from error


def _say(out: TextIO, message: Mapping[str, Any]) -> bytes:
    text = json.dumps(message)
    out.write(text + "\n")
    out.flush()
    return text.encode()


def main() -> int:
    """Answers one request that comes on standard input."""
    with tempfile.TemporaryDirectory(prefix="mobinas-") as folder:
        return answer(sys.stdin.buffer, Path(folder), sys.stdout)
