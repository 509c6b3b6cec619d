import gzip
import inspect
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mobinas.errors import DataError
from mobinas.torchvision_ops import import_torchvision
from mobinas.train.adapters import idx, torchvision_sets
from mobinas.train.adapters.arrays import Arrays, image_data
from mobinas.train.data import ImageData, load_data
from mobinas.train.images import resize

RNG = np.random.default_rng(0)


def grey(n: int = 6, size: int = 4) -> np.ndarray:
    return RNG.integers(0, 256, (n, size, size), dtype=np.uint8)


def save(path: Path, array: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def test_digits() -> None:
    data = load_data("digits")
    assert data.images.shape == (1797, 1, 8, 8) and data.images.max() == 255
    assert data.classes == tuple("0123456789") and data.channels == 1 and data.test is None


def test_digest_depends_on_pixels_and_labels_alone() -> None:
    a = ImageData(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"), "x")
    b = ImageData(a.images.clone(), a.labels.clone(), a.classes, "other name")
    c = ImageData(a.images, a.labels.flip(0), a.classes, "x")
    d = ImageData(a.images, a.labels, a.classes, "x", (a.images, a.labels))
    assert a.digest == b.digest and len({a.digest, c.digest, d.digest}) == 3


@pytest.mark.parametrize(
    ("images", "labels", "classes", "message"),
    [
        (torch.zeros(2, 1, 2, 2), torch.tensor([0, 1]), "ab", "must be uint8"),
        (torch.zeros(2, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]), "ab", "must be uint8"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0]), "ab", "one for each of 2 images"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 2]), "ab", "must lie in 0 to 1"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 0]), "a", "at least 2"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]), "aa", "twice"),
        (torch.zeros(0, 1, 2, 2, dtype=torch.uint8), torch.zeros(0).long(), "ab", "holds no images"),
    ],
)
def test_invariants(images: torch.Tensor, labels: torch.Tensor, classes: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageData(images, labels, tuple(classes), "x")


def test_limit_keeps_the_proportions_and_image_size_resizes() -> None:
    data = load_data("digits", limit=100, image_size=12)
    assert data.images.shape == (100, 1, 12, 12)
    counts = torch.bincount(data.labels)
    assert counts.min() >= 9 and counts.max() <= 11
    assert torch.equal(data.images, load_data("digits", limit=100, image_size=12).images)
    assert not torch.equal(data.images, load_data("digits", limit=100, image_size=12, seed=1).images)
    with pytest.raises(DataError, match="limit is 0"):
        load_data("digits", limit=0)


def test_resize_halves_by_a_triangle_filter_and_keeps_constants() -> None:
    assert torch.equal(
        resize(torch.full((2, 1, 8, 8), 200, dtype=torch.uint8), 5, 3).unique(), torch.tensor([200])
    )
    row = torch.tensor([0, 0, 0, 0, 240, 240, 240, 240], dtype=torch.uint8).repeat(8, 1)[None, None]
    # Around the edge the filter weighs four pixels 1, 3, 3, 1 (of 8).
    assert resize(row, 8, 4)[0, 0, 0].tolist() == [0, 30, 210, 240]


@settings(deadline=None)
@given(st.lists(st.integers(1, 70), min_size=4, max_size=4), st.integers(1, 4), st.integers(0, 2**32))
def test_resize_is_pillows_on_a_cpu(sizes: list[int], channels: int, seed: int) -> None:
    height, width, to_height, to_width = sizes
    images = np.random.default_rng(seed).integers(0, 256, (2, channels, height, width), dtype=np.uint8)
    given = torch.from_numpy(images)
    if seed % 2:
        given = given.contiguous(memory_format=torch.channels_last)
    made = resize(given, to_height, to_width)
    for image, result in zip(images.reshape(-1, height, width), made.flatten(0, 1), strict=True):
        expected = Image.fromarray(image).resize((to_width, to_height), Image.Resampling.BILINEAR)
        assert np.array_equal(result.numpy(), np.asarray(expected))


def test_what_a_gpu_does_differs_from_pillow_by_a_level(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.from_numpy(RNG.integers(0, 256, (20, 3, 33, 20), dtype=np.uint8))
    exact = [resize(images, *size).int() for size in ((16, 16), (50, 7), (9, 41))]
    monkeypatch.setattr("mobinas.train.images._DEVICE_OF_PILLOW", "none")
    for size, pillows in zip(((16, 16), (50, 7), (9, 41)), exact, strict=True):
        assert (resize(images, *size).int() - pillows).abs().max() <= 1


def test_unknown_name_suggests() -> None:
    with pytest.raises(DataError, match="did you mean 'fashion_mnist'"):
        load_data("fashion-mnist")


# Folders


def test_folder_of_grey_images_of_one_size(tmp_path: Path) -> None:
    images = grey(4)
    for i, image in enumerate(images):
        save(tmp_path / ("cat" if i < 2 else "dog") / f"{i}.png", image)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    data = load_data(str(tmp_path))
    assert data.classes == ("cat", "dog") and data.labels.tolist() == [0, 0, 1, 1]
    assert torch.equal(data.images[:, 0], torch.from_numpy(images))
    assert data.name == tmp_path.name and data.test is None


def test_one_coloured_image_makes_three_channels_and_sizes_meet_at_the_median(tmp_path: Path) -> None:
    save(tmp_path / "a" / "0.png", np.full((4, 6), 9, np.uint8))
    save(tmp_path / "a" / "1.png", np.full((8, 8, 3), (1, 2, 3), np.uint8))
    save(tmp_path / "b" / "2.png", np.full((20, 30), 9, np.uint8))
    data = load_data(str(tmp_path))
    assert data.images.shape == (3, 3, 8, 8)
    assert data.images[1, :, 0, 0].tolist() == [1, 2, 3]
    assert load_data(str(tmp_path), image_size=5).images.shape == (3, 3, 5, 5)


def test_train_and_test_folders(tmp_path: Path) -> None:
    for part, n in (("train", 3), ("val", 2), ("test", 1)):
        for name in ("x", "y"):
            for i in range(n):
                save(tmp_path / part / name / f"{i}.png", grey(1)[0])
    data = load_data(str(tmp_path))
    assert data.test is not None and data.select is not None
    assert (len(data.images), len(data.select[0]), len(data.test[0])) == (6, 4, 2)


def test_sixteen_bits_are_scaled_and_turned_photos_are_righted(tmp_path: Path) -> None:
    save(tmp_path / "a" / "0.png", np.full((3, 3), 257 * 77, np.uint16))
    save(tmp_path / "b" / "1.png", np.full((3, 3), 77, np.uint8))
    assert load_data(str(tmp_path)).images.unique().tolist() == [77]
    turned = Image.Exif()
    turned[0x0112] = 6
    for name in "pq":
        save(tmp_path / "photos" / name / "0.jpg", np.full((10, 30, 3), 50, np.uint8), exif=turned)
    assert load_data(str(tmp_path / "photos")).images.shape == (2, 3, 30, 10)


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    save(tmp_path / "a" / "0.png", grey(1, 32)[0])
    save(tmp_path / "b" / "1.png", grey(1, 32)[0])
    whole = (tmp_path / "b" / "1.png").read_bytes()
    for content in (b"no image", whole[:200], b""):
        (tmp_path / "b" / "1.png").write_bytes(content)
        with pytest.raises(DataError, match=r"cannot read image .*b/1\.png"):
            load_data(str(tmp_path))


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the data folder .*missing"):
        load_data(str(tmp_path / "missing"))
    with pytest.raises(DataError, match="holds no class folders"):
        load_data(str(tmp_path))
    save(tmp_path / "a" / "0.png", grey(1)[0])
    with pytest.raises(DataError, match=r"1 class \(a\)"):
        load_data(str(tmp_path))
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"class 'b' .* has 0 different ones"):
        load_data(str(tmp_path))


# Archives


@pytest.mark.parametrize(
    "names",
    [("images", "labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test")],
)
def test_npz(tmp_path: Path, names: tuple[str, ...]) -> None:
    images, labels = grey(), np.array([5, 7, 5, 7, 9, 9])
    arrays = dict(zip(names, (images, labels, images[:2], labels[:2, None]), strict=True))
    np.savez(tmp_path / "d.npz", **arrays)  # type: ignore[arg-type]
    data = load_data(str(tmp_path / "d.npz"))
    assert data.classes == ("5", "7", "9") and data.labels.tolist() == [0, 1, 0, 1, 2, 2]
    assert data.test is not None and data.test[1].tolist() == [0, 1]
    assert torch.equal(data.images[:, 0], torch.from_numpy(images))


def test_npz_with_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=grey(), labels=np.array([{}] * 6, dtype=object))
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        load_data(str(tmp_path / "d.npz"))


def test_bad_archives(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    with pytest.raises(DataError, match="does not exist"):
        load_data(str(path))
    path.write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        load_data(str(path))
    with path.open("wb") as file:
        np.save(file, grey())
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        load_data(str(path))
    np.savez(path, pictures=grey())
    with pytest.raises(DataError, match="holds pictures; it needs 'images'"):
        load_data(str(path))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 3, 3), 300), "all others are 300"),
        (np.full((2, 3, 3), np.nan), "image 0 of x holds NaN"),
        (np.full((2, 3, 3), np.inf), "image 0 of x holds NaN or infinite"),
        (np.full((2, 3, 3), 1j), "holds complex128; give integers"),
        (np.full((2, 3, 3), "a"), "give integers"),
        (np.zeros((2, 9)), "have shape"),
        (np.zeros((2, 7, 9, 9)), "have shape"),
        (np.zeros((0, 3, 3)), "have shape"),
    ],
)
def test_bad_arrays(array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        image_data(Arrays.of(array, np.arange(len(array)), "x"), "x")


def test_axes_and_ranges_of_arrays() -> None:
    images = RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    expected = torch.from_numpy(images).permute(0, 3, 1, 2)
    for form in (images, images.transpose(0, 3, 1, 2), images / 255, images.astype(np.int64)):
        assert torch.equal(image_data(Arrays.of(form, ["a", "b", "a", "b"], "x"), "x").images, expected)


# Functions

MODULE = """
import numpy as np, torch
rng = np.random.default_rng(0)
pixels = lambda n: rng.integers(0, 256, (n, 4, 4), dtype=np.uint8)
def arrays(): return pixels(6), [0, 1, 2] * 2
def parts(): return (pixels(6), np.arange(6) % 2), (pixels(2), np.arange(2))
def tensors(): return torch.zeros(4, 3, 5, 5), torch.tensor([0, 1, 0, 1])
class Set(torch.utils.data.Dataset):
    classes = ["cat", "dog"]
    def __init__(self, sizes): self.sizes = sizes
    def __len__(self): return len(self.sizes)
    def __getitem__(self, i): return torch.full((3, self.sizes[i], 7), i / 9), i % 2
def dataset(): return Set([7] * 4)
def datasets(): return Set([7] * 4), Set([7] * 2)
def varied(): return Set([5, 7, 9, 7])
def nothing(): return None
def broken(): return 1 / 0
"""


@pytest.mark.parametrize(
    ("name", "shape", "classes", "n_test"),
    [
        ("arrays", (6, 1, 4, 4), ("0", "1", "2"), 0),
        ("parts", (6, 1, 4, 4), ("0", "1"), 2),
        ("tensors", (4, 3, 5, 5), ("0", "1"), 0),
        ("dataset", (4, 3, 7, 7), ("cat", "dog"), 0),
        ("datasets", (4, 3, 7, 7), ("cat", "dog"), 2),
    ],
)
@pytest.mark.parametrize("form", ["file", "module"])
def test_function(
    name: str,
    shape: tuple[int, ...],
    classes: tuple[str, ...],
    n_test: int,
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "my_data_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    spec = f"{tmp_path}/my_data_module.py:{name}" if form == "file" else f"my_data_module:{name}"
    data = load_data(spec)
    monkeypatch.delitem(sys.modules, "my_data_module", raising=False)
    assert sys.path == before
    assert tuple(data.images.shape) == shape and data.classes == classes
    assert (0 if data.test is None else len(data.test[0])) == n_test


def test_images_of_various_sizes_meet_at_the_median(tmp_path: Path) -> None:
    (tmp_path / "d.py").write_text(MODULE)
    data = load_data(f"{tmp_path}/d.py:varied")
    assert data.images.shape == (4, 3, 7, 7) and any("various sizes" in note for note in data.notes)
    assert load_data(f"{tmp_path}/d.py:varied", image_size=6).images.shape == (4, 3, 6, 6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("d.py:nothing", "returned NoneType; return"),
        ("d.py:broken", "failed with ZeroDivisionError: division by zero"),
        ("d.py:arays", "has no function 'arays'; did you mean 'arrays'"),
        ("gone.py:arrays", "cannot import"),
        ("leaves.py:arrays", r"cannot import .* \(SystemExit: 3\)"),
    ],
)
def test_bad_functions(spec: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "d.py").write_text(MODULE)
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(DataError, match=message):
        load_data(f"{tmp_path}/{spec}")


def test_missing_module() -> None:
    with pytest.raises(DataError, match="cannot import 'no_such_package"):
        load_data("no_such_package.data:load")


# torchvision and IDX


def write_idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


def test_idx_round_trip_and_faults(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    array = grey(3, 5)
    write_idx(path, array)
    assert np.array_equal(idx.read_idx(path), array)
    whole = path.read_bytes()
    for content in (whole[:-20], b"", gzip.compress(b"ab"), gzip.compress(gzip.decompress(whole)[:-1])):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.gz .*IDX file"):
            idx.read_idx(path)


def test_folder_of_idx_files(tmp_path: Path) -> None:
    for part, n in (("train", 20), ("t10k", 4)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", grey(n, 28))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", (np.arange(n) % 10).astype(np.uint8))
    data = idx.load_folder(tmp_path, "fashion_mnist", idx.FASHION_CLASSES)
    assert data.images.shape == (20, 1, 28, 28) and data.test is not None
    assert data.labels[:11].tolist() == [*range(10), 0]


@pytest.mark.skipif(
    not idx.FASHION_MNIST.exists(), reason="no data; install the package dataset-fashion-mnist"
)
def test_fashion_mnist_of_debian() -> None:
    data = load_data("fashion_mnist", limit=500)
    assert data.images.shape == (500, 1, 28, 28) and data.classes[9] == "Ankle boot"
    assert data.test is not None and torch.bincount(data.test[1]).tolist() == [50] * 10


@pytest.mark.parametrize("name", torchvision_sets.SOURCES)
def test_torchvision_knows_the_arguments(name: str) -> None:
    source = torchvision_sets.SOURCES[name]
    cls = getattr(import_torchvision("torchvision.datasets"), source.cls)
    accepted = inspect.signature(cls.__init__).parameters
    assert {"root", "download", *source.train, *source.test} <= set(accepted)


def test_no_network_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_args: object, **_more: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setenv("MOBINAS_DATA", str(tmp_path))
    monkeypatch.setattr(import_torchvision("torchvision.datasets"), "CIFAR10", unreachable)
    with pytest.raises(DataError, match=rf"'cifar10' \(Name or service not known\); connect .* {tmp_path}"):
        load_data("cifar10")


def test_torchvision_arrays_are_taken_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Fake:
        classes = ("a", "b")

        def __init__(self, root: str, *, train: bool, download: bool) -> None:
            assert Path(root) == tmp_path and download
            n = 6 if train else 2
            self.data = RNG.integers(0, 256, (n, 5, 5, 3), dtype=np.uint8)
            self.targets = [0, 1] * (n // 2)

    monkeypatch.setenv("MOBINAS_DATA", str(tmp_path))
    monkeypatch.setattr(import_torchvision("torchvision.datasets"), "CIFAR10", Fake)
    data = load_data("cifar10")
    assert data.images.shape == (6, 3, 5, 5) and data.test is not None and data.classes == ("a", "b")
