"""Figures in one style, and their two outputs: PNG bytes, and SVG that follows the page's theme.

Nothing here touches pyplot, so no window, no backend choice and no global figure list is involved.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mobinas.report.markup import Markup
from mobinas.report.palette import COLOURS, FAINT, INK, MUTED, SURFACE
from mobinas.report.words import plain

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_UNIT_IN = 0.235  # of a drawing of boxes, the height of a box
_MARGIN_IN = 0.12
_TITLE_IN = 0.36
_EDGE = 0.1  # room for half a line's width, in units of the drawing
_ROLE_OF = {colour.light: colour.role for colour in COLOURS}

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold dollar signs
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.facecolor": SURFACE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.unicode_minus": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "lines.linewidth": 1.8,
    "figure.facecolor": SURFACE,
    "savefig.facecolor": SURFACE,
    "svg.fonttype": "none",
    "svg.hashsalt": "mobinas",
    "path.simplify": True,
}


@contextmanager
def style() -> Iterator[None]:
    """Draws and saves in the report's style; settings outside are left as they were."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A class name in a script that the font lacks: the page shows it, the PNG a box. No reason to fail.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def new_axes(width_in: float, height_in: float, margins_in: tuple[float, float, float, float]) -> Axes:
    """Axes in a figure of their own.

    Args:
        width_in: Width of the figure in inches.
        height_in: Its height in inches.
        margins_in: Space left, below, right and above the axes, in inches.
    """
    left, below, right, above = margins_in
    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)
    box = (
        left / width_in,
        below / height_in,
        (width_in - left - right) / width_in,
        (height_in - below - above) / height_in,
    )
    return figure.add_axes(box)


def figure_of(axes: Axes) -> Figure:
    """The figure that holds the axes."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure), "axes are always in a figure here"
    return figure


def png(axes: Axes, dots_per_inch: int = 200) -> bytes:
    """The axes' figure as a PNG file's bytes; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with style():
        figure_of(axes).savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": "MOBINAS"})
    return buffer.getvalue()


def svg(axes: Axes, key: str, caption: str, tips: Mapping[str, str] | None = None) -> Markup:
    """The axes' figure as an SVG element for a page.

    Colours become the page's roles, text takes the page's font, and ids are made unique by `key`.

    Args:
        axes: Any axes of the figure.
        key: Letters and digits, unique within the page.
        caption: What the picture shows, for readers who cannot see it.
        tips: Group ids (set with ``artist.set_gid``) -> text shown when the pointer rests there.
    """
    buffer = io.BytesIO()
    with style():
        figure_of(axes).savefig(buffer, format="svg", metadata={"Date": None})
    root = ET.fromstring(buffer.getvalue())  # comments, which hold names from data, are dropped in parsing
    for parent in root.iter():
        for child in [c for c in parent if c.tag.endswith("}metadata") or c.tag.endswith("}style")]:
            parent.remove(child)
    _add_tips(root, tips or {})
    for element in root.iter():
        _adapt(element, key)
    width, height = (float(root.attrib.pop(side).removesuffix("pt")) for side in ("width", "height"))
    root.set("role", "img")
    root.set("aria-label", caption)
    root.set("style", f"max-width:{width * 96 / 72:.0f}px;aspect-ratio:{width:g}/{height:g}")
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    return Markup(ET.tostring(root, encoding="unicode"))


def _add_tips(root: ET.Element, tips: Mapping[str, str]) -> None:
    for element in root.iter(f"{{{_SVG}}}g"):
        tip = tips.get(element.get("id", ""))
        if tip is not None:
            title = ET.Element(f"{{{_SVG}}}title")
            title.text = tip
            element.insert(0, title)


def _adapt(element: ET.Element, key: str) -> None:
    for name, value in list(element.attrib.items()):
        if name == "id":
            element.set(name, f"{key}-{value}")
        elif name == f"{{{_XLINK}}}href":
            element.set(name, value.replace("#", f"#{key}-", 1))
        elif name == "clip-path":
            element.set(name, value.replace("url(#", f"url(#{key}-", 1))
        elif name in ("style", "fill", "stroke"):
            themed = re.sub(r"#[0-9a-f]{6}", _role, value)
            themed = re.sub(r"(font: [^;]*?px)[^;]*", r"\1 var(--font)", themed)
            element.set(name, re.sub(r"font-family:[^;]*;?", "", themed))


def _role(match: re.Match[str]) -> str:
    colour = match.group(0)
    return f"var(--{_ROLE_OF[colour]})" if colour in _ROLE_OF else colour


def drawing_axes(width: float, height: float, title: str, axes: Axes | None = None) -> Axes:
    """Axes for a drawing of boxes, one unit per height of a box, y downwards.

    Args:
        width: Of the drawing, in units.
        height: Likewise.
        title: Stands above it; may be empty.
        axes: Where; default a new figure that fits.
    """
    if axes is None:
        above = _TITLE_IN if title else _MARGIN_IN
        size = (width * _UNIT_IN + 2 * _MARGIN_IN, height * _UNIT_IN + _MARGIN_IN + above)
        axes = new_axes(*size, (_MARGIN_IN, _MARGIN_IN, _MARGIN_IN, above))
    axes.set_xlim(-_EDGE, width + _EDGE)
    axes.set_ylim(height + _EDGE, -_EDGE)
    axes.set_aspect("equal", adjustable="box")
    axes.set_axis_off()
    if title:
        axes.set_title(plain(title, 90))
    return axes
