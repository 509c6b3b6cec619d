"""Pixels beyond 8 bits: one scale for a set, from the data's own range, in folders, Datasets and arrays."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mobinas.errors import DataError
from mobinas.train.adapters.values import choose_range, spread_of, to_bytes
from mobinas.train.data import ImageData, load_data
from tests.train.picture_sets import bars, fill, fill_bytes, grey16, png, tiff


def levels(data: ImageData) -> int:
    return len(data.images.unique())


def check_scaled(data: ImageData, low: float, high: float) -> None:
    """The whole of 0..255 is used, and the noise keeps its levels."""
    assert data.preparation is not None and data.preparation.value_range == (low, high)
    assert (int(data.images.min()), int(data.images.max())) == (0, 255)
    assert levels(data) >= 40


FILES = {
    "12 bits": lambda p: fill(p, lambda a, i: grey16(a * 16)),
    "10 bits": lambda p: fill(p, lambda a, i: grey16(a * 4), "tif"),
    "big-endian": lambda p: fill_bytes(p, lambda a: tiff((a * 16)[..., None].astype("u2"), ">"), "tif"),
    "signed": lambda p: fill_bytes(p, lambda a: tiff((a * 16 - 1000)[..., None].astype("i2"), "<", 2), "tif"),
    "signed bytes": lambda p: fill_bytes(p, lambda a: tiff((a - 120)[..., None].astype("i1"), "<", 2), "tif"),
    "32 bits": lambda p: fill_bytes(p, lambda a: tiff((a * 10**7)[..., None].astype("u4")), "tif"),
    "PGM of 12 bits": lambda p: fill_bytes(
        p, lambda a: b"P5 16 16 4095\n" + (a * 16).astype(">u2").tobytes(), "pgm"
    ),
    "RGB of 12 bits": lambda p: fill_bytes(p, lambda a: png(np.stack([a * 16] * 3, -1), 2), "png"),
    "RGB TIFF": lambda p: fill_bytes(p, lambda a: tiff(np.stack([a * 16] * 3, -1).astype("u2"), ">"), "tif"),
    "LA": lambda p: fill_bytes(p, lambda a: png(np.stack([a * 16, 0 * a + 65535], -1), 4), "png"),
    "RGBA": lambda p: fill_bytes(p, lambda a: png(np.stack([a * 16] * 3 + [0 * a + 65535], -1), 6), "png"),
    "floats": lambda p: fill(p, lambda a, i: Image.fromarray((a * 9.5).astype("float32")), "tif"),
}
RANGES = {
    "12 bits": (0, 3520),
    "10 bits": (0, 880),
    "big-endian": (0, 3520),
    "signed": (-1000, 2520),
    "signed bytes": (-120, 100),
    "32 bits": (0, 22 * 10**8),
    "PGM of 12 bits": (0, round(220 * 16 * 65535 / 4095)),
    "RGB of 12 bits": (0, 3520),
    "RGB TIFF": (0, 3520),
    "LA": (0, 3520),
    "RGBA": (0, 3520),
    "floats": (0, 2090),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_take_the_range_of_the_data(kind: str, tmp_path: Path) -> None:
    data = load_data(str(FILES[kind](tmp_path / "set")))
    check_scaled(data, *RANGES[kind])
    assert any("one scale for all" in note for note in data.notes)


def test_values_that_fit_eight_bits_stay(tmp_path: Path) -> None:
    plain = load_data(str(fill(tmp_path / "plain", lambda a, i: Image.fromarray(a.astype("uint8")))))
    deep = load_data(str(fill(tmp_path / "deep", lambda a, i: grey16(a))))
    wide = load_data(
        str(fill_bytes(tmp_path / "wide", lambda a: png(np.stack([a] * 3, -1), 2), "png")), image_size=16
    )
    unit = load_data(
        str(fill(tmp_path / "unit", lambda a, i: Image.fromarray((a / 255).astype("f4")), "tif"))
    )
    assert deep.images.equal(plain.images) and unit.images.equal(plain.images)
    assert wide.images[:, :1].equal(plain.images)
    assert unit.preparation is not None and unit.preparation.value_range == (0, 1)


def test_single_hot_pixels_cost_no_levels(tmp_path: Path) -> None:
    def hot(a: np.ndarray, i: int) -> Image.Image:
        values = a * 16
        values[0, i] = 65535
        return grey16(values)

    data = load_data(str(fill(tmp_path / "set", hot)))
    check_scaled(data, 0, 3520)
    assert any("65535" in note and "outliers" in note for note in data.notes)


def test_deep_pictures_beside_plain_ones(tmp_path: Path) -> None:
    fill(tmp_path, lambda a, i: grey16(a * 257) if i % 2 else Image.fromarray(a.astype("uint8")))
    data = load_data(str(tmp_path))
    expected = np.stack([bars(down, i) for down in (False, True) for i in range(8)])
    assert np.array_equal(data.images[:, 0].numpy(), expected)
    assert any("8 have 8 bits and stay" in note for note in data.notes)


def test_what_no_scale_fits_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "one", lambda a, i: grey16(a * 280 if i == 3 else a))
    with pytest.raises(DataError, match=r"no one scale fits.*3\.png \(0 to 61600\).*few levels"):
        load_data(str(tmp_path / "one"))
    fill(tmp_path / "few", lambda a, i: grey16(a if i == 3 else a * 280))
    notes = load_data(str(tmp_path / "few")).notes
    assert any("2 images such as" in note and "3.png (0 to 220)" in note for note in notes)

    def holed(a: np.ndarray, i: int) -> Image.Image:
        values = (a / 255).astype("f4")
        values[0, 0] = np.nan if i == 5 else 0
        return Image.fromarray(values)

    fill(tmp_path / "nan", holed, "tif")
    with pytest.raises(DataError, match=r"across/5\.tif holds NaN or infinite values \(1 of 256\)"):
        load_data(str(tmp_path / "nan"))
    fill(tmp_path / "constant", lambda a, i: grey16(0 * a + 1000))
    with pytest.raises(DataError, match="all others are 1000"):
        load_data(str(tmp_path / "constant"))


def test_integers_beside_floats_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, lambda a, i: grey16(a * 16) if i else Image.fromarray((a / 255).astype("f4")), "tif")
    with pytest.raises(DataError, match=r"0\.tif holds floats from 0 to .*integers.*one scale"):
        load_data(str(tmp_path))


def test_a_deep_test_picture_among_plain_ones_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "train", lambda a, i: Image.fromarray(a.astype("uint8")))
    fill(tmp_path / "test", lambda a, i: grey16(a * 16))
    with pytest.raises(DataError, match=r"0\.png has pixels of more than 8 bits .*no training picture has"):
        load_data(str(tmp_path))


ARRAYS = {
    "uint16": (lambda a: (a * 16).astype(np.uint16), (0, 3520)),
    "Hounsfield units": (lambda a: (a * 16 - 1024).astype(np.int16), (-1024, 2496)),
    "floats beyond 1": (lambda a: (a * 0.5 + 7).astype(np.float32), (7, 117)),
    "floats of bytes": (lambda a: a.astype(np.float32), (0, 255)),
    "from -1 to 1": (lambda a: a / 110 - 1, (-1, 1)),
    "int64": (lambda a: a * 10**6, (0, 220 * 10**6)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_take_the_range_of_the_data(kind: str, tmp_path: Path) -> None:
    make, value_range = ARRAYS[kind]
    images = np.stack([make(bars(down, i)) for down in (False, True) for i in range(8)])
    np.savez(
        tmp_path / "d.npz", images=images, labels=np.arange(16) // 8, x_test=images, y_test=np.arange(16) // 8
    )
    data = load_data(str(tmp_path / "d.npz"))
    assert data.preparation is not None and data.preparation.value_range == value_range
    assert data.preparation.source == "arrays" and levels(data) >= 40
    assert data.test is not None and data.test[0].equal(data.images)


def test_arrays_with_nan_name_the_image(tmp_path: Path) -> None:
    images = np.ones((4, 5, 5))
    images[2, 1, 1] = np.nan
    np.savez(tmp_path / "d.npz", images=images, labels=[0, 1, 0, 1])
    with pytest.raises(DataError, match="image 2 of d holds NaN or infinite values"):
        load_data(str(tmp_path / "d.npz"))


@settings(deadline=None)
@given(st.integers(-(2**31), 2**31), st.integers(256, 2**31), st.integers(0, 2**32))
def test_any_scale_keeps_order_and_levels(offset: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, 12, 12)) * (width // 255) + offset
    chosen, _ = choose_range([spread_of(image, str(i)) for i, image in enumerate(images)])
    mapped = to_bytes(images, chosen)
    order = np.argsort(images, axis=None, kind="stable")
    assert (np.diff(mapped.ravel()[order].astype(int)) >= 0).all()
    assert len(np.unique(mapped)) >= 0.9 * len(np.unique(images))
