"""Drawings of networks of stages."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from mobinas.arch.architecture import Architecture
from mobinas.graph.draw_stages import Card, StageBox, draw_stages
from mobinas.report.figures import drawing_axes, style
from mobinas.report.palette import FAINT, GREY, INK, MUTED, block_colour

_TEXT_OFF = 0.45


def draw_stage_picture(architecture: Architecture, title: str = "", axes: Axes | None = None) -> Axes:
    """Draws a network of stages, left to right: image, stem, stages with a box per block, head.

    Args:
        architecture: What to draw.
        title: Stands above it.
        axes: Where; default a new figure that fits.

    Returns:
        The axes, one unit per height of a box, y downwards.

    Raises:
        ArchitectureError: A network of cells.
    """
    drawing = draw_stages(architecture)
    with style():
        axes = drawing_axes(drawing.width, drawing.height, title, axes)
        for x0, y0, x1, y1 in drawing.arrows:
            arrow = {"arrowstyle": "-|>", "color": GREY, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
        for card in drawing.cards:
            _draw_card(axes, card)
    return axes


def _draw_card(axes: Axes, card: Card) -> None:
    left, top = card.x - card.width / 2, card.y - card.height / 2
    box = "round,pad=0,rounding_size=0.28"
    axes.add_artist(
        FancyBboxPatch((left, top), card.width, card.height, boxstyle=box, facecolor="none", edgecolor=FAINT)
    )
    words: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 7.5, "color": MUTED}
    axes.text(card.x, top - _TEXT_OFF, card.title, **words)
    axes.text(card.x, top + card.height + _TEXT_OFF, card.caption, **words)
    for one in card.boxes:
        _draw_box(axes, one)


def _draw_box(axes: Axes, box: StageBox) -> None:
    colour = block_colour(box.block) if box.block else MUTED
    axes.add_artist(
        FancyBboxPatch(
            (box.x - box.width / 2, box.y - box.height / 2),
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.28",
            facecolor=(colour, 0.16 if box.block else 0.0),
            edgecolor=colour,
            linewidth=1.1,
        )
    )
    axes.text(box.x, box.y, box.text, ha="center", va="center_baseline", fontsize=8.0, color=INK)
