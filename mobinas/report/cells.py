"""Drawings of the two cells of a genotype."""

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch
from matplotlib.path import Path

from mobinas.arch.genotype import Cell
from mobinas.graph.draw import Box, CellDrawing, Route, draw_cell
from mobinas.report.figures import new_axes, style
from mobinas.report.palette import GREY, INK, MUTED, SURFACE, op_colour
from mobinas.report.words import op_words, plain

_INCHES = 0.235  # per unit of the drawing, the height of an op's box
_MARGIN_IN = 0.12
_TITLE_IN = 0.36
_EDGE = 0.1  # room for half a line's width, in units of the drawing
_DEAD = 0.3


def draw_cell_picture(cell: Cell, title: str = "", axes: Axes | None = None) -> Axes:
    """Draws one cell, left to right: its two inputs, its nodes with an op on each edge, the concatenation.

    Args:
        cell: What to draw. Nodes that the output does not depend on are pale.
        title: Stands above it.
        axes: Where; default a new figure that fits.

    Returns:
        The axes, one unit per height of an op's box, y downwards.
    """
    drawing = draw_cell(cell)
    with style():
        if axes is None:
            axes = _fitting_axes(drawing, bool(title))
        axes.set_xlim(-_EDGE, drawing.width + _EDGE)
        axes.set_ylim(drawing.height + _EDGE, -_EDGE)
        axes.set_aspect("equal", adjustable="box")
        axes.set_axis_off()
        if title:
            axes.set_title(plain(title, 90))
        for route in drawing.routes:
            _draw_route(axes, route)
        for box in drawing.boxes:
            _draw_box(axes, box)
    return axes


def _fitting_axes(drawing: CellDrawing, titled: bool) -> Axes:
    above = _TITLE_IN if titled else _MARGIN_IN
    width = drawing.width * _INCHES + 2 * _MARGIN_IN
    height = drawing.height * _INCHES + _MARGIN_IN + above
    return new_axes(width, height, (_MARGIN_IN, _MARGIN_IN, _MARGIN_IN, above))


def _draw_route(axes: Axes, route: Route) -> None:
    """Bends to the second point, then straight along a lane if there is one."""
    (x0, y0), (x1, y1), *lane = route.points
    middle = (x0 + x1) / 2
    points = [(x0, y0), (middle, y0), (middle, y1), (x1, y1), *lane]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, *[Path.LINETO] * len(lane)]
    colour, alpha = GREY, 0.9 if route.live else _DEAD
    path = Path(points, codes)
    axes.add_artist(
        PathPatch(path, fill=False, edgecolor=colour, linewidth=1.1, alpha=alpha, capstyle="round")
    )


def _draw_box(axes: Axes, box: Box) -> None:
    alpha = 1.0 if box.live else _DEAD
    patch: Patch
    if box.kind == "sum":
        patch = Circle(
            (box.x, box.y), box.width / 2, facecolor=SURFACE, edgecolor=(INK, alpha), linewidth=1.2
        )
    else:
        colour = op_colour(box.text) if box.kind == "op" else MUTED
        patch = FancyBboxPatch(
            (box.x - box.width / 2, box.y - box.height / 2),
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.28",
            facecolor=(colour, 0.16 * alpha if box.kind == "op" else 0.0),
            edgecolor=(colour, alpha),
            linewidth=1.1,
        )
    axes.add_artist(patch)
    words = op_words(box.text) if box.kind == "op" else box.text
    size = 7.5 if box.kind == "input" else 8.0
    axes.text(box.x, box.y, words, ha="center", va="center_baseline", fontsize=size, color=INK, alpha=alpha)
