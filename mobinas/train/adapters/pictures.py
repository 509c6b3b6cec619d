"""One picture: what its header says, and its pixels as a network's input."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from mobinas.errors import DataError
from mobinas.progress import Progress, silent
from mobinas.train.adapters.deep import ORIENTATION_TAG, deep_values, eight_bit, is_deep
from mobinas.train.adapters.room import check_room, room_to_decode
from mobinas.train.adapters.transparency import (
    AUTO,
    Contrast,
    background_named,
    choose_background,
    composited,
    contrast_of,
    rgba_array,
)
from mobinas.train.adapters.values import Range, Spread, choose_range, spread_of
from mobinas.train.preparation import Preparation

_GREY_MODES = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"))
# Photographs of 12 megapixels would fill any memory; who wants more than this says so with image_size.
LARGEST_AUTOMATIC_SIZE = 96
_FIRST_TURNED_ORIENTATION = 5
T = TypeVar("T")
# So many transparent pictures, spread over the set, choose the background.
_LOOKED_THROUGH = 1000


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture's header says.

    Attributes:
        height: In pixels, as shown (turned by EXIF where it says so).
        width: Likewise.
        grey: Whether it holds no colour.
        deep: Whether its pixels have more than 8 bits per channel, or signs.
        transparent: Whether it has an alpha channel or a transparent colour.
    """

    height: int
    width: int
    grey: bool
    deep: bool = False
    transparent: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that can be opened again and again.

    Attributes:
        name: What messages call it.
        open: Opens it; what is wrong with it is a `DataError` that names it, also when pixels are read
            inside.
    """

    name: str
    open: Callable[[], AbstractContextManager[Image.Image]]


def look(path: Path) -> Look:
    """Reads a picture's header.

    Raises:
        DataError: The file is no readable picture; the text names it.
    """
    with _opened(path) as image:
        check_room(image)
        return look_at(image)


def look_at(image: Image.Image) -> Look:
    """What the header of an opened picture says."""
    width, height = image.size
    # What follows may load the pixels, which then have 8 bits.
    deep = is_deep(image)
    if _is_turned(image):
        width, height = height, width
    return Look(height, width, image.mode in _GREY_MODES, deep, image.has_transparency_data)


def _is_turned(image: Image.Image) -> bool:
    # Pillow's reader of TIFF turns by itself and gives the turned size from the start; for EXIF behind the
    # pixels of a PNG it would read all of them.
    if isinstance(image, TiffImageFile) or (isinstance(image, PngImageFile) and "exif" not in image.info):
        return False
    return bool(image.getexif().get(ORIENTATION_TAG, 1) >= _FIRST_TURNED_ORIENTATION)


def preparation_for(
    paths: Sequence[Path],
    looks: Sequence[Look],
    image_size: int | None,
    *,
    background: str = AUTO,
    progress: Progress = silent,
) -> Preparation:
    """How all pictures of a set are to be read, decided once.

    Pictures of more than 8 bits are read for the range of their values, transparent ones for a background.

    Args:
        paths: The training pictures.
        looks: Of each.
        image_size: Height and width in pixels; without it, the median of each, scaled down to
            `LARGEST_AUTOMATIC_SIZE` where they exceed it.
        background: Of transparent pictures: ``auto``, or a colour's name or ``#rrggbb``.
        progress: Told the pictures read.

    Raises:
        DataError: A picture cannot be read, or no one scale fits the deep ones.
    """
    pictures = [Picture(str(path), partial(_opened, path)) for path in paths]
    return preparation_of(pictures, looks, image_size, background, progress, os.cpu_count() or 1)


def preparation_of(
    pictures: Sequence[Picture],
    looks: Sequence[Look],
    image_size: int | None,
    background: str,
    progress: Progress,
    threads: int,
) -> Preparation:
    """As `preparation_for`, of pictures that are opened by so many threads."""
    background_named(background)
    deep = [p for p, one in zip(pictures, looks, strict=True) if one.deep]
    mixed = len(deep) < len(pictures)
    shaped = any(one.deep and one.transparent for one in looks)
    value_range, notes = _range_of(deep, mixed, shaped, progress, threads) if deep else (None, ())
    clear = [p for p, one in zip(pictures, looks, strict=True) if one.transparent]
    clear = clear[:: -(-len(clear) // _LOOKED_THROUGH)] if clear else []
    contrasts = _each(partial(_contrast, value_range=value_range), clear, "transparent", progress, threads)
    colour, more = choose_background(background, list(zip((p.name for p in clear), contrasts, strict=True)))
    if deep and mixed:
        notes += (
            f"that scale is of {len(deep)} pictures; the other {len(pictures) - len(deep)} have 8 "
            f"bits and stay",
        )
    height, width = _size(looks, image_size)
    channels = 1 if all(one.grey for one in looks) else 3
    return Preparation(
        channels, height, width, value_range=value_range, background=colour, notes=notes + more
    )


def read_picture(path: Path, preparation: Preparation) -> npt.NDArray[np.uint8]:
    """The pixels of a picture file, uint8 [channels, height, width].

    Raises:
        DataError: The file is no readable picture, or deep where no training picture is; the text names it.
    """
    return read(Picture(str(path), partial(_opened, path)), preparation)


def read(picture: Picture, preparation: Preparation) -> npt.NDArray[np.uint8]:
    """As `read_picture`."""
    size, draft = (preparation.width, preparation.height), preparation.jpeg_draft
    with picture.open() as image, room_to_decode(image, draft):
        if is_deep(image):
            image = _scaled(picture, image, preparation.value_range)
        image = composited(ImageOps.exif_transpose(image), preparation.background or (255, 255, 255))
        image = image.convert("L" if preparation.channels == 1 else "RGB")
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        pixels = np.array(image)
    return pixels[None] if preparation.channels == 1 else pixels.transpose(2, 0, 1)


def _size(looks: Sequence[Look], image_size: int | None) -> tuple[int, int]:
    if image_size is not None:
        return image_size, image_size
    height, width = median(one.height for one in looks), median(one.width for one in looks)
    scale = min(1.0, LARGEST_AUTOMATIC_SIZE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _scaled(picture: Picture, image: Image.Image, value_range: Range | None) -> Image.Image:
    if value_range is None:
        values = deep_values(image)[0]
        raise DataError(
            f"{picture.name} has pixels of more than 8 bits ({values.min():g} to {values.max():g}), which no "
            "training picture has; convert it to 8 bits as the others"
        )
    return eight_bit(image, value_range)


def _range_of(
    deep: Sequence[Picture], mixed: bool, shaped: bool, progress: Progress, threads: int
) -> tuple[Range, tuple[str, ...]]:
    spreads = [s for s in _each(_spread, deep, "deep", progress, threads) if s is not None]
    return choose_range(spreads, mixed, shaped) if spreads else ((0.0, 1.0), ())


def _spread(picture: Picture) -> Spread | None:
    """Of what is visible; None where nothing is."""
    with picture.open() as image, room_to_decode(image):
        values, alpha, _ = deep_values(image)
    visible = values if alpha is None else values[alpha > 0]
    return spread_of(visible, picture.name) if visible.size else None


def _contrast(picture: Picture, value_range: Range | None) -> Contrast | None:
    with picture.open() as image, room_to_decode(image):
        if is_deep(image) and value_range is not None:
            image = eight_bit(image, value_range)
        return contrast_of(rgba_array(image))


def _each(
    function: Callable[[Picture], T], pictures: Sequence[Picture], kind: str, progress: Progress, threads: int
) -> list[T]:
    found = []
    with ThreadPoolExecutor(threads) as pool:
        for done, one in enumerate(pool.map(function, pictures), start=1):
            found.append(one)
            progress(done, len(pictures), f"looking through {kind} pictures")
    return found


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Opens an image; whatever is wrong with it names the file."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read image {path} ({error}); repair or remove it") from None
