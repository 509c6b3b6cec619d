"""Where things lie in a picture of a cell: a layered drawing, computed without any drawing library.

Each intermediate node is a card: one box per edge, naming its op, stacked left of the node that sums them.
Columns are ranks (longest path from the inputs). A value that is read beyond the next column runs through
the columns between in a lane of its own, shared by all its readers, so lines never pass behind a card (the
idea of Sugiyama, Tagawa and Toda, 1981: ranks, dummy nodes, ordering by barycentres, then coordinates).

Lengths are in heights of an op box; x grows to the right, y downwards.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mobinas.arch.genotype import N_INPUTS, Cell, Edge

OP_WIDTH = 4.9
INPUT_WIDTH = 4.0
OUTPUT_WIDTH = 2.8
SUM_DIAMETER = 0.9
_OP_GAP = 0.22
_SUM_GAP = 0.75
_COLUMN_GAP = 2.0
_ITEM_GAP = 0.55
_LANE_HEIGHT = 0.25
_SWEEPS = 12

OUTPUT = -1
Point = tuple[float, float]
_Slot = tuple[int, Literal["node", "lane"], int]  # column, what lies there, of which node
_Links = Sequence[tuple[_Slot, _Slot]]


@dataclass(frozen=True, slots=True)
class Box:
    """Something with a text; (x, y) is its centre.

    Attributes:
        kind: ``input``, ``op`` (on an edge), ``sum`` (an intermediate node) or ``output``.
        text: What stands in it: the op's name, the node's number, or a caption.
        node: Number of the node it belongs to; `OUTPUT` for the output.
        live: Whether the cell's output depends on it.
    """

    kind: Literal["input", "op", "sum", "output"]
    text: str
    node: int
    x: float
    y: float
    width: float
    height: float
    live: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """A line that leaves and enters every one of its points horizontally.

    Attributes:
        source: Number of the node whose value it carries.
        points: From a box's right side, along lanes, to a box's left side.
        live: Whether the cell's output depends on it.
    """

    source: int
    points: tuple[Point, ...]
    live: bool = True


@dataclass(frozen=True, slots=True)
class CellDrawing:
    """A cell's picture within (0, 0) to (width, height)."""

    boxes: tuple[Box, ...]
    routes: tuple[Route, ...]
    width: float
    height: float


def ranks(cell: Cell) -> dict[int, int]:
    """Column of each node: 0 for both inputs, the longest path for the rest, the last for `OUTPUT`."""
    rank = dict.fromkeys(range(N_INPUTS), 0)
    for number, edges in enumerate(cell.nodes, start=N_INPUTS):
        rank[number] = 1 + max(rank[edge.source] for edge in edges)
    return rank | {OUTPUT: 1 + max(rank.values())}


def draw_cell(cell: Cell) -> CellDrawing:
    """Computes the picture of a cell.

    Args:
        cell: Any valid cell; nodes that the output does not depend on are drawn too, marked as not live.

    Returns:
        Boxes and routes in a fixed order; equal cells give equal drawings.
    """
    rank = ranks(cell)
    columns, links = _columns(cell, rank)
    columns = _order(columns, links)
    heights = {slot: _height(cell, slot) for column in columns for slot in column}
    y = _place(columns, links, heights)
    top = min(y[slot] - heights[slot] / 2 for slot in y)
    y = {slot: centre - top for slot, centre in y.items()}
    layout = _Layout(cell, rank, y, {OUTPUT, *cell.live()})
    boxes = (*layout.ends(), *layout.cards())
    height = max(y[slot] + heights[slot] / 2 for slot in y)
    width = max(box.x + box.width / 2 for box in boxes)
    return CellDrawing(boxes, tuple(layout.routes(links)), width, height)


def _readers(cell: Cell) -> dict[int, list[int]]:
    readers: dict[int, list[int]] = {n: [] for n in range(N_INPUTS + len(cell.nodes))}
    for number, edge in cell.edges():
        if number not in readers[edge.source]:
            readers[edge.source].append(number)
    for number in cell.concat:
        readers[number].append(OUTPUT)
    return readers


def _columns(cell: Cell, rank: Mapping[int, int]) -> tuple[list[list[_Slot]], list[tuple[_Slot, _Slot]]]:
    """Slots of each column (nodes, and lanes of values passing by), and links between neighbours."""
    columns: list[list[_Slot]] = [[] for _ in range(rank[OUTPUT] + 1)]
    for number, column in rank.items():
        columns[column].append((column, "node", number))
    links: list[tuple[_Slot, _Slot]] = []
    for source, readers in _readers(cell).items():
        previous: _Slot = (rank[source], "node", source)
        last = max((rank[reader] for reader in readers), default=0)
        for column in range(rank[source] + 1, last + 1):
            links += [(previous, (column, "node", r)) for r in readers if rank[r] == column]
            if column < last:
                lane: _Slot = (column, "lane", source)
                columns[column].append(lane)
                links.append((previous, lane))
                previous = lane
    return columns, links


def _height(cell: Cell, slot: _Slot) -> float:
    _, kind, number = slot
    if kind == "lane":
        return _LANE_HEIGHT
    edges = len(cell.nodes[number - N_INPUTS]) if number >= N_INPUTS else 1
    return edges + (edges - 1) * _OP_GAP


def _neighbours(links: _Links, slot: _Slot) -> list[_Slot]:
    return [a for a, b in links if b == slot] + [b for a, b in links if a == slot]


def _order(columns: list[list[_Slot]], links: _Links) -> list[list[_Slot]]:
    """Orders each column by its neighbours' mean position; keeps the order with the fewest crossings."""
    best, fewest = columns, _crossings(columns, links)
    for sweep in range(_SWEEPS):
        columns = [list(column) for column in columns]
        forward = sweep % 2 == 0
        for c in range(1, len(columns)) if forward else range(len(columns) - 2, 0, -1):
            near = c - 1 if forward else c + 1
            place = {
                slot: float(i) for column in (columns[c], columns[near]) for i, slot in enumerate(column)
            }
            means = {}
            for slot in columns[c]:
                seen = [place[other] for other in _neighbours(links, slot) if other[0] == near]
                means[slot] = sum(seen) / len(seen) if seen else place[slot]
            columns[c].sort(key=means.__getitem__)
        crossings = _crossings(columns, links)
        if crossings < fewest:
            best, fewest = columns, crossings
    return best


def _crossings(columns: Sequence[Sequence[_Slot]], links: _Links) -> int:
    place = {slot: i for column in columns for i, slot in enumerate(column)}
    return sum(
        a[0] == c[0] and (place[a] - place[c]) * (place[b] - place[d]) < 0
        for (a, b), (c, d) in itertools.combinations(links, 2)
    )


def _place(
    columns: Sequence[Sequence[_Slot]], links: _Links, heights: Mapping[_Slot, float]
) -> dict[_Slot, float]:
    """Centres: each slot near the mean of its neighbours, with order and gaps kept."""
    gaps = [
        [(heights[a] + heights[b]) / 2 + _ITEM_GAP for a, b in itertools.pairwise(column)]
        for column in columns
    ]
    y: dict[_Slot, float] = {}
    for column, between in zip(columns, gaps, strict=True):
        y |= zip(column, spread([0.0] * len(column), between), strict=True)
    for _ in range(_SWEEPS):
        for column, between in zip(columns, gaps, strict=True):
            wanted = []
            for slot in column:
                near = [y[other] for other in _neighbours(links, slot)]
                wanted.append(sum(near) / len(near) if near else y[slot])
            y |= zip(column, spread(wanted, between), strict=True)
    return y


def spread(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Moves positions apart as little as possible (least squares), keeping their order.

    Args:
        wanted: Where each would like to be.
        gaps: The least distance between each and the next; one fewer than `wanted`.

    Returns:
        Positions whose differences are at least `gaps`.
    """
    offsets = list(itertools.accumulate(gaps, initial=0.0))[: len(wanted)]
    # With the gaps taken off, this is isotonic regression: pool neighbours that are out of order.
    pools: list[tuple[float, int]] = []
    for target, offset in zip(wanted, offsets, strict=True):
        mean, size = target - offset, 1
        while pools and pools[-1][0] > mean:
            before, n = pools.pop()
            mean, size = (before * n + mean * size) / (n + size), n + size
        pools.append((mean, size))
    flat = [mean for mean, size in pools for _ in range(size)]
    return [mean + offset for mean, offset in zip(flat, offsets, strict=True)]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Turns columns and heights on the page into boxes and routes."""

    cell: Cell
    rank: Mapping[int, int]
    y: Mapping[_Slot, float]
    live: set[int]

    def _left(self, column: int) -> float:
        card = OP_WIDTH + _SUM_GAP + SUM_DIAMETER
        return 0.0 if column == 0 else INPUT_WIDTH + _COLUMN_GAP + (column - 1) * (card + _COLUMN_GAP)

    def _out(self, slot: _Slot) -> Point:
        """The point where a slot's value leaves its column."""
        width = INPUT_WIDTH if slot[0] == 0 else OP_WIDTH + _SUM_GAP + SUM_DIAMETER
        return self._left(slot[0]) + width, self.y[slot]

    def _centre(self, number: int) -> float:
        return self.y[self.rank[number], "node", number]

    def ends(self) -> Iterator[Box]:
        for number, text in enumerate(("cell before last", "last cell")):
            y, live = self._centre(number), number in self.live
            yield Box("input", text, number, INPUT_WIDTH / 2, y, INPUT_WIDTH, 1.0, live)
        x = self._left(self.rank[OUTPUT]) + OUTPUT_WIDTH / 2
        yield Box("output", "concat", OUTPUT, x, self._centre(OUTPUT), OUTPUT_WIDTH, 1.0)

    def cards(self) -> Iterator[Box]:
        for number in range(N_INPUTS, N_INPUTS + len(self.cell.nodes)):
            yield from self._ops(number)
            x = self._left(self.rank[number]) + OP_WIDTH + _SUM_GAP + SUM_DIAMETER / 2
            size, live = SUM_DIAMETER, number in self.live
            yield Box("sum", str(number), number, x, self._centre(number), size, size, live)

    def _arrival(self, source: int, number: int) -> _Slot:
        """The slot in the column before `number` from which it reads `source`."""
        column = self.rank[number] - 1
        return (column, "node" if self.rank[source] == column else "lane", source)

    def _edges(self, number: int) -> list[Edge]:
        # In the order of the lines that arrive, so that these do not cross in front of the card.
        edges = self.cell.nodes[number - N_INPUTS]
        return sorted(edges, key=lambda e: (self.y[self._arrival(e.source, number)], e.op))

    def _ops(self, number: int) -> Iterator[Box]:
        edges = self._edges(number)
        x = self._left(self.rank[number]) + OP_WIDTH / 2
        top = self._centre(number) - (len(edges) - 1) * (1 + _OP_GAP) / 2
        for k, edge in enumerate(edges):
            y = top + k * (1 + _OP_GAP)
            yield Box("op", edge.op, number, x, y, OP_WIDTH, 1.0, number in self.live)

    def routes(self, links: _Links) -> Iterator[Route]:
        for a, b in links:
            if b[1] == "lane":
                end = (self._left(b[0]), self.y[b])
                yield Route(a[2], (self._out(a), end, self._out(b)), self._lane_lives(b))
            elif b[2] == OUTPUT:
                yield Route(a[2], (self._out(a), (self._left(b[0]), self.y[b])))
        for number in range(N_INPUTS, N_INPUTS + len(self.cell.nodes)):
            yield from self._card_routes(number)

    def _lane_lives(self, lane: _Slot) -> bool:
        readers = _readers(self.cell)[lane[2]]
        return any(reader in self.live and self.rank[reader] > lane[0] for reader in readers)

    def _card_routes(self, number: int) -> Iterator[Route]:
        boxes = list(self._ops(number))
        live = number in self.live
        left, centre = self._left(self.rank[number]), self._centre(number)
        for edge, box in zip(self._edges(number), boxes, strict=True):
            start = self._out(self._arrival(edge.source, number))
            yield Route(edge.source, (start, (left, box.y)), live)
            yield Route(number, ((left + OP_WIDTH, box.y), (left + OP_WIDTH + _SUM_GAP, centre)), live)
