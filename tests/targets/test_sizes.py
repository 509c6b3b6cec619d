"""Which dimensions are a batch, and what size open ones get."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobinas.errors import MeasurementError
from mobinas.targets.sizes import Size, Value, batch_names, fixed_batch, sizes_of


def values(*shapes: tuple[Size, ...] | None) -> list[Value]:
    return [Value(f"v{i}", shape) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize(
    ("inputs", "outputs", "names"),
    [
        ([("batch", 3, 32, 32)], [("batch", 10)], {"batch"}),
        ([("batch", 3, 32, 32), (8, 5)], [("batch", 5)], {"batch"}),
        ([("batch", 3, 32, 32), ("anchors", 8)], [("batch", "anchors")], {"batch"}),
        ([(3, 32, 32, "batch")], [("batch", 10)], {"batch"}),
        ([("seq", "batch_size", 16)], [("seq", "batch_size", 4)], {"batch_size"}),
        ([("s77", 3, 32, 32)], [("s77", 10)], {"s77"}),
        ([("unk__6", 64)], [("unk__7", 10)], {"unk__6"}),
        ([("N", 64)], [None], {"N"}),
        ([("N", 64)], [(10,)], set()),
        ([("x0", 3, 32, 32)], [(1, 10)], {"x0"}),
        ([("batch", "N", 3)], [("batch", 3)], {"batch"}),
        ([("n", 16), ("n", "n")], [("n", 16)], set()),
        ([("height", "width", 3)], [("height", "width", 8)], set()),
        ([("tokens",)], [("tokens", 8)], set()),
        ([("2*batch", 8), ("batch", 8)], [("batch", 8)], {"batch"}),
        ([(3, 32, 32)], [(3, 32, 32)], set()),
        ([()], [()], set()),
        ([], [(4, 4)], set()),
    ],
)
def test_the_batch_is_told_from_other_open_sizes(
    inputs: list[tuple[Size, ...]], outputs: list[tuple[Size, ...] | None], names: set[str]
) -> None:
    assert batch_names(values(*inputs), values(*outputs)) == names


@pytest.mark.parametrize(
    ("inputs", "outputs", "batch", "fixed"),
    [
        ([(1, 3, 32, 32)], [(1, 10)], 1, 1),
        ([(1, 3, 32, 32)], [(100, 4)], 4, 1),
        ([(8, 3, 32, 32)], [(8, 10)], 1, 8),
        ([(8, 3, 32, 32), (1, 3, 1, 1)], [(8, 10)], 1, 8),
        ([(8, 64)], [(8, 10)], 8, 8),
        ([(8, 64)], [(8, 10)], 1, None),
        ([(3, 32, 32)], [(3, 32, 32)], 1, None),
        ([(3, 32, 32)], [(1, 8, 1, 1)], 1, None),
        ([(32, 32, 3)], [(32, 32, 3)], 1, None),
        ([(16, 3, 32, 32)], [(1, 400)], 1, None),
        ([(64,)], [(64,)], 64, None),
        ([()], [()], 1, None),
        ([(None, 64), (1, 3, 4, 4)], [(None, 10)], 1, None),
        ([("batch", 64), (1, 3, 4, 4)], [("batch", 10)], 1, None),
    ],
)
def test_a_fixed_size_is_a_batch_where_that_is_known(
    inputs: list[tuple[Size, ...]], outputs: list[tuple[Size, ...]], batch: int, fixed: int | None
) -> None:
    assert fixed_batch(values(*inputs), values(*outputs), batch) == fixed


@pytest.mark.parametrize(
    ("shape", "bindings", "text"),
    [
        (("batch", 3, "height", "width"), {}, "--bind height=224 --bind width=224, or bindings="),
        (("batch", 3, "height", "width"), {"height": 9}, r"dimension 3 .*--bind width=224"),
        (("batch", 3, "height", "width"), {"hieght": 9}, "did you mean 'height'"),
        (("batch", "2*s0"), {}, r"--bind '2\*s0'=224"),
        ((1, 2), {"height": 9}, "all its sizes are fixed"),
        ((1, 3, None, None), {}, "dimension 2 .*no name to bind"),
        ((0, 3), {}, "holds nothing"),
        (None, {}, "does not say the shape"),
    ],
)
def test_sizes_that_are_not_said_are_asked_for(
    shape: tuple[Size, ...] | None, bindings: dict[str, int], text: str
) -> None:
    with pytest.raises(MeasurementError, match=text) as caught:
        sizes_of(values(shape), values(("batch", 10)), 1, bindings)
    assert "\n" not in str(caught.value)


def test_bindings_win_over_the_batch() -> None:
    shapes = values(("batch", 3, "height", 4)), values(("batch", 10))
    assert sizes_of(*shapes, 2, {"height": 5}) == {"batch": 2, "height": 5}
    assert sizes_of(*shapes, 2, {"height": 5, "batch": 8}) == {"batch": 8, "height": 5}


_SIZES = st.one_of(st.integers(1, 9), st.sampled_from(["batch", "n", "height", "s0", "2*s0"]), st.none())
_SHAPES = st.lists(st.one_of(st.none(), st.lists(_SIZES, max_size=5).map(tuple)), max_size=3)


@given(_SHAPES, _SHAPES, st.integers(1, 9))
def test_any_shapes_get_all_sizes_or_one_line(
    inputs: list[tuple[Size, ...] | None], outputs: list[tuple[Size, ...] | None], batch: int
) -> None:
    named = {size for shape in inputs for size in shape or () if isinstance(size, str)}
    try:
        sizes = sizes_of(values(*inputs), values(*outputs), batch, {})
    except MeasurementError as error:
        assert "\n" not in str(error)
    else:
        assert sizes == dict.fromkeys(named, batch)
