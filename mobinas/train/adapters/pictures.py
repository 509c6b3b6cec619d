"""One picture file: what its header says, and its pixels as a network's input."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from mobinas.errors import DataError
from mobinas.train.adapters.room import check_room, room_to_decode
from mobinas.train.preparation import Preparation

_GREY_MODES = frozenset(("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"))
# Photographs of 12 megapixels would fill any memory; who wants more than this says so with image_size.
LARGEST_AUTOMATIC_SIZE = 96
_ORIENTATION_TAG = 0x0112
_FIRST_TURNED_ORIENTATION = 5


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture's header says.

    Attributes:
        height: In pixels, as shown (turned by EXIF where it says so).
        width: Likewise.
        grey: Whether it holds no colour.
    """

    height: int
    width: int
    grey: bool


def look(path: Path) -> Look:
    """Reads a picture's header.

    Raises:
        DataError: The file is no readable picture; the text names it.
    """
    with _opened(path) as image:
        check_room(image)
        width, height = image.size
        # PNG's own getexif decodes the whole picture, as the tag may come behind the pixels.
        if Image.Image.getexif(image).get(_ORIENTATION_TAG, 1) >= _FIRST_TURNED_ORIENTATION:
            width, height = height, width
        return Look(height, width, image.mode in _GREY_MODES)


def preparation_for(paths: Sequence[Path], looks: Sequence[Look], image_size: int | None) -> Preparation:
    """How all pictures of a set are to be read.

    Args:
        paths: The pictures.
        looks: Of each.
        image_size: Height and width in pixels; without it, the median of each, scaled down to
            `LARGEST_AUTOMATIC_SIZE` where they exceed it.
    """
    channels = 1 if all(one.grey for one in looks) else 3
    if image_size is not None:
        return Preparation(channels, image_size, image_size)
    height, width = median(one.height for one in looks), median(one.width for one in looks)
    scale = min(1.0, LARGEST_AUTOMATIC_SIZE / max(height, width))
    return Preparation(channels, max(1, round(height * scale)), max(1, round(width * scale)))


def read_picture(path: Path, preparation: Preparation) -> npt.NDArray[np.uint8]:
    """The pixels of a picture file, uint8 [channels, height, width].

    Raises:
        DataError: The file is no readable picture; the text names it.
    """
    size = (preparation.width, preparation.height)
    with _opened(path) as opened, room_to_decode(opened, 2 * size[0], 2 * size[1]):
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):
            # Pillow clips 16-bit pixels instead of scaling them.
            image = Image.fromarray(
                (np.asarray(image).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8)
            )
        image = image.convert("L" if preparation.channels == 1 else "RGB")
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        pixels = np.array(image)
    return pixels[None] if preparation.channels == 1 else pixels.transpose(2, 0, 1)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Opens an image; whatever is wrong with it names the file."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read image {path} ({error}); repair or remove it") from None
