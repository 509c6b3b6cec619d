"""Turns arrays and Datasets, as people have them, into ImageData."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from mobinas.errors import DataError
from mobinas.train.adapters.labels import Label, class_names, positions, to_labels
from mobinas.train.adapters.transparency import (
    AUTO,
    Contrast,
    background_named,
    choose_background,
    composited,
    contrast_of,
)
from mobinas.train.adapters.values import (
    BYTES,
    Range,
    check_finite,
    choose_range,
    is_plain,
    spread_of,
    to_bytes,
)
from mobinas.train.images import ImageData, resize
from mobinas.train.preparation import Colour, Preparation

_CHANNELS = (1, 2, 3, 4)
_RGBA = 4
_ROWS_AT_ONCE = 1024
# Parts whose values span so much more, or less, than the training images' are on another scale.
_LARGEST_RATIO = 64.0
_LOOKED_THROUGH = 1000
Rows = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]


class Source(Protocol):
    """One part of a data set: labelled images of one kind."""

    labels: list[Label]

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def prepare(self, image_size: int | None, background: str) -> Preparation:
        """Decides how images of this kind are read, from this part."""
        ...

    def check(self, preparation: Preparation) -> None:
        """Refuses images that cannot be read as the training part's are."""
        ...

    def read(self, preparation: Preparation, image_size: int | None) -> Tensor:
        """The images as uint8 [n, channels, height, width]."""
        ...


def as_array(values: Any, name: str) -> npt.NDArray[Any]:
    """Numbers as a NumPy array, from tensors of any kind and device, arrays or nested lists.

    Raises:
        DataError: No array of numbers.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of various lengths
        raise DataError(f"{name} is no array ({error}); give arrays of numbers") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} holds {array.dtype}; give integers, floats or truth values")
    return array.astype(np.float32) if array.dtype == np.float16 else array


def channels_first(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Views images as [n, channels, h, w].

    Args:
        array: [n, h, w], [n, h, w, channels] or [n, channels, h, w] with 1 to 4 channels (where both readings
            fit, channels come first).
        name: What error messages call it.

    Raises:
        DataError: Another shape.
    """
    values = array
    if values.ndim == 3:
        values = values[:, None]
    elif values.ndim == 4 and values.shape[1] not in _CHANNELS and values.shape[3] in _CHANNELS:
        values = values.transpose(0, 3, 1, 2)
    if values.ndim != 4 or values.shape[1] not in _CHANNELS or not values.size:
        raise DataError(
            f"images of {name} have shape {list(array.shape)}; give [n, h, w], [n, h, w, channels] or "
            "[n, channels, h, w] with 1 to 4 channels"
        )
    return values


@dataclass(slots=True)
class Arrays:
    """Images that came as numbers.

    Attributes:
        rows: One [channels, h, w] for each image; all channels alike, sizes may vary in a list.
        labels: One for each image.
        name: What messages call the part.
        item: What messages call an image, before its number.
    """

    rows: Rows
    labels: list[Label]
    name: str
    item: str = "image"

    @classmethod
    def of(cls, images: Any, labels: Any, name: str) -> "Arrays":
        """From whole arrays of images and labels.

        Raises:
            DataError: Other shapes or types, or another number of labels.
        """
        rows = channels_first(as_array(images, f"the array of images of {name}"), name)
        plain = to_labels(labels, name)
        if len(plain) != len(rows):
            raise DataError(
                f"{name} has {len(rows)} images and {len(plain)} labels; give one label for each image"
            )
        return cls(rows, plain, name)

    def prepare(self, image_size: int | None, background: str) -> Preparation:
        """One scale for all values; 4 channels of 8 bits are RGBA."""
        background_named(background)
        value_range, notes = self._range()
        channels, colour = self.rows[0].shape[0], None
        # Bands of other sensors are no 8-bit pictures.
        if channels == _RGBA and value_range in (None, BYTES, (0.0, 1.0)):
            colour, more = choose_background(background, self._contrasts(value_range or BYTES))
            channels = 3
            notes += (
                "images of 4 channels are taken for RGBA and become RGB; for bands return an ImageData",
            )
            notes += more
        elif channels == _RGBA:
            notes += ("4 channels beyond 8 bits are taken for bands, not for RGBA",)
        height, width = _common_size(self.rows)
        if not isinstance(self.rows, np.ndarray) and image_size is None:
            notes += (f"images have various sizes; each is resized to the median, {height} x {width} pixels",)
        return Preparation(
            channels, image_size or height, image_size or width, "arrays", value_range, colour, notes
        )

    def check(self, preparation: Preparation) -> None:
        """Refuses values on another scale than the training images'."""
        low, high = self._ends()
        floating, wanted = self.rows[0].dtype.kind == "f", preparation.value_range or BYTES
        if preparation.value_range is None and not floating and is_plain(low, high, floating):
            return
        share = (high - low) / (wanted[1] - wanted[0])
        if not 1 / _LARGEST_RATIO <= share <= _LARGEST_RATIO and high > low:
            raise DataError(
                f"{self.name} holds {self.rows[0].dtype} from {low:g} to {high:g}, the training images "
                f"values from {wanted[0]:g} to {wanted[1]:g}; give all parts on one scale"
            )

    def read(self, preparation: Preparation, image_size: int | None) -> Tensor:
        """The images as uint8 [n, channels, height, width]."""
        sized = image_size is not None or not isinstance(self.rows, np.ndarray)
        return torch.cat([_read_chunk(chunk, preparation, sized) for _, chunk in self._chunks()])

    def _chunks(self) -> list[tuple[int, Any]]:
        if isinstance(self.rows, np.ndarray):
            starts = range(0, len(self.rows), _ROWS_AT_ONCE)
            return [(start, self.rows[start : start + _ROWS_AT_ONCE]) for start in starts]
        return [(i, row[None]) for i, row in enumerate(self.rows)]

    def _called(self, i: int) -> str:
        return f"{self.item} {i} of {self.name}"

    def _ends(self) -> Range:
        """Smallest and largest value; all must be finite."""
        ends = []
        for start, chunk in self._chunks():
            if chunk.dtype.kind == "f" and not np.isfinite(chunk).all():
                first = next(k for k, row in enumerate(chunk) if not np.isfinite(row).all())
                check_finite(chunk[first], self._called(start + first))
            ends.append((float(chunk.min()), float(chunk.max())))
        return min(low for low, _ in ends), max(high for _, high in ends)

    def _range(self) -> tuple[Range | None, tuple[str, ...]]:
        kind, (low, high) = self.rows[0].dtype.kind, self._ends()
        if kind == "b" or is_plain(low, high, kind == "f"):
            return ((0.0, 1.0) if kind in "bf" else None), ()
        return choose_range([spread_of(row, self._called(i)) for i, row in enumerate(self.rows)])

    def _contrasts(self, value_range: Range) -> list[tuple[str, Contrast | None]]:
        n = len(self.rows)
        chosen = range(0, n, -(-n // _LOOKED_THROUGH))
        pixels = ((i, to_bytes(self.rows[i], value_range).transpose(1, 2, 0)) for i in chosen)
        return [(self._called(i), contrast_of(rgba)) for i, rgba in pixels]


def _read_chunk(chunk: Any, preparation: Preparation, sized: bool) -> Tensor:
    pixels = to_bytes(np.ascontiguousarray(chunk), preparation.value_range or BYTES)
    if preparation.background is not None and pixels.shape[1] == _RGBA:
        pixels = np.stack([_without_alpha(rgba, preparation.background) for rgba in pixels])
    images = torch.from_numpy(pixels)
    return resize(images, preparation.height, preparation.width) if sized else images


def _without_alpha(rgba: npt.NDArray[np.uint8], background: Colour) -> npt.NDArray[np.uint8]:
    image = Image.fromarray(np.ascontiguousarray(rgba.transpose(1, 2, 0)))
    flat = composited(image, background).convert("RGB")
    return np.asarray(flat).transpose(2, 0, 1)


def _common_size(rows: Rows) -> tuple[int, int]:
    """Of all images; the median where sizes vary."""
    sizes = [row.shape[1:] for row in rows]
    return int(np.median([height for height, _ in sizes])), int(np.median([width for _, width in sizes]))


def image_data(
    train: Source,
    name: str,
    *,
    test: Source | None = None,
    select: Source | None = None,
    classes: Sequence[str] | None = None,
    image_size: int | None = None,
    background: str = AUTO,
    notes: tuple[str, ...] = (),
) -> ImageData:
    """Makes ImageData from the parts of a data set, all read alike.

    Args:
        train: Decides how images are read.
        name: Of the data.
        test: The data's own test part.
        select: The data's own part to select by.
        classes: Their names, which number labels then point into; without them, the distinct labels of the
            training part in order.
        image_size: Height and width to bring images to, in pixels.
        background: Of transparent images.
        notes: Further lines for the user.

    Raises:
        DataError: Arrays of other shapes, types or ranges; labels that are no class.
    """
    names = class_names(train.labels) if classes is None else tuple(str(c) for c in classes)
    preparation = train.prepare(image_size, background)

    def part(source: Source) -> tuple[Tensor, Tensor]:
        if source is not train:
            source.check(preparation)
        images = source.read(preparation, image_size)
        return images, positions(source.labels, names, classes is not None, source.name)

    images, labels = part(train)
    return ImageData(
        images,
        labels,
        names,
        name,
        None if test is None else part(test),
        None if select is None else part(select),
        preparation,
        (*notes, *preparation.notes),
    )
