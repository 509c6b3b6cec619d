"""Measuring on a device without a network: a zip goes there, a result file comes back."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from mobinas.content import alike
from mobinas.errors import MeasurementError
from mobinas.files import check_ours, write_atomic
from mobinas.targets import read_bindings
from mobinas.targets.measurement import Measurement
from mobinas.targets.target import Target
from predictors.external_data import DataFile
from predictors.model_file import ModelFile
from predictors.runners.archive import worker_archive
from predictors.runners.base import measurement_of
from predictors.runners.request import request_pieces
from predictors.worker import PROTOCOL
from predictors.worker.measuring import MeasuringPlan
from predictors.worker.messages import target_of, timed_of

_WORKER, _REQUEST, _README = "worker.pyz", "request.bin", "README.txt"
_ALWAYS = (1980, 1, 1, 0, 0, 0)
_INSTRUCTIONS = """\
This kit measures {n} models on the device that it is unpacked on, which needs Python 3.9 or newer:

    pip install onnxruntime
    python3 worker.pyz < request.bin > result.jsonl

Leave the device alone meanwhile. Then bring result.jsonl back:

    mobinas target read {name} KIT.zip result.jsonl
"""


def write_kit(path: Path, models: Sequence[ModelFile], target: Target, plan: MeasuringPlan) -> None:
    """Writes one zip with the worker, the models and how to run them.

    Args:
        path: The zip; an older kit is replaced.
        models: What to measure.
        target: Under which settings.
        plan: How long and how often.

    Raises:
        MeasurementError: A model is missing, or its sizes are open.
        RunFolderError: The zip cannot be written, or something else lies there.
    """
    check_kit_place(path)
    contents = {
        _WORKER: [worker_archive()],
        _REQUEST: request_pieces(models, target, plan),
        _README: [_INSTRUCTIONS.format(n=len(models), name=target.name).encode()],
    }
    write_atomic(path, _zipped(contents))


def check_kit_place(path: Path) -> None:
    """Refuses a path where something other than a kit lies.

    Raises:
        RunFolderError: The text says what is there.
    """
    known = _zipped(dict.fromkeys((_WORKER, _REQUEST, _README), ()))
    check_ours(path, lambda real: alike(real, known), "a kit", "choose another --out")


def _zipped(contents: Mapping[str, Iterable[bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, pieces in contents.items():
            about = zipfile.ZipInfo(name, _ALWAYS)
            about.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(about, "w", force_zip64=name == _REQUEST) as file:
                for piece in pieces:
                    file.write(piece)
    return buffer.getvalue()


def read_kit(path: Path, result: Path, target: Target) -> tuple[list[ModelFile], list[Measurement]]:
    """Reads what a kit's worker found.

    Args:
        path: The kit.
        result: The file that came back.
        target: For which the kit was written.

    Returns:
        The kit's models, and a measurement of each.

    Raises:
        MeasurementError: Not a kit, of another target, or a result that is of another kit, incomplete or
            changed.
    """
    line, models = _asked(path)
    if json.loads(line)["target"] != json.loads(json.dumps(target_of(target))):
        raise MeasurementError(f"{path} was written for other settings than those of target '{target.name}'")
    sealed, end = _answered(result)
    if end.get("request_sha256") != hashlib.sha256(line).hexdigest():
        raise MeasurementError(f"{result} is the result of another kit than {path}")
    hello, *measured = map(json.loads, sealed)
    changed = end.get("answers_sha256") != hashlib.sha256(b"".join(sealed)).hexdigest()
    if changed or len(measured) != len(models):
        raise MeasurementError(f"{result} was changed after it was written; run the kit again")
    answers = {one["model"]: timed_of(one) for one in measured}
    if hello.get("protocol") != PROTOCOL:
        raise MeasurementError(f"{result} was written by a worker of another version; write the kit again")
    who = str(hello["host"]), str(hello["runtime_version"])
    return models, [measurement_of(model, target, *who, answers[i]) for i, model in enumerate(models)]


def _asked(path: Path) -> tuple[bytes, list[ModelFile]]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_REQUEST) as request:
            line = request.readline()
            listed = json.loads(line)
            if listed["protocol"] != PROTOCOL:
                raise MeasurementError(f"{path} was written by another version; write the kit again")
            request.seek(listed["reference"]["size_bytes"], io.SEEK_CUR)
            models = [_model(request, one) for one in listed["models"]]
    except OSError as error:
        raise MeasurementError(f"cannot read kit {path}: {error.strerror}") from error
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError) as error:
        raise MeasurementError(f"{path} is not a kit of 'mobinas target kit', or it is torn") from error
    return line, models


def _model(request: IO[bytes], listed: dict[str, Any]) -> ModelFile:
    """The model whose bytes come next; the weights beside it stay where they are."""
    content = request.read(listed["size_bytes"])
    starts, end = {}, request.tell()
    for one in listed["beside"]:
        starts[one["location"]] = end
        end += one["size_bytes"]

    def read(location: str, start: int, length: int) -> bytes:
        request.seek(starts[location] + start)
        return request.read(length)

    beside = tuple(
        DataFile(one["location"], one["size_bytes"], None, one["sha256"]) for one in listed["beside"]
    )
    model = ModelFile.of_bytes(listed["name"], content, read_bindings(listed["bindings"]), beside, read)
    request.seek(end)
    return model


def _answered(result: Path) -> tuple[list[bytes], dict[str, Any]]:
    """The lines that the worker sealed, and its last one."""
    try:
        lines = result.read_bytes().splitlines()
        kinds = [json.loads(line)["kind"] for line in lines]
        last = json.loads(lines[-1]) if lines else {"kind": "nothing"}
    except OSError as error:
        raise MeasurementError(f"cannot read result {result}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MeasurementError(f"{result} is not what a kit's worker writes, or it is torn") from error
    if last["kind"] == "error":
        raise MeasurementError(f"the device says: {last.get('text')}")
    if last["kind"] != "end" or kinds[0] != "hello":
        raise MeasurementError(f"{result} is incomplete; run the kit to its end")
    sealed = [line for line, kind in zip(lines, kinds, strict=True) if kind in ("hello", "measured")]
    return sealed, last
