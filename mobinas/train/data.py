"""Loads a data set that is named by one string."""

import dataclasses

import torch
from torch import Tensor

from mobinas.errors import DataError
from mobinas.train.adapters import adapter_for
from mobinas.train.images import ImageData

__all__ = ["ImageData", "load_data"]


def load_data(
    spec: str,
    *,
    image_size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    background: str = "auto",
) -> ImageData:
    """Loads images and labels.

    Args:
        spec: ``digits``; the path of a folder with one folder of images per class (or with such folders below
            ``train/`` and ``test/``); the path of an ``.npz`` file; a torchvision data set such as
            ``fashion_mnist`` or ``cifar10``; or ``package.module:function`` or ``path/file.py:function``.
            A name of a data set wins over a folder of that name; write ``./digits`` for the folder.
        image_size: Height and width of the images, in pixels; without it they keep their size, and
            folders with images of various sizes take the median size.
        limit: Keep at most so many images (and as many test images), in the proportions of the classes.
        seed: Draws the images that `limit` keeps.
        background: Of transparent images: ``auto`` (white, black or grey, whichever contrasts best), or a
            colour's
            name or ``#rrggbb``.

    Raises:
        DataError: Unknown, missing, empty, unreadable or malformed data; one line that names it.
    """
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size is {image_size}; it must be at least 1 pixel")
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}; it must be at least 1 image")
    data = adapter_for(spec).load(spec, image_size, background)

    def bounded(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if limit is not None:
            images, labels = _subset(images, labels, limit, seed)
        return images, labels

    images, labels = bounded(data.images, data.labels)
    test, select = (None if own is None else bounded(*own) for own in (data.test, data.select))
    return dataclasses.replace(data, images=images, labels=labels, test=test, select=select)


def _subset(images: Tensor, labels: Tensor, limit: int, seed: int) -> tuple[Tensor, Tensor]:
    """Spreads the draw over the classes: images ordered by their relative rank within their class."""
    if limit >= len(images):
        return images, labels
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    rank = torch.zeros(len(images), dtype=torch.float64)
    for label in set(labels.tolist()):
        members = order[labels[order] == label]
        rank[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    kept = order[torch.argsort(rank[order], stable=True)[:limit]].sort().values
    return images[kept], labels[kept]
