"""Label placement: pure geometry."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mobinas.report.labels import Rect, place_labels

FRAME = Rect(0, 0, 1000, 600)


def test_overlap_against_counting() -> None:
    a, b = Rect(0, 0, 6, 4), Rect(3, 2, 9, 9)
    counted = sum(3 <= x < 6 and 2 <= y < 4 for x in range(10) for y in range(10))
    assert a.overlap(b) == b.overlap(a) == counted
    assert a.overlap(Rect(7, 0, 8, 1)) == 0


def test_alone_it_takes_the_upper_left() -> None:
    (rect,) = place_labels([(500, 300)], [(80, 20)], [], FRAME, 5)
    assert rect.x1 < 500
    assert rect.y0 > 300


def test_it_turns_away_from_an_obstacle_and_from_the_border() -> None:
    (rect,) = place_labels([(500, 300)], [(80, 20)], [Rect(300, 301, 499, 400)], FRAME, 5)
    assert rect.overlap(Rect(300, 301, 499, 400)) == 0
    (rect,) = place_labels([(3, 597)], [(80, 20)], [], FRAME, 5)
    assert rect.overlap(FRAME) == rect.area


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=8, unique=True))
def test_labels_never_cover_each_other_where_there_is_room(cells: list[tuple[int, int]]) -> None:
    anchors = [(x * 100.0, y * 100.0) for x, y in cells]
    rects = place_labels(anchors, [(60, 16)] * len(anchors), [], FRAME, 5)
    assert all(a.overlap(b) == 0 for a, b in itertools.combinations(rects, 2))
    assert all(abs(rect.overlap(FRAME) - rect.area) < 1e-6 for rect in rects)
