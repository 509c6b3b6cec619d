"""How much memory decoding a picture takes, and that several at once do not take more than one may."""

import contextlib
import threading
import warnings
from collections.abc import Iterator

from PIL import Image

# One picture may be as large as this, and so may all be together that are decoded at one time. Pillow keeps
# colours in 4 bytes a pixel, and turning, converting and compositing make copies.
LARGEST_MEGAPIXELS = 128
_BYTES_PER_PIXEL = 4
_LARGEST_BYTES = LARGEST_MEGAPIXELS * 10**6 * _BYTES_PER_PIXEL
_REDUCED_FORMATS = ("JPEG", "MPO")
_SMALLEST_JPEG_SCALE = 8
# Baseline JPEG is decoded row by row; a progressive one keeps two bytes for each value of three channels.
_PROGRESSIVE_BYTES_PER_PIXEL = 6

_free_bytes = _LARGEST_BYTES
_changed = threading.Condition()


def check_room(image: Image.Image) -> None:
    """Refuses a picture that is too large to be decoded, even at a reduced size.

    Args:
        image: As opened, not yet decoded.

    Raises:
        Image.DecompressionBombError: It is; with its size and the limit.
    """
    scale = _SMALLEST_JPEG_SCALE if image.format in _REDUCED_FORMATS else 1
    decoded_pixels = -(-image.width // scale) * -(-image.height // scale)
    _check(image.size, _bytes_to_decode(image, image.size, decoded_pixels))


@contextlib.contextmanager
def room_to_decode(image: Image.Image, draft: int | None = None) -> Iterator[None]:
    """Waits until the picture can be decoded beside those that other threads decode.

    Args:
        image: As opened; a JPEG will be decoded at a fraction of its size, several times faster, as long as
            it stays larger than what is wanted.
        draft: Height and width wanted at least, in pixels; None decodes the whole.

    Raises:
        Image.DecompressionBombError: It is too large, however long one waits.
    """
    global _free_bytes
    stored = image.size
    if draft is not None and hasattr(image, "draft"):
        image.draft(None, (draft, draft))
    needed = _bytes_to_decode(image, stored, image.width * image.height)
    _check(stored, needed)
    with _changed:
        _changed.wait_for(lambda: needed <= _free_bytes)
        _free_bytes -= needed
    try:
        yield
    finally:
        with _changed:
            _free_bytes += needed
            _changed.notify_all()


@contextlib.contextmanager
def own_limits() -> Iterator[None]:
    """Inside, the limits of this module hold, not Pillow's, whose warnings name no file."""
    # Plugins that load while threads open pictures leave some of these unrecognised.
    Image.init()
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _bytes_to_decode(image: Image.Image, stored: tuple[int, int], decoded_pixels: int) -> int:
    progressive = image.format in _REDUCED_FORMATS and "progressive" in image.info
    whole = stored[0] * stored[1] * _PROGRESSIVE_BYTES_PER_PIXEL if progressive else 0
    return whole + decoded_pixels * _BYTES_PER_PIXEL


def _check(stored: tuple[int, int], needed: int) -> None:
    if needed > _LARGEST_BYTES:
        raise Image.DecompressionBombError(
            f"{stored[0] * stored[1] / 1e6:.0f} megapixels, {needed / 1e9:.1f} GB decoded; at most "
            f"{LARGEST_MEGAPIXELS}, {_LARGEST_BYTES / 1e9:.1f} GB"
        )
