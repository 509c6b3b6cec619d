"""Where labels go: beside their points, clear of marks, lines, the border and each other. Pure geometry."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

_DIRECTIONS = ((-1, 1), (1, -1), (0, 1), (-1, 0), (1, 0), (1, 1), (0, -1), (-1, -1))
_DISTANCES = (1.0, 2.2, 4.0, 6.5)
_OUTSIDE = 50.0
_COVERED = 4.0
_ON_LABEL = 5.0


@dataclass(frozen=True, slots=True)
class Rect:
    """An upright rectangle; y grows upwards."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        """Its area; 0 for an empty one."""
        return max(self.x1 - self.x0, 0.0) * max(self.y1 - self.y0, 0.0)

    def grown(self, margin: float) -> "Rect":
        """The rectangle with a margin on each side."""
        return Rect(self.x0 - margin, self.y0 - margin, self.x1 + margin, self.y1 + margin)

    def overlap(self, other: "Rect") -> float:
        """The area that both cover."""
        return Rect(
            max(self.x0, other.x0), max(self.y0, other.y0), min(self.x1, other.x1), min(self.y1, other.y1)
        ).area


def place_labels(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Rect],
    bounds: Rect,
    gap: float,
) -> list[Rect]:
    """Finds a place for each label, the first ones having the choice.

    Args:
        anchors: The points that are labelled.
        sizes: Width and height of each label.
        obstacles: What labels should not cover.
        bounds: Where labels should stay.
        gap: Distance between a point and its label, the same unit as all the others.

    Returns:
        The labels' rectangles, in the order given. Among equally clear places the nearest is taken, then
        upper left (above a front lies empty space).
    """
    taken: list[Rect] = []
    for (x, y), (width, height) in zip(anchors, sizes, strict=True):
        costs = []
        for rank, (distance, (dx, dy)) in enumerate(itertools.product(_DISTANCES, _DIRECTIONS)):
            cx = x + dx * (width / 2 + gap * distance * (0.75 if dy else 1.0))
            cy = y + dy * (height / 2 + gap * distance * (0.75 if dx else 1.0))
            rect = Rect(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
            covered = sum(rect.overlap(other) for other in obstacles)
            covered += _ON_LABEL * sum(rect.grown(gap / 2).overlap(other) for other in taken)
            outside = rect.area - rect.overlap(bounds)
            cost = (_COVERED * covered + _OUTSIDE * outside) / rect.area + 0.002 * rank + 0.02 * distance
            costs.append((cost, rank, rect))
        taken.append(min(costs, key=lambda entry: entry[:2])[2])
    return taken
