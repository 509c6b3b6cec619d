"""A folder with one folder of images per class, with or without the folders of a split around them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mobinas.errors import DataError
from mobinas.train.adapters.base import Adapter, Wanted
from mobinas.train.adapters.layout import Files, find_layout
from mobinas.train.adapters.pictures import Look
from mobinas.train.adapters.reader import read_pictures
from mobinas.train.adapters.room import own_limits
from mobinas.train.adapters.tree import scan
from mobinas.train.images import Found, ImageData


def _load(spec: str, wanted: Wanted) -> ImageData:
    root = Path(spec).expanduser()
    with own_limits():
        tree, skipped = scan(root)
        layout = find_layout(tree, wanted.parts, skipped)
        classes = tuple(layout.train)
        parts = [_files(files, classes) for files in (layout.train, layout.val, layout.test)]
        paths = [path for part, _ in parts for path in part]
        if not paths:
            raise DataError(f"the class folders of {root} hold no pictures; add some, or name another folder")
        read = read_pictures(paths, len(parts[0][0]), wanted)
    good = np.array([position not in read.problems for position in range(len(paths))])
    names = [str(path.relative_to(root)) for path in paths]
    chosen: list[tuple[Tensor, Tensor]] = []
    start = 0
    for part, labels in parts:
        places = np.flatnonzero(good[start : start + len(part)])
        chosen.append((_tensor(read.images, start + places), torch.tensor(labels, dtype=torch.int64)[places]))
        start += len(part)
    train, select, test = chosen
    if not len(train[0]):
        raise DataError(
            f"no picture to train with in {root} can be read, such as {names[0]} ({read.problems[0]})"
        )
    found = Found(
        names=tuple(name for name, is_good in zip(names, good, strict=True) if is_good),
        unreadable=(
            *skipped.unreadable,
            *(f"{names[position]} ({problem})" for position, problem in sorted(read.problems.items())),
        ),
        sizes=_sizes(read.looks, good),
        skipped=skipped.lines(),
    )
    return ImageData(
        *train,
        classes,
        root.resolve().name,
        test=test if len(test[0]) else None,
        select=select if len(select[0]) else None,
        preparation=read.preparation,
        notes=(*layout.notes, *read.preparation.notes),
        found=found,
    )


def _files(files: Files, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    place = {name: label for label, name in enumerate(classes)}
    pairs = [(path, place[name]) for name, paths in files.items() for path in paths]
    return [path for path, _ in pairs], [label for _, label in pairs]


def _tensor(images: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> Tensor:
    """These images; of all in a row no copy is made, as they may fill half of the memory."""
    whole = len(places) and places[-1] - places[0] + 1 == len(places)
    return torch.from_numpy(images[places[0] : places[-1] + 1] if whole else images[places])


def _sizes(looks: Sequence[Look | None], good: npt.NDArray[np.bool_]) -> str:
    """The smallest and the largest picture, by pixels."""
    seen = sorted(
        (
            (look.width * look.height, look.width, look.height)
            for look, g in zip(looks, good, strict=True)
            if look and g
        )
    )
    low, high = (f"{width} x {height}" for _, width, height in (seen[0], seen[-1]))
    return low if seen[0] == seen[-1] else f"{low} to {high}"


def _accepts(spec: str) -> bool:
    return Path(spec).expanduser().is_dir() or (("/" in spec or os.sep in spec) and ":" not in spec)


ADAPTER = Adapter(_accepts, _load, has_folders=True)
