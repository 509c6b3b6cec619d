"""Loads a data set that is named by one string."""

import dataclasses

import torch
from torch import Tensor

from mobinas.errors import DataError
from mobinas.train.adapters import adapter_for
from mobinas.train.adapters.base import Wanted
from mobinas.train.images import ImageData
from mobinas.train.usable import usable

__all__ = ["ImageData", "Wanted", "load_data"]


def load_data(
    spec: str,
    *,
    image_size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    background: str = "auto",
    merge_val: bool = False,
    skip_bad: bool = False,
    min_per_class: int | None = None,
    wanted: Wanted | None = None,
) -> ImageData:
    """Loads images and labels.

    Args:
        spec: ``digits``; the path of a folder with one folder of images per class (or with such folders below
            ``train/``, ``val/`` and ``test/``, however these are named); the path of an ``.npz`` file; a
            torchvision data set such as ``fashion_mnist`` or ``cifar10``; or ``package.module:function`` or
            ``path/file.py:function``. A name of a data set wins over a folder of that name; write
            ``./digits`` for the folder.
        image_size: Height and width of the images, in pixels; without it they keep their size, and
            folders with images of various sizes take the median size.
        limit: Keep at most so many images (and as many test images), in the proportions of the classes.
        seed: Draws the images that `limit` keeps.
        background: Of transparent images: ``auto`` (white, black or grey, whichever contrasts best), or a
            colour's name or ``#rrggbb``.
        merge_val: The data's own selection part is split with the training images.
        skip_bad: See `usable`.
        min_per_class: See `usable`.
        wanted: What else is asked of the reading; its image size and background are ignored.

    Raises:
        DataError: Unknown, missing, empty, unreadable or malformed data; one line that names it.
    """
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size is {image_size}; it must be at least 1 pixel")
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}; it must be at least 1 image")
    wanted = dataclasses.replace(wanted or Wanted(), image_size=image_size, background=background)
    adapter = adapter_for(spec)
    if wanted.parts.is_asked and not adapter.has_folders:
        raise DataError(
            f"'{spec}' is no folder, so images.train, val, test and ignore mean nothing; leave them out"
        )
    data = adapter.load(spec, wanted)
    if merge_val:
        data = _merged(data)
    if limit is not None:
        data = _limited(data, limit, seed)
    return usable(data, skip_bad=skip_bad, min_per_class=min_per_class)


def _limited(data: ImageData, limit: int, seed: int) -> ImageData:
    """At most so many images in each part."""
    names: list[str] = []
    start = 0
    parts: list[tuple[Tensor, Tensor] | None] = []
    for part in ((data.images, data.labels), data.select, data.test):
        if part is None:
            parts.append(None)
            continue
        kept = _spread(part[1], limit, seed)
        parts.append((part[0][kept], part[1][kept]))
        names += [data.found.names[start + place] for place in kept.tolist()] if data.found.names else []
        start += len(part[1])
    found = dataclasses.replace(data.found, names=tuple(names))
    first, select, test = parts
    assert first is not None
    return dataclasses.replace(data, images=first[0], labels=first[1], select=select, test=test, found=found)


def _merged(data: ImageData) -> ImageData:
    """The data's own selection part joins the training images."""
    if data.select is None:
        return data
    images, labels = (torch.cat(pair) for pair in zip((data.images, data.labels), data.select, strict=True))
    note = f"{len(data.select[1])} images to select by are split with the others (images.merge_val)"
    return dataclasses.replace(data, images=images, labels=labels, select=None, notes=(*data.notes, note))


def _spread(labels: Tensor, limit: int, seed: int) -> Tensor:
    """Positions of at most so many images, spread over the classes: by their relative rank in their class."""
    if limit >= len(labels):
        return torch.arange(len(labels))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    rank = torch.zeros(len(labels), dtype=torch.float64)
    for label in set(labels.tolist()):
        members = order[labels[order] == label]
        rank[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return order[torch.argsort(rank[order], stable=True)[:limit]].sort().values
