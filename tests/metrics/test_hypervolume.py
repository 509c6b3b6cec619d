"""The hypervolume against closed forms and two naive definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobinas.errors import SearchError
from mobinas.metrics.hypervolume import hypervolume, non_dominated

GRID = 5


@st.composite
def point_sets(draw: st.DrawFn) -> np.ndarray:
    dimensions = draw(st.integers(1, 4))
    coordinate = st.integers(0, GRID)
    points = draw(st.lists(st.tuples(*[coordinate] * dimensions), min_size=1, max_size=9))
    return np.array(points, dtype=float)


def unit_cells_covered(points: np.ndarray) -> int:
    cells = itertools.product(range(GRID), repeat=points.shape[1])
    return sum(bool((points <= np.array(cell)).all(axis=1).any()) for cell in cells)


def inclusion_exclusion(points: np.ndarray, reference: np.ndarray) -> float:
    total = 0.0
    for size in range(1, len(points) + 1):
        for chosen in itertools.combinations(points, size):
            box = np.clip(reference - np.max(chosen, axis=0), 0, None).prod()
            total += float(box) * (-1) ** (size + 1)
    return total


@given(point_sets())
def test_it_counts_the_unit_cells_of_a_grid(points: np.ndarray) -> None:
    volume = hypervolume(points, [GRID] * points.shape[1])
    assert volume == pytest.approx(unit_cells_covered(points))


@pytest.mark.parametrize("dimensions", [2, 3, 4, 5])
def test_it_agrees_with_inclusion_and_exclusion(dimensions: int) -> None:
    rng = np.random.default_rng(dimensions)
    for n in (1, 4, 8):
        points, reference = rng.normal(size=(n, dimensions)), rng.normal(0.8, 0.5, size=dimensions)
        assert hypervolume(points, reference) == pytest.approx(inclusion_exclusion(points, reference))


def test_closed_form_of_a_staircase() -> None:
    n = 200
    points = [(i / n, 1 - i / n) for i in range(n + 1)]
    assert hypervolume(points, (1.0, 1.0)) == pytest.approx((n - 1) / (2 * n))


@given(point_sets(), st.randoms(use_true_random=False))
def test_order_and_dominated_points_do_not_matter(points: np.ndarray, random: object) -> None:
    reference = [GRID + 1] * points.shape[1]
    volume = hypervolume(points, reference)
    shuffled = list(points)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert hypervolume(np.array(shuffled), reference) == pytest.approx(volume)
    assert hypervolume(points[non_dominated(points)], reference) == pytest.approx(volume)


def test_points_beyond_the_reference_add_nothing() -> None:
    assert hypervolume([(0.0, 2.0), (1.0, 0.0)], (1.0, 1.0)) == 0.0
    assert hypervolume([], (1.0, 1.0)) == 0.0


@given(point_sets())
def test_non_dominated_agrees_with_its_definition(points: np.ndarray) -> None:
    naive = [not any((q <= p).all() and (q < p).any() for q in points) for p in points]
    assert non_dominated(points).tolist() == naive


@pytest.mark.parametrize(
    ("points", "reference", "text"),
    [
        ([(0.0, 1.0)], (1.0,), "do not fit"),
        ([0.0, 1.0], (1.0,), "do not fit"),
        ([(0.0, float("nan"))], (1.0, 1.0), "finite"),
        ([(0.0, 0.0)], (1.0, float("inf")), "finite"),
        ([], (), "one number per objective"),
    ],
)
def test_bad_input(points: list[tuple[float, ...]], reference: tuple[float, ...], text: str) -> None:
    with pytest.raises(SearchError, match=text):
        hypervolume(points, reference)
