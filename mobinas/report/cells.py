"""Drawings of the two cells of a genotype."""

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch
from matplotlib.path import Path

from mobinas.arch.genotype import Cell
from mobinas.graph.draw import Box, Route, draw_cell
from mobinas.report.figures import drawing_axes, style
from mobinas.report.palette import GREY, INK, MUTED, SURFACE, op_colour
from mobinas.report.words import op_words

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
        axes = drawing_axes(drawing.width, drawing.height, title, axes)
        for route in drawing.routes:
            _draw_route(axes, route)
        for box in drawing.boxes:
            _draw_box(axes, box)
    return axes


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
