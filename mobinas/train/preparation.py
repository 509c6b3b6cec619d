"""What is done to a stored picture before a network sees it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preparation:
    """How each picture of a set becomes uint8 pixels; the same for all of them.

    Attributes:
        channels: 1 for grey, 3 for red, green and blue.
        height: To which each picture is resized, in pixels.
        width: Likewise.
    """

    channels: int
    height: int
    width: int
