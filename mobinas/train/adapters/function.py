"""Data from a Python function, named ``package.module:function`` or ``path/file.py:function``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mobinas.errors import DataError, MobinasError
from mobinas.functions import is_function_name, load_function
from mobinas.train.adapters.arrays import Arrays, Source, image_data
from mobinas.train.adapters.base import Adapter, Wanted
from mobinas.train.adapters.datasets import changes, is_dataset, read_dataset, seeded
from mobinas.train.images import ImageData

_ACCEPTED = (
    "(images, labels), ((images, labels), (test images, test labels)), a Dataset or (train, test) or "
    "(train, select, test) Datasets"
)


def _load(spec: str, wanted: Wanted) -> ImageData:
    with seeded():
        function, name = load_function(spec, DataError), spec.rpartition(":")[2]
        try:
            made = function()
        except MobinasError:
            raise
        except (Exception, SystemExit) as error:
            text = " ".join(str(error).split())
            raise DataError(f"data function {spec} failed with {type(error).__name__}: {text}") from error
    if isinstance(made, ImageData):
        return made
    parts = _parts(made)
    if parts is None:
        raise DataError(f"data function {spec} returned {_described(made)}; return {_ACCEPTED}")
    sources = [_source(part, _part_name(name, k, len(parts))) for k, part in enumerate(parts)]
    return image_data(
        sources[0],
        name,
        test=sources[-1] if len(sources) > 1 else None,
        select=sources[1] if len(sources) == 3 else None,
        classes=_classes(parts[0]),
        image_size=wanted.image_size,
        background=wanted.background,
        notes=_changing(parts, name),
    )


def _parts(made: Any) -> Sequence[Any] | None:
    """One to three parts; None where they cannot be told."""
    if _is_pair(made):
        return (made,)
    if isinstance(made, tuple | list) and 1 <= len(made) <= 3 and _holds_parts(made):
        return made
    return (made,) if is_dataset(made) else None


def _holds_parts(made: Any) -> bool:
    return isinstance(made, tuple | list) and all(
        _is_pair(part) or (is_dataset(part) and not _is_item(part)) for part in made
    )


def _is_item(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and not is_dataset(value[0])


def _is_pair(value: Any) -> bool:
    """Whether this is (images, labels): images as one array, or as a list beside a list of as many labels."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    images, labels = value
    if not isinstance(labels, np.ndarray | torch.Tensor | list | tuple):
        return False
    if isinstance(images, np.ndarray | torch.Tensor):
        return images.ndim >= 3
    return (
        isinstance(images, list) and len(images) == len(labels) and len(images) > 0 and not is_dataset(images)
    )


def _source(part: Any, name: str) -> Source:
    if not _is_pair(part):
        return read_dataset(part, name)
    images, labels = part
    if isinstance(images, list):
        return read_dataset(list(zip(images, labels, strict=True)), name)
    return Arrays.of(images, labels, name)


def _part_name(name: str, k: int, n: int) -> str:
    if k == 0:
        return name
    return f"the {'test' if k == n - 1 else 'select'} part of {name}"


def _classes(part: Any) -> list[str] | None:
    """Names of the classes, of a Dataset or of the one that a Subset shows."""
    while part is not None:
        names = getattr(part, "classes", None)
        if isinstance(names, list | tuple | np.ndarray):
            return [str(name) for name in names]
        part = getattr(part, "dataset", None)
    return None


def _changing(parts: Sequence[Any], name: str) -> tuple[str, ...]:
    if any(not _is_pair(part) and changes(part, name) for part in parts):
        return (
            f"items of {name} differ each time they are fetched (random augmentation?); they are read "
            f"once, and a "
            "stopped run may not recognise them: give plain images, training augments them itself",
        )
    return ()


def _described(made: Any) -> str:
    if isinstance(made, tuple | list):
        return (
            f"a {type(made).__name__} of {', '.join(type(part).__name__ for part in made[:4]) or 'nothing'}"
        )
    if hasattr(made, "__iter__") and not isinstance(made, dict | str | np.ndarray | torch.Tensor):
        return f"{type(made).__name__}, whose items have no numbers (it lacks __len__ or __getitem__)"
    return type(made).__name__


ADAPTER = Adapter(is_function_name, _load)
