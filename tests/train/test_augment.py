import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mobinas.errors import ConfigError
from mobinas.train.augment import Augment


def images(n: int = 200, channels: int = 2, height: int = 9, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, 256, (n, channels, height, width), generator=generator, dtype=torch.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def naive_shift(image: torch.Tensor, down: int, right: int, flip: bool) -> torch.Tensor:
    _, height, width = image.shape
    result = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            source_row = row - down
            source_column = (width - 1 - column if flip else column) - right
            if 0 <= source_row < height and 0 <= source_column < width:
                result[:, row, column] = image[:, source_row, source_column]
    return result


@pytest.mark.parametrize("flip", [False, True])
def test_each_result_is_one_of_the_allowed_moves(flip: bool) -> None:
    batch = images(n=40)
    pad = 2  # 0.25 * 9, rounded down
    results = Augment(shift=0.25, flip=flip)(batch, generator())
    seen = set()
    for image, result in zip(batch, results, strict=True):
        moves = {
            (down, right, f)
            for down in range(-pad, pad + 1)
            for right in range(-pad, pad + 1)
            for f in ((False, True) if flip else (False,))
            if torch.equal(naive_shift(image, down, right, f), result)
        }
        assert len(moves) == 1
        seen |= moves
    assert len({(d, r) for d, r, _ in seen}) > 10
    assert {f for _, _, f in seen} == ({False, True} if flip else {False})


def test_nothing_to_do_changes_nothing() -> None:
    batch = images()
    assert torch.equal(Augment(shift=0)(batch, generator()), batch)


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 0.4), st.booleans(), st.floats(0, 0.9), st.integers(0, 99))
def test_shape_type_repeatability_and_untouched_input(
    shift: float, flip: bool, cutout: float, seed: int
) -> None:
    batch = images(n=7)
    before = batch.clone()
    augment = Augment(shift, flip, cutout)
    first, again = augment(batch, generator(seed)), augment(batch, generator(seed))
    assert torch.equal(first, again) and torch.equal(batch, before)
    assert first.shape == batch.shape and first.dtype == torch.uint8


def test_cutout_blacks_one_square_within_the_image() -> None:
    results = Augment(shift=0, cutout=0.5)(images(height=8, width=8), generator())
    for result in results:
        black = (result == 0).all(dim=0)
        rows, columns = black.any(dim=1).sum(), black.any(dim=0).sum()
        assert black.sum() == rows * columns
        assert 1 <= rows <= 4 and 1 <= columns <= 4
    assert (results == 0).float().mean() > 0.1


def test_bad_share() -> None:
    with pytest.raises(ConfigError, match=r"augment.shift is 4"):
        Augment(shift=4)
