"""The worker's side of the talk: reads one request, measures, and answers."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from mobinas.errors import MeasurementError, MobinasError
from mobinas.runtime import runtime_version
from predictors.worker import PROTOCOL
from predictors.worker.host import host
from predictors.worker.measuring import MeasuringPlan, Timed, measure_group
from predictors.worker.messages import Settings, model_of
from predictors.worker.processes import in_a_process, measure_models


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
        paths = [_received(stream, folder / str(i), one) for i, one in enumerate(listed)]
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
    models = [model_of(one, path) for one, path in zip(request["models"], files)]
    plan = MeasuringPlan(**request["plan"])

    def measured(model: int, timed: Timed) -> None:
        seen = {**timed._asdict(), "resources": timed.resources.to_json()}
        seal(_say(out, {"kind": "measured", "model": model, **seen}))

    def progress(done: int, total: int, text: str) -> None:
        _say(out, {"kind": "progress", "done": done, "total": total, "text": text})

    if request.get("part"):
        for i, timed in enumerate(measure_group(models, reference, settings, plan, progress)):
            measured(i, timed)
    else:
        run = in_a_process(reference, settings)
        measure_models(models, plan, settings.statistic, run, measured, progress)


def _received(stream: BinaryIO, folder: Path, listed: Mapping[str, Any]) -> Path:
    """The file of a model, with those beside it in the same new folder."""
    if "path" in listed:
        return Path(listed["path"])
    name = str(listed.get("name", "the reference model"))
    beside = listed.get("beside", ())
    path = folder / "model.onnx"
    while path.name in [one["location"] for one in beside]:
        path = path.with_name(f"_{path.name}")
    _receive(stream, path, listed, name)
    for one in beside:
        place = folder / one["location"]
        # A request is to write nowhere else.
        if folder.resolve() not in place.resolve().parents:
            raise MeasurementError(f"{name} keeps weights in '{one['location']}', which leaves its folder")
        _receive(stream, place, one, f"{one['location']} of {name}")
    return path


def _receive(stream: BinaryIO, path: Path, listed: Mapping[str, Any], name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), int(listed["size_bytes"])
    with path.open("xb") as file:
        while left:
            piece = stream.read(min(left, 1 << 20))
            if not piece:
                raise MeasurementError("the request ended early; send it again")
            file.write(piece)
            digest.update(piece)
            left -= len(piece)
    if digest.hexdigest() != listed["sha256"]:
        raise MeasurementError(f"{name} arrived damaged; send it again")


def _say(out: TextIO, message: Mapping[str, Any]) -> bytes:
    text = json.dumps(message)
    out.write(text + "\n")
    out.flush()
    return text.encode()


def main() -> int:
    """Answers one request that comes on standard input."""
    # An exception instead of a sudden end, so that a process started from here ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="mobinas-") as folder:
        return answer(sys.stdin.buffer, Path(folder), sys.stdout)
