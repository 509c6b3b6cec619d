"""Turns arrays and Datasets, as people have them, into ImageData."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mobinas.errors import DataError
from mobinas.train.images import ImageData, resize

_CHANNELS = (1, 2, 3, 4)


def to_images(array: Any, name: str) -> Tensor:
    """Reads images from an array.

    Args:
        array: [n, h, w], [n, h, w, channels] or [n, channels, h, w] with 1 to 4 channels (where both readings
            fit, channels come first); integers in 0 to 255, or floats or truth values in 0 to 1.
        name: What error messages call it.

    Returns:
        uint8, [n, channels, h, w].

    Raises:
        DataError: Another shape, type or range.
    """
    values = np.asarray(array)
    if values.ndim == 3:
        values = values[:, None]
    elif values.ndim == 4 and values.shape[1] not in _CHANNELS and values.shape[3] in _CHANNELS:
        values = values.transpose(0, 3, 1, 2)
    if values.ndim != 4 or values.shape[1] not in _CHANNELS or not values.size:
        raise DataError(
            f"images of {name} have shape {list(np.shape(array))}; give [n, h, w], [n, h, w, channels] or "
            "[n, channels, h, w] with 1 to 4 channels"
        )
    return torch.from_numpy(np.ascontiguousarray(_to_bytes(values, name)))


def _to_bytes(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "biuf":
        raise DataError(f"images of {name} are {values.dtype}; give integers in 0 to 255 or floats in 0 to 1")
    highest = 255 if values.dtype.kind in "iu" else 1
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= highest):
        raise DataError(
            f"images of {name} are {values.dtype} from {low:g} to {high:g}; integers must lie in 0 to 255, "
            "floats in 0 to 1 (without NaN)"
        )
    return np.rint(values * (255 / highest)).astype(np.uint8)


def to_labels(array: Any, name: str) -> list[Any]:
    """Reads labels from an array of integers or strings, [n] or [n, 1].

    Raises:
        DataError: Another shape or type.
    """
    values = np.asarray(array)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype.kind not in "iuUb":
        raise DataError(
            f"labels of {name} are {values.dtype} of shape {list(values.shape)}; give one integer or string "
            "for each image"
        )
    return list(values.tolist())


def image_data(
    images: Any,
    labels: Any,
    name: str,
    *,
    test: tuple[Any, Any] | None = None,
    classes: Sequence[str] | None = None,
) -> ImageData:
    """Makes ImageData from arrays.

    Args:
        images: See `to_images`.
        labels: See `to_labels`; without `classes`, the distinct ones in sorted order become the classes.
        name: Of the data.
        test: Images and labels of the data's own test part.
        classes: Their names, which integer labels then point into.

    Raises:
        DataError: Arrays of other shapes, types or ranges; test labels that training lacks.
    """
    pixels, raw = to_images(images, name), to_labels(labels, name)
    if classes is not None:
        names, known = tuple(str(c) for c in classes), list(range(len(classes)))
    else:
        known = sorted(set(raw))
        names = tuple(str(label) for label in known)
    place = {label: position for position, label in enumerate(known)}
    own_test = None
    if test is not None:
        where = f"the test part of {name}"
        own_test = to_images(test[0], where), _positions(to_labels(test[1], where), place, where)
    return ImageData(pixels, _positions(raw, place, name), names, name, own_test)


def _positions(labels: list[Any], place: dict[Any, int], name: str) -> Tensor:
    unknown = next((label for label in labels if label not in place), None)
    if unknown is not None:
        raise DataError(f"label {unknown!r} in {name} is none of the {len(place)} classes {list(place)[:8]}")
    return torch.tensor([place[label] for label in labels], dtype=torch.int64)


def dataset_arrays(dataset: Any, name: str, image_size: int | None) -> tuple[Tensor, list[Any]]:
    """Reads all items of a map-style Dataset of (image, label).

    Args:
        dataset: Its images are PIL images, arrays or tensors.
        name: What error messages call it.
        image_size: To which images are resized; needed where their sizes vary.

    Returns:
        uint8 [n, channels, h, w], and the labels.

    Raises:
        DataError: Images of various sizes without a size to bring them to, or items of another kind.
    """
    images: list[Tensor] = []
    labels: list[Any] = []
    for i in range(len(dataset)):
        item = dataset[i]
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise DataError(
                f"item {i} of {name} is {type(item).__name__}; a Dataset must give (image, label)"
            )
        image = to_images(_array(item[0])[None], f"item {i} of {name}")
        images.append(image if image_size is None else resize(image, image_size, image_size))
        labels.append(item[1].item() if hasattr(item[1], "item") else item[1])
    shapes = {tuple(image.shape[1:]) for image in images}
    if len(shapes) != 1:
        raise DataError(
            f"{name} has images of {len(shapes)} shapes, such as {[list(s) for s in sorted(shapes)[:3]]}; "
            "set an image size, and give all the same channels"
        )
    return torch.cat(images), labels


def _array(image: Any) -> npt.NDArray[Any]:
    array = np.asarray(image)
    # A lone [channels, h, w] tensor and a lone [h, w, channels] picture both have three axes.
    return array[None] if array.ndim == 2 else array
