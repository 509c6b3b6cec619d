"""A folder with one folder of images per class."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from mobinas.errors import DataError
from mobinas.train.adapters.base import Adapter
from mobinas.train.adapters.pictures import look, preparation_for, read_picture
from mobinas.train.images import ImageData
from mobinas.train.preparation import Preparation

_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"))
_TRAIN_FOLDERS = frozenset(("train", "training", "val", "valid", "validation"))
_TEST_FOLDERS = frozenset(("test", "testing"))
_Files = list[tuple[Path, int]]


def _load(spec: str, image_size: int | None, background: str) -> ImageData:
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
    paths = [path for path, _ in train]
    preparation = preparation_for(paths, [look(path) for path in paths], image_size, background=background)
    own_test = _read(test, preparation) if test else None
    images, labels = _read(train, preparation)
    name = root.resolve().name
    return ImageData(
        images, labels, tuple(classes), name, own_test, preparation=preparation, notes=preparation.notes
    )


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


def _read(files: _Files, preparation: Preparation) -> tuple[Tensor, Tensor]:
    shape = (len(files), preparation.channels, preparation.height, preparation.width)
    images = torch.empty(shape, dtype=torch.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for i, pixels in enumerate(pool.map(lambda file: read_picture(file[0], preparation), files)):
            images[i] = torch.from_numpy(pixels)
    return images, torch.tensor([label for _, label in files], dtype=torch.int64)


def _accepts(spec: str) -> bool:
    return Path(spec).expanduser().is_dir() or (("/" in spec or os.sep in spec) and ":" not in spec)


ADAPTER = Adapter(_accepts, _load)
