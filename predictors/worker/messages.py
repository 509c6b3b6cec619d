"""What host and worker say to each other: JSON lines, after a request the bytes of its files.

A request is one line, an object with these keys, followed by the bytes of the reference model and of each
model that has no ``path``, in that order; a model's bytes are followed by those of the files beside it:

- ``protocol``: `PROTOCOL` of who asks.
- ``target``: Settings, see `Settings`.
- ``plan``: Fields of a `MeasuringPlan`.
- ``reference``: ``{"sha256", "size_bytes"}``, or ``{"path"}`` on the same machine.
- ``models``: A list of ``{"name", "bindings", "sizes", "beside"}`` with the same, see `Model`; ``beside`` is
  a list of ``{"location", "sha256", "size_bytes"}``.
- ``part``: Whether this very process measures, with a part of the rounds, rather than processes of its own.

The worker answers in lines ``{"kind": ...}``: ``hello`` (protocol, host, runtime_version) at once, then
``progress`` (done, total, text), ``measured`` (model: its position; the fields of a `Timed`), and in the end
``error`` (error: name of the class; text) or ``end`` (request_sha256: of the request's first line;
answers_sha256: of the ``hello`` and all ``measured`` lines).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mobinas.errors import MeasurementError
from mobinas.targets import read_bindings, read_kernels
from mobinas.targets.resources import Resources
from predictors.worker import PROTOCOL
from predictors.worker.measuring import DeviceSettings, Model, Timed


class Settings(NamedTuple):
    """Of a `Target`, what a worker needs."""

    name: str
    provider: str
    threads: int
    batch: int
    graph_optimisation: str
    affinity: tuple[int, ...]
    statistic: str


def request_line(
    target: DeviceSettings,
    plan: Mapping[str, Any],
    reference: bytes | Path,
    models: Iterable[Model],
    *,
    part: bool = False,
) -> bytes:
    """The first line of a request; the files that were given as bytes follow it."""
    request = {
        "protocol": PROTOCOL,
        "target": target_of(target),
        "plan": dict(plan),
        "reference": _listed(reference),
        "models": [
            {
                "name": model.name,
                "bindings": dict(model.bindings),
                "sizes": None if model.sizes is None else dict(model.sizes),
                "beside": [one._asdict() for one in model.beside],
                **_listed(model.source),
            }
            for model in models
        ],
        "part": part,
    }
    return json.dumps(request).encode() + b"\n"


def target_of(target: DeviceSettings) -> dict[str, Any]:
    """What a request says of a target."""
    return {key: getattr(target, key) for key in Settings._fields}


def model_of(listed: Mapping[str, Any], path: Path) -> Model:
    """A model of a request, whose files lie here by now."""
    sizes = listed["sizes"]
    return Model(
        str(listed["name"]),
        path,
        read_bindings(listed["bindings"]),
        None if sizes is None else read_bindings(sizes),
    )


def _listed(source: bytes | Path) -> dict[str, Any]:
    if isinstance(source, Path):
        return {"path": str(source.absolute())}
    return {"sha256": hashlib.sha256(source).hexdigest(), "size_bytes": len(source)}


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
            blocks_s=tuple(tuple(map(float, block)) for block in message["blocks_s"]),
            reference_blocks_s=tuple(tuple(map(float, block)) for block in message["reference_blocks_s"]),
            reference_level_s=float(message["reference_level_s"]),
            warmup_samples=int(message["warmup_samples"]),
            started_at=str(message["started_at"]),
            kernels=read_kernels(message["kernels"]),
            blocks_per_process=tuple(map(int, message["blocks_per_process"])),
            clock_error=float(message["clock_error"]),
            waited=float(message["waited"]),
            resources=Resources.from_json(message["resources"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MeasurementError(f"the worker's answer is not a measurement: {error}") from error
