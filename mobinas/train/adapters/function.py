"""Data from a Python function, named ``package.module:function`` or ``path/file.py:function``."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from mobinas.errors import DataError, MobinasError, did_you_mean
from mobinas.train.adapters.arrays import dataset_arrays, image_data
from mobinas.train.adapters.base import Adapter
from mobinas.train.images import ImageData

_ACCEPTED = (
    "(images, labels), ((images, labels), (test images, test labels)), a Dataset or (train, test) Datasets"
)


def _accepts(spec: str) -> bool:
    where, colon, name = spec.rpartition(":")
    dotted = all(part.isidentifier() for part in where.split("."))
    return bool(colon) and name.isidentifier() and (where.endswith(".py") or dotted)


def _load(spec: str, image_size: int | None) -> ImageData:
    where, _, name = spec.rpartition(":")
    function = _function(where, name)
    try:
        made = function()
    except MobinasError:
        raise
    except Exception as error:
        raise DataError(f"data function {spec} failed with {type(error).__name__}: {error}") from error
    return _image_data(made, name, spec, image_size)


def _function(where: str, name: str) -> Callable[[], Any]:
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else _from_package(where)
    except Exception as error:
        raise DataError(
            f"cannot import '{where}' ({type(error).__name__}: {error}); check the path"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        hint = did_you_mean(name, known) if known else ""
        raise DataError(f"'{where}' has no function '{name}'{hint}")
    found: Callable[[], Any] = function
    return found


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"mobinas_data_{path.stem}", path)
    assert spec is not None and spec.loader is not None, "a .py path always has a loader"
    module = importlib.util.module_from_spec(spec)
    # Dataset classes of worker processes look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _from_package(name: str) -> ModuleType:
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)


def _image_data(made: Any, name: str, spec: str, image_size: int | None) -> ImageData:
    if isinstance(made, ImageData):
        return made
    parts = made if isinstance(made, tuple | list) and not _is_pair(made) else (made,)
    if not 1 <= len(parts) <= 2 or not all(_is_pair(part) or _is_dataset(part) for part in parts):
        raise DataError(f"data function {spec} returned {type(made).__name__}; return {_ACCEPTED}")
    arrays = [_arrays(part, name, image_size) for part in parts]
    classes = getattr(parts[0], "classes", None)
    return image_data(
        *arrays[0],
        name,
        test=arrays[1] if len(arrays) == 2 else None,
        classes=None if classes is None else [str(c) for c in classes],
    )


def _is_pair(value: Any) -> bool:
    """Whether this is (images, labels): two arrays of one length, the first with at least three axes."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    images, labels = value
    return (
        isinstance(images, np.ndarray | torch.Tensor)
        and images.ndim >= 3
        and isinstance(labels, np.ndarray | torch.Tensor | list | tuple)
    )


def _is_dataset(value: Any) -> bool:
    return (
        hasattr(value, "__len__")
        and hasattr(value, "__getitem__")
        and not isinstance(value, tuple | list | dict | str | np.ndarray | torch.Tensor)
    )


def _arrays(part: Any, name: str, image_size: int | None) -> tuple[Any, Any]:
    return tuple(part) if _is_pair(part) else dataset_arrays(part, name, image_size)


ADAPTER = Adapter(_accepts, _load)
