"""Data from a Python function, named ``package.module:function`` or ``path/file.py:function``."""

from typing import Any

import numpy as np
import torch

from mobinas.errors import DataError, MobinasError
from mobinas.functions import is_function_name, load_function
from mobinas.train.adapters.arrays import dataset_arrays, image_data
from mobinas.train.adapters.base import Adapter, Wanted
from mobinas.train.images import ImageData

_ACCEPTED = (
    "(images, labels), ((images, labels), (test images, test labels)), a Dataset or (train, test) Datasets"
)


def _load(spec: str, wanted: Wanted) -> ImageData:
    function, name = load_function(spec, DataError), spec.rpartition(":")[2]
    try:
        made = function()
    except MobinasError:
        raise
    except Exception as error:
        raise DataError(f"data function {spec} failed with {type(error).__name__}: {error}") from error
    return _image_data(made, name, spec, wanted.image_size)


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


ADAPTER = Adapter(is_function_name, _load)
