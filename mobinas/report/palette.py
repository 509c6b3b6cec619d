"""The report's colours, by role, for light and for dark pages.

The hues are near those of Okabe and Ito (2008), which stay apart for colour-blind readers; every picture also
tells its kinds apart by shape or by words. Each light colour is unique: in a page it is replaced by its role,
so that a picture drawn once follows the reader's theme.
"""

from dataclasses import dataclass

from mobinas.arch.blocks import BLOCKS, Convolution
from mobinas.arch.ops import OPS, Conv, Pool


@dataclass(frozen=True, slots=True)
class Colour:
    """One role's colours as ``#rrggbb``."""

    role: str
    light: str
    dark: str


COLOURS = (
    Colour("ink", "#1b1f24", "#e6e9ed"),
    Colour("muted", "#59636e", "#9aa4b0"),
    Colour("faint", "#dce0e5", "#353c45"),
    Colour("surface", "#ffffff", "#161a1f"),
    Colour("page", "#f5f6f8", "#0e1114"),
    Colour("blue", "#0072b2", "#58b1ea"),
    Colour("orange", "#d55e00", "#ff8f45"),
    Colour("green", "#00875f", "#2fc795"),
    Colour("purple", "#a8508a", "#dd8fc3"),
    Colour("amber", "#b07c00", "#e9b440"),
    Colour("grey", "#8b95a1", "#6f7985"),
)

LIGHT = {colour.role: colour.light for colour in COLOURS}
INK, MUTED, FAINT, SURFACE = (LIGHT[role] for role in ("ink", "muted", "faint", "surface"))
BLUE, ORANGE, GREEN, PURPLE, AMBER, GREY = (
    LIGHT[role] for role in ("blue", "orange", "green", "purple", "amber", "grey")
)

SERIES = (BLUE, ORANGE, GREEN, PURPLE, AMBER, GREY)


def op_colour(name: str) -> str:
    """The colour of an op's family, read off its layers, so that a new op gets one without being listed.

    Args:
        name: A name in `OPS`.
    """
    steps = OPS[name].steps
    convs = [step for step in steps if isinstance(step, Conv)]
    if any(conv.dilation > 1 for conv in convs):
        return PURPLE
    if any(conv.depthwise for conv in convs):
        return GREEN
    if convs:
        return BLUE
    return AMBER if any(isinstance(step, Pool) for step in steps) else GREY


def block_colour(name: str) -> str:
    """The colour of a block's family, read off its steps as `op_colour` does.

    Args:
        name: A name in `BLOCKS`.
    """
    convs = [step for step in BLOCKS[name].steps if isinstance(step, Convolution)]
    if any(conv.depthwise for conv in convs):
        return GREEN
    if any(conv.branched for conv in convs):
        return PURPLE
    return BLUE if convs else GREY


def css_variables() -> str:
    """The roles as CSS custom properties: light first, dark where the reader's system asks for it."""
    light = "".join(f"--{c.role}:{c.light};" for c in COLOURS)
    dark = "".join(f"--{c.role}:{c.dark};" for c in COLOURS)
    return f":root{{color-scheme:light dark;{light}}}\n@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
