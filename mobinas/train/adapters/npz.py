"""A NumPy archive with images and labels."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mobinas.errors import DataError
from mobinas.train.adapters.arrays import Arrays, image_data
from mobinas.train.adapters.base import Adapter, Wanted
from mobinas.train.images import ImageData

_TRAIN_NAMES = (("images", "labels"), ("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y"))
_VAL_NAMES = (("val_images", "val_labels"), ("x_val", "y_val"), ("x_valid", "y_valid"))
_TEST_NAMES = (("test_images", "test_labels"), ("x_test", "y_test"))


def _load(spec: str, wanted: Wanted) -> ImageData:
    path = Path(spec)
    try:
        # allow_pickle=False: an archive of objects could run any code.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"data file {path} does not exist; check the path") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise DataError(
            f"{path} is not a readable .npz of plain arrays ({error}); write it with numpy.savez"
        ) from None
    train = _pair(arrays, _TRAIN_NAMES)
    if train is None:
        raise DataError(
            f"{path} holds {', '.join(arrays) or 'nothing'}; it needs 'images' and 'labels', or "
            "'x_train' and 'y_train'"
        )
    classes = arrays.get("classes")
    names = None if classes is None else [str(c) for c in classes.ravel().tolist()]
    test, val = _pair(arrays, _TEST_NAMES), _pair(arrays, _VAL_NAMES)
    return image_data(
        Arrays.of(*train, path.stem),
        path.stem,
        test=None if test is None else Arrays.of(*test, f"the test part of {path.stem}"),
        select=None if val is None else Arrays.of(*val, f"the selection part of {path.stem}"),
        classes=names,
        image_size=wanted.image_size,
        background=wanted.background,
    )


def _pair(arrays: dict[str, Any], names: tuple[tuple[str, str], ...]) -> tuple[Any, Any] | None:
    return next(((arrays[x], arrays[y]) for x, y in names if x in arrays and y in arrays), None)


ADAPTER = Adapter(lambda spec: spec.endswith(".npz"), _load)
