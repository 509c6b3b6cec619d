"""Transparent pictures are put on one background, on which none vanishes, wherever they come from."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobinas.errors import DataError
from mobinas.train.adapters.pictures import look, preparation_for, read_picture
from mobinas.train.adapters.transparency import BACKGROUNDS, choose_background
from mobinas.train.data import ImageData, load_data
from tests.train.picture_sets import bars, cut_out, fill, fill_bytes, png, tiff

WHITE, BLACK, GREY = BACKGROUNDS.values()


def background(data: ImageData) -> Any:
    assert data.preparation is not None
    return data.preparation.background


@pytest.mark.parametrize(
    ("colours", "expected"),
    [((0, 0), WHITE), ((255, 255), BLACK), ((0, 255), GREY), ((128, 128), WHITE), ((240, 60), BLACK)],
)
def test_the_background_is_what_no_picture_vanishes_on(
    colours: tuple[int, int], expected: tuple[int, ...], tmp_path: Path
) -> None:
    fill(tmp_path / "set", lambda a, i: cut_out(np.where(a > 100, 255, 0), colours[i % 2]))
    data = load_data(str(tmp_path / "set"))
    assert background(data) == expected and any("put on" in note for note in data.notes)
    assert np.ptp(data.images.numpy(), axis=(1, 2, 3)).min() >= 60
    for path in sorted((tmp_path / "set").rglob("*.png")):
        pixels = np.asarray(Image.open(path)).transpose(2, 0, 1)
        np.save(path.with_suffix(".npy"), pixels)
    arrays = np.stack([np.load(path) for path in sorted((tmp_path / "set").rglob("*.npy"))])
    for form in (arrays, arrays.transpose(0, 2, 3, 1), arrays / 255):
        np.savez(tmp_path / "d.npz", images=form, labels=np.arange(16) // 8)
        found = load_data(str(tmp_path / "d.npz"))
        assert found.images.equal(data.images) and background(found) == expected


def test_a_user_chooses_the_background(tmp_path: Path) -> None:
    fill(tmp_path, lambda a, i: cut_out(a, 0))
    assert background(load_data(str(tmp_path), background="#ff8000")) == (255, 128, 0)
    data = load_data(str(tmp_path), background="black")
    assert background(data) == BLACK and data.images.max() == 0
    with pytest.raises(DataError, match=r"images\.background is 'mauvish'; give auto"):
        load_data(str(tmp_path), background="mauvish")
    with pytest.raises(DataError, match=r"images\.background is 'mauvish'; give auto"):
        load_data("digits", background="mauvish")


def opaque(a: np.ndarray, garbage: int) -> np.ndarray:
    """RGBA: a grey bar, and garbage under full transparency."""
    pixels = np.random.default_rng(garbage).integers(0, 256, (16, 16, 4)).astype(np.uint8)
    pixels[..., 3] = np.where(a > 100, 255, 0)
    pixels[a > 100, :3] = 90
    return pixels


def hidden_picture(a: np.ndarray, i: int, garbage: int) -> Image.Image:
    image = Image.fromarray(opaque(a, garbage))
    image.info["save"] = {"lossless": True, "exact": True}
    return image


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
@pytest.mark.parametrize("size", [None, 7, 31])
def test_hidden_colours_do_not_matter(suffix: str, size: int | None, tmp_path: Path) -> None:
    sets = []
    for garbage in range(2):
        make = partial(hidden_picture, garbage=garbage)
        folder = fill(tmp_path / str(garbage), make, suffix)
        sets.append(load_data(str(folder), image_size=size))
    assert sets[0].images.equal(sets[1].images)
    # No colour but the bar's grey and white.
    assert sets[0].images.max() == 255 and sets[0].images.min() >= 90


def bar(a: np.ndarray) -> np.ndarray:
    return (a > 100).astype(np.int64)


def index_file(a: np.ndarray, i: int) -> Image.Image:
    """A palette in which index 0 is transparent garbage and 1 a dark bar."""
    image = Image.fromarray(bar(a).astype(np.uint8)).convert("P")
    image.putpalette([250, 3, 77, 10, 10, 10])
    image.info["save"] = {"transparency": 0}
    return image


def grey_key(a: np.ndarray, i: int) -> Image.Image:
    image = Image.fromarray(np.where(a > 100, 10, 77).astype(np.uint8))
    image.info["save"] = {"transparency": 77}
    return image


def black_and_white_key(a: np.ndarray, i: int) -> Image.Image:
    image = Image.fromarray(a <= 100)
    image.info["save"] = {"transparency": 255}
    return image


def premultiplied(a: np.ndarray, dtype: str) -> bytes:
    alpha = bar(a) * (np.iinfo(dtype).max // 2)
    return tiff(np.stack([alpha // 10] * 3 + [alpha], -1).astype(dtype), "<", extra=1)


KINDS = {
    "palette": lambda p: fill(p, index_file),
    "GIF": lambda p: fill(p, index_file, "gif"),
    "grey with a transparent value": lambda p: fill(p, grey_key),
    "1 bit with a transparent value": lambda p: fill(p, black_and_white_key),
    "PA": lambda p: fill(p, lambda a, i: index_file(a, i).convert("RGBA").quantize(4)),
    "LA": lambda p: fill(p, lambda a, i: cut_out(bar(a) * 255, 10).convert("LA")),
    "WebP": lambda p: fill(p, lambda a, i: cut_out(bar(a) * 255, 10), "webp"),
    "16 bits with alpha": lambda p: fill_bytes(
        p, lambda a: png(np.stack([0 * a + 9, bar(a) * 65535], -1), 4), "png"
    ),
    "RGBA of 16 bits": lambda p: fill_bytes(
        p, lambda a: png(np.stack([0 * a + 9] * 3 + [bar(a) * 65535], -1), 6), "png"
    ),
    "premultiplied": lambda p: fill_bytes(p, lambda a: premultiplied(a, "u1"), "tif"),
    "premultiplied 16 bits": lambda p: fill_bytes(p, lambda a: premultiplied(a, "u2"), "tif"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_transparency(kind: str, tmp_path: Path) -> None:
    """A dark bar on white, whatever lies hidden."""
    data = load_data(str(KINDS[kind](tmp_path)), image_size=16)
    assert background(data) == WHITE
    bars_of = np.stack([bar(bars(down, i)) for down in (False, True) for i in range(8)])
    pixels = data.images.numpy()
    assert (pixels[:, 0][bars_of == 0] == 255).all()
    assert pixels[:, 0][bars_of == 1].max() < 190


def test_fully_transparent_pictures_are_named(tmp_path: Path) -> None:
    fill(tmp_path, lambda a, i: cut_out(a * (i != 4), 0))
    data = load_data(str(tmp_path))
    assert any("2 pictures such as" in note and "4.png are fully transparent" in note for note in data.notes)


def test_ghosts_on_any_background_are_counted() -> None:
    colour, notes = choose_background("auto", [("a", (0.0, 9.0, 8.0)), ("b", (9.0, 200.0, 100.0))])
    assert colour == BLACK and any("1 pictures such as a" in note for note in notes)


def test_opaque_pictures_get_no_note(tmp_path: Path) -> None:
    fill(tmp_path, lambda a, i: cut_out(0 * a + 255, int(a.max()) - i))
    assert not load_data(str(tmp_path)).notes


def test_the_decision_is_told_as_it_is_made(tmp_path: Path) -> None:
    paths = sorted(fill(tmp_path, lambda a, i: cut_out(a, 0)).rglob("*.png"))
    told: list[tuple[int, int, str]] = []
    prepared = preparation_for(
        paths,
        [look(p) for p in paths],
        None,
        progress=lambda done, total, text: told.append((done, total, text)),
    )
    assert told[-1] == (16, 16, "looking through transparent pictures")
    assert read_picture(paths[0], prepared).shape == (3, 16, 16)


def test_headers_of_turned_pictures(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("png", "tif", "jpg", "webp"):
        path = tmp_path / f"a.{suffix}"
        Image.new("RGB", (30, 10)).save(path, exif=exif)
        assert (look(path).height, look(path).width) == (30, 10), suffix
