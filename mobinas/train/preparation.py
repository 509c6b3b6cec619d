"""What is done to a stored picture before a network sees it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)

_FILE_NOTE = (
    "Do in this order: open with Pillow (JPEG: image.draft(None, (jpeg_draft, jpeg_draft)) first); "
    "where pixels "
    "have more than 8 bits, rint((x - low) * (255 / (high - low))) clipped to 0..255 by value_range "
    "(8-bit ones "
    "stay); turn by EXIF (ImageOps.exif_transpose); put what is transparent on background "
    "(Image.alpha_composite); convert to RGB or L; resize, step by step, with Pillow's BILINEAR, which is "
    "antialiased; scale by 1/255; (x - mean) / std per channel; NCHW float32. Another library's resize may "
    "differ by a level of 255. examples/classify.py of MOBINAS does it."
)
_ARRAY_NOTE = (
    "The images came as arrays, so no file was decoded. Do in this order: where value_range is given, "
    "rint((x - low) * (255 / (high - low))) clipped to 0..255; channels in colour_order; where background is "
    "given, put 4 channels (RGBA) on it; resize, step by step, with Pillow's BILINEAR, which is "
    "antialiased; scale "
    "by 1/255; (x - mean) / std per channel; NCHW float32. Another library's resize may differ by a "
    "level of 255."
)


@dataclass(frozen=True, slots=True)
class Preparation:
    """How each picture of a set becomes uint8 pixels; the same for all of them.

    Attributes:
        channels: 1 for grey, 3 for red, green and blue; others only for arrays.
        height: To which each picture is resized, in pixels.
        width: Likewise.
        source: Whether pictures were decoded from files (or were PIL images), or came as arrays.
        value_range: (low, high) of pixels beyond 8 bits, which become 0 and 255; None where all have 8 bits.
        background: On which transparent pixels are put; None for arrays without transparency.
        notes: What a user should know of these decisions, a line each.
    """

    channels: int
    height: int
    width: int
    source: Literal["pictures", "arrays"] = "pictures"
    value_range: tuple[float, float] | None = None
    background: Colour | None = WHITE
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def jpeg_draft(self) -> int | None:
        """JPEG files are decoded at a fraction of their size, at least this many pixels high and wide."""
        return 2 * max(self.height, self.width) if self.source == "pictures" else None

    def manifest(self, resolution: int, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
        """All that turns a stored picture into a network's input, as plain data.

        Args:
            resolution: Height and width of the network's input, in pixels.
            mean: Per channel, of images scaled to [0, 1].
            std: Per channel.
        """
        sizes = dict.fromkeys(((self.height, self.width), (resolution, resolution)))
        files = self.source == "pictures"
        return {
            "source": self.source,
            "colour_order": {1: "grey", 3: "RGB"}.get(self.channels, f"{self.channels} bands as given"),
            "grey_from_colour": "ITU-R 601 luma, as Pillow's L" if self.channels == 1 and files else None,
            "exif_orientation": "applied" if files else None,
            "background": None if self.background is None else list(self.background),
            "value_range": None if self.value_range is None else list(self.value_range),
            "jpeg_draft": self.jpeg_draft,
            "resize": [
                {
                    "height": height,
                    "width": width,
                    "filter": "bilinear",
                    "antialias": True,
                    "keep_aspect": False,
                }
                for height, width in sizes
            ],
            "scale": 1 / 255,
            "mean": list(mean),
            "std": list(std),
            "layout": "NCHW",
            "channels": self.channels,
            "dtype": "float32",
            "note": _FILE_NOTE if files else _ARRAY_NOTE,
        }
