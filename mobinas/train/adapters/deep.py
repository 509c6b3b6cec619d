"""Pixels of more than 8 bits, as a picture file stores them."""

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from mobinas.train.adapters.values import Range, to_bytes

ORIENTATION_TAG = 0x0112
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339
_UNSIGNED, _SIGNED = 1, 2
_WIDE_MODES = frozenset(("RGB", "RGBA"))
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def is_deep(image: Image.Image) -> bool:
    """Whether an opened, not yet loaded picture stores more than 8 bits per channel, or signed ones."""
    return (
        image.mode.startswith("I")
        or image.mode == "F"
        or _wide_rawmode(image) is not None
        or _is_signed_byte(image)
    )


def deep_values(image: Image.Image) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8] | None, int]:
    """The values of a deep picture as stored, not turned unless Pillow's reader does.

    Returns:
        [height, width, 1 or 3], the alpha channel [height, width] where there is one, and the EXIF
        orientation that
        is left to apply.
    """
    rawmode = _wide_rawmode(image)
    key = image.info.get("transparency")
    if rawmode is None:
        values, alpha = _single_channel(image)[..., None], None
    else:
        values, alpha, image = _wide_values(image, rawmode)
    if alpha is None and key is not None:
        alpha = np.where((values == np.array(key)).all(axis=2), 0, 255).astype(np.uint8)
    return values, alpha, int(image.getexif().get(ORIENTATION_TAG, 1))


def eight_bit(image: Image.Image, value_range: Range) -> Image.Image:
    """A deep picture with 8 bits per channel (L, LA, RGB or RGBA), and its EXIF orientation."""
    values, alpha, orientation = deep_values(image)
    channels = [*np.moveaxis(to_bytes(values, value_range), 2, 0), *([] if alpha is None else [alpha])]
    made = Image.merge(("L", "LA", "RGB", "RGBA")[len(channels) - 1], [Image.fromarray(c) for c in channels])
    made.getexif()[ORIENTATION_TAG] = orientation
    return made


def _single_channel(image: Image.Image) -> npt.NDArray[Any]:
    values = np.asarray(image)
    if _is_signed_byte(image):
        return values.view(np.int8)
    if _tiff_tag(image, _BITS_PER_SAMPLE) == 32 and _tiff_tag(image, _SAMPLE_FORMAT) == _UNSIGNED:
        return values.view(np.uint32)
    return values


def _is_signed_byte(image: Image.Image) -> bool:
    """Pillow reads -1 of such a TIFF as 255."""
    signed = _tiff_tag(image, _SAMPLE_FORMAT) == _SIGNED
    return image.mode == "L" and signed and _tiff_tag(image, _BITS_PER_SAMPLE) == 8


def _tiff_tag(image: Image.Image, tag: int) -> Any:
    value = image.tag_v2.get(tag) if isinstance(image, TiffImageFile) else None
    return value[0] if isinstance(value, tuple) else value


def _wide_rawmode(image: Image.Image) -> str | None:
    """Of a picture with several channels of 16 bits, whose low bytes Pillow drops."""
    tiles = getattr(image, "tile", None)
    if image.mode not in _WIDE_MODES or not tiles:
        return None
    arguments = tiles[0].args
    rawmode = arguments if isinstance(arguments, str) else arguments[0] if arguments else None
    return rawmode if isinstance(rawmode, str) and ";16" in rawmode else None


def _wide_values(
    image: Image.Image, rawmode: str
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8] | None, Image.Image]:
    """Decodes twice: in the other byte order, what Pillow takes for the high byte is the low one."""
    if rawmode == "LA;16B":
        # Its four bytes a pixel are read as if they were the four channels of RGBA.
        loaded = _decoded(image, "RGBA")
        high, low = np.asarray(loaded)[..., ::2], np.asarray(loaded)[..., 1::2]
    else:
        straight = rawmode.replace("RGBa", "RGBA")
        loaded = _decoded(image, straight)
        high, low = np.asarray(loaded), np.asarray(_decoded(image, straight[:-1] + _SWAPPED[straight[-1]]))
    values = high.astype(np.uint16) * 256 + low
    if values.shape[2] == 3:
        return values, None, loaded
    colours, alpha = values[..., :-1], values[..., -1:]
    if rawmode.startswith("RGBa"):
        scaled = colours.astype(np.float64) * 65535 / np.maximum(alpha, 1)
        colours = np.rint(scaled).clip(0, 65535).astype(np.uint16)
    return colours, ((alpha[..., 0].astype(np.uint32) + 128) // 257).astype(np.uint8), loaded


def _decoded(image: Image.Image, rawmode: str) -> Image.Image:
    filename = getattr(image, "filename", "")
    # What is read from a stream of the user's stays open.
    opened: Any = Image.open(filename or image.fp)  # type: ignore[attr-defined]
    opened.tile = [
        tile._replace(args=rawmode if isinstance(tile.args, str) else (rawmode, *tile.args[1:]))
        for tile in opened.tile
    ]
    opened.load()
    made: Image.Image = opened
    return made
