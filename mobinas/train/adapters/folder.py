"""A folder with one folder of images per class."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from mobinas.errors import DataError
from mobinas.train.adapters.base import Adapter
from mobinas.train.images import ImageData

_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"))
_GREY_MODES = frozenset(("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"))
_TRAIN_FOLDERS = frozenset(("train", "training", "val", "valid", "validation"))
_TEST_FOLDERS = frozenset(("test", "testing"))
# Photographs of 12 megapixels would fill any memory; who wants more than this says so with image_size.
LARGEST_AUTOMATIC_SIZE = 96
_ORIENTATION_TAG = 0x0112
_FIRST_TURNED_ORIENTATION = 5

_Files = list[tuple[Path, int]]


def _load(spec: str, image_size: int | None) -> ImageData:
    root = Path(spec).expanduser()
    folders = _folders(root)
    named = {folder.name.lower() for folder in folders}
    if named & {"train", "training"} and named <= _TRAIN_FOLDERS | _TEST_FOLDERS:
        train_roots = [folder for folder in folders if folder.name.lower() in _TRAIN_FOLDERS]
        test_roots = [folder for folder in folders if folder.name.lower() in _TEST_FOLDERS]
    else:
        train_roots, test_roots = [root], []
    classes = sorted({folder.name for part in train_roots for folder in _folders(part)})
    if not classes:
        raise DataError(
            f"{root} holds no class folders; put the images of each class into a folder of its own"
        )
    train, test = _files(train_roots, classes), _files(test_roots, classes)
    for label, name in enumerate(classes):
        if all(position != label for _, position in train):
            raise DataError(
                f"class folder '{name}' below {root} holds no images; add some "
                f"({', '.join(sorted(_SUFFIXES))}), or remove it"
            )
    looks = [_look(path) for path, _ in train + test]
    channels = 1 if all(grey for _, _, grey in looks) else 3
    size = (image_size, image_size) if image_size else _common_size([(h, w) for h, w, _ in looks])
    own_test = _read(test, channels, size) if test else None
    return ImageData(*_read(train, channels, size), tuple(classes), root.resolve().name, own_test)


def _folders(root: Path) -> list[Path]:
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise DataError(f"cannot read the data folder {root} ({error.strerror}); check the path") from None
    return [e for e in entries if e.is_dir() and not e.name.startswith((".", "__"))]


def _files(roots: list[Path], classes: list[str]) -> _Files:
    files: _Files = []
    for root in roots:
        for folder in _folders(root):
            if folder.name not in classes:
                raise DataError(f"{folder} is a class that the training images lack; remove it or add images")
            paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
            files += [(path, classes.index(folder.name)) for path in paths]
    return files


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Opens an image; whatever is wrong with it names the file."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read image {path} ({error}); repair or remove it") from None


def _look(path: Path) -> tuple[int, int, bool]:
    """Height, width and whether an image is grey, from its header."""
    with _opened(path) as image:
        width, height = image.size
        if image.getexif().get(_ORIENTATION_TAG, 1) >= _FIRST_TURNED_ORIENTATION:
            width, height = height, width
        return height, width, image.mode in _GREY_MODES


def _common_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The median height and width, scaled down to `LARGEST_AUTOMATIC_SIZE` where they exceed it."""
    height, width = median(h for h, _ in sizes), median(w for _, w in sizes)
    scale = min(1.0, LARGEST_AUTOMATIC_SIZE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _read(files: _Files, channels: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    images = torch.empty((len(files), channels, *size), dtype=torch.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for i, pixels in enumerate(pool.map(lambda file: _pixels(file[0], channels, size), files)):
            images[i] = torch.from_numpy(pixels)
    return images, torch.tensor([label for _, label in files], dtype=torch.int64)


def _pixels(path: Path, channels: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """uint8 [channels, height, width]."""
    with _opened(path) as opened:
        # Decoding a large JPEG at a fraction of its size is several times faster; other formats ignore it.
        opened.draft(None, (2 * size[1], 2 * size[0]))
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):
            # Pillow clips 16-bit pixels instead of scaling them.
            image = Image.fromarray(
                (np.asarray(image).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8)
            )
        image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (size[1], size[0]):
            image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        pixels = np.array(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _accepts(spec: str) -> bool:
    return Path(spec).expanduser().is_dir() or (("/" in spec or os.sep in spec) and ":" not in spec)


ADAPTER = Adapter(_accepts, _load)
