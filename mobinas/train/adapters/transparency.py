"""On which background transparent pictures are put."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor

from mobinas.errors import DataError
from mobinas.train.preparation import WHITE, Colour

AUTO = "auto"
BACKGROUNDS: dict[str, Colour] = {"white": WHITE, "black": (0, 0, 0), "grey": (128, 128, 128)}
# Root mean square distance to the background below which a picture's visible part is as good as lost, of 255.
_LEAST_CONTRAST = 32.0

Contrast = tuple[float, ...]


def background_named(text: str) -> Colour | None:
    """The colour that a user asks for; None for ``auto``.

    Raises:
        DataError: No colour of this name.
    """
    if text == AUTO:
        return None
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise DataError(
            f"images.background is '{text}'; give auto, white, black, grey or a colour such as #ff8800"
        ) from None


def composited(image: Image.Image, background: Colour) -> Image.Image:
    """A picture without transparency; colours under full transparency do not matter."""
    if not image.has_transparency_data:
        return image
    visible = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), visible)


def contrast_of(pixels: npt.NDArray[np.uint8]) -> Contrast | None:
    """How far the visible part of a picture lies from each background of `BACKGROUNDS`.

    Args:
        pixels: RGBA, [height, width, 4].

    Returns:
        Root mean square distances in 0 to 255, weighted by opacity, of the colour channel that differs most;
        infinite for an opaque picture, None for one without anything visible.
    """
    colours, opacity = pixels[..., :3].astype(np.float32), pixels[..., 3].astype(np.float64)
    if pixels[..., 3].min() == 255:
        return tuple(np.inf for _ in BACKGROUNDS)
    if not opacity.any():
        return None
    return tuple(
        float(np.sqrt(np.average(np.abs(colours - background).max(axis=2) ** 2, weights=opacity)))
        for background in np.array(list(BACKGROUNDS.values()), np.float32)[:, None, None]
    )


def choose_background(
    asked: str, contrasts: Sequence[tuple[str, Contrast | None]]
) -> tuple[Colour, tuple[str, ...]]:
    """The background for all pictures, and what a user should know of it.

    White, black or grey, in this order, whichever leaves the fewest pictures without contrast.

    Args:
        asked: As of `background_named`.
        contrasts: Of the pictures with an alpha channel, by name.
    """
    names = list(BACKGROUNDS)
    known = [(name, contrast) for name, contrast in contrasts if contrast is not None]
    lost = [[name for name, contrast in known if contrast[k] < _LEAST_CONTRAST] for k in range(len(names))]
    best = min(range(len(names)), key=lambda k: len(lost[k]))
    colour = background_named(asked)
    notes: list[str] = []
    if any(contrast is None or contrast[0] < np.inf for _, contrast in contrasts):
        where = f"{names[best]} {BACKGROUNDS[names[best]]}" if colour is None else f"{asked} {colour}"
        notes.append(f"transparent pictures are put on {where}; images.background sets another colour")
    if colour is None and lost[best]:
        notes.append(f"{len(lost[best])} pictures such as {lost[best][0]} can hardly be seen on it")
    empty = [name for name, contrast in contrasts if contrast is None]
    if empty:
        notes.append(f"{len(empty)} pictures such as {empty[0]} are fully transparent")
    return (BACKGROUNDS[names[best]] if colour is None else colour), tuple(notes)


def rgba_array(image: Any) -> npt.NDArray[np.uint8]:
    """A picture's pixels as RGBA, [height, width, 4]."""
    return np.asarray(image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA"))
