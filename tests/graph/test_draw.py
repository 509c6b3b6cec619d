"""The layered drawing of cells: nothing overlaps, every edge arrives, equal cells give equal drawings."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobinas.arch.genotype import Cell, Edge, published, published_names
from mobinas.arch.ops import OPS
from mobinas.graph.draw import OUTPUT, Box, draw_cell, ranks, spread

REAL_OPS = sorted(set(OPS) - {"none"})


def random_cell(seed: int, nodes: int) -> Cell:
    rng = random.Random(seed)
    edges = tuple(
        tuple(Edge(rng.randrange(n), rng.choice(REAL_OPS)) for _ in range(rng.randint(1, 3)))
        for n in range(2, 2 + nodes)
    )
    concat = rng.sample(range(2, 2 + nodes), rng.randint(1, nodes))
    return Cell(edges, tuple(concat))


cells = st.builds(random_cell, st.integers(0, 10**6), st.integers(1, 6))
published_cells = [
    cell for name in published_names() for cell in (published(name).normal, published(name).reduction)
]


def rounded(*point: float) -> tuple[float, ...]:
    return tuple(round(x, 6) for x in point)


def overlaps(a: Box, b: Box) -> bool:
    return (
        abs(a.x - b.x) < (a.width + b.width) / 2 - 1e-9 and abs(a.y - b.y) < (a.height + b.height) / 2 - 1e-9
    )


def check(cell: Cell) -> None:
    drawing = draw_cell(cell)
    for a, b in itertools.combinations(drawing.boxes, 2):
        assert not overlaps(a, b), (a, b)
    for box in drawing.boxes:
        assert box.x - box.width / 2 >= -1e-9
        assert box.x + box.width / 2 <= drawing.width + 1e-9
        assert box.y - box.height / 2 >= -1e-9
        assert box.y + box.height / 2 <= drawing.height + 1e-9
    ops = sorted((box.node, box.text) for box in drawing.boxes if box.kind == "op")
    assert ops == sorted((number, edge.op) for number, edge in cell.edges())


@given(cells)
def test_boxes_keep_apart_and_every_edge_has_one(cell: Cell) -> None:
    check(cell)


@pytest.mark.parametrize("cell", published_cells)
def test_published_cells(cell: Cell) -> None:
    check(cell)


@given(cells)
def test_straight_runs_never_pass_behind_a_box(cell: Cell) -> None:
    drawing = draw_cell(cell)
    for route in drawing.routes:
        for (x0, y), (x1, _) in itertools.pairwise(route.points[1:]):
            for box in drawing.boxes:
                apart = x1 <= box.x - box.width / 2 or x0 >= box.x + box.width / 2
                assert apart or abs(y - box.y) > box.height / 2


@given(cells)
def test_each_op_box_is_reached_from_its_source(cell: Cell) -> None:
    """Following routes backwards from a box's left side ends at the node that the edge names."""
    drawing = draw_cell(cell)
    starts: dict[tuple[float, ...], set[int]] = {}
    for route in drawing.routes:
        starts.setdefault(rounded(*route.points[-1]), set()).add(route.source)
    found: dict[int, list[int]] = {}
    for box in drawing.boxes:
        if box.kind == "op":
            arriving = starts[rounded(box.x - box.width / 2, box.y)]
            assert len(arriving) == 1
            found.setdefault(box.node, []).extend(arriving)
    wanted = {number: sorted(e.source for e in edges) for number, edges in enumerate(cell.nodes, start=2)}
    assert {number: sorted(sources) for number, sources in found.items()} == wanted
    output = next(box for box in drawing.boxes if box.kind == "output")
    assert starts[rounded(output.x - output.width / 2, output.y)] == set(cell.concat)


def test_dead_nodes_are_marked() -> None:
    cell = Cell(((Edge(0, "skip_connect"),), (Edge(1, "conv_3x3"),)), (3,))
    live = {box.node: box.live for box in draw_cell(cell).boxes if box.kind in ("sum", "input")}
    assert live == {0: False, 1: True, 2: False, 3: True}


def test_ranks_are_longest_paths() -> None:
    cell = Cell(
        ((Edge(0, "conv_3x3"),), (Edge(2, "conv_3x3"), Edge(0, "conv_3x3")), (Edge(1, "conv_3x3"),)), (3, 4)
    )
    assert ranks(cell) == {0: 0, 1: 0, 2: 1, 3: 2, 4: 1, OUTPUT: 3}


def test_a_chain_has_no_bend() -> None:
    cell = Cell(((Edge(1, "conv_3x3"),), (Edge(2, "conv_3x3"),)), (3,))
    ys = [box.y for box in draw_cell(cell).boxes if box.kind != "input"]
    assert max(ys) - min(ys) < 1e-3


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=6), st.data())
def test_spread_is_the_least_move(wanted: list[float], data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.floats(0, 3), min_size=len(wanted) - 1, max_size=len(wanted) - 1))
    placed = np.array(spread(wanted, gaps))
    assert np.all(np.diff(placed) >= np.array(gaps) - 1e-9)
    # A convex problem: no feasible point near the solution is better.
    rng = np.random.default_rng(0)
    cost = np.sum((placed - wanted) ** 2)
    for _ in range(50):
        other = placed + rng.normal(0, 0.3, len(placed))
        if np.all(np.diff(other) >= np.array(gaps)):
            assert np.sum((other - wanted) ** 2) >= cost - 1e-9


def test_drawing_is_deterministic_and_leaves_the_cell_alone() -> None:
    cell = random_cell(5, 5)
    before = repr(cell)
    assert draw_cell(cell) == draw_cell(cell)
    assert repr(cell) == before
