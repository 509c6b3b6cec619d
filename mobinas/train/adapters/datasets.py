"""Map-style Datasets of (image, label), whose images are PIL images, arrays or tensors."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mobinas.errors import DataError, MobinasError
from mobinas.progress import silent
from mobinas.train.adapters.arrays import Arrays, Source, as_array, channels_first
from mobinas.train.adapters.labels import Label, to_labels
from mobinas.train.adapters.pictures import Look, Picture, look_at, preparation_of, read
from mobinas.train.preparation import Preparation

_IMAGE_KEYS = ("image", "img", "images", "pixel_values")
_LABEL_KEYS = ("label", "labels", "target", "class")


def is_dataset(value: Any) -> bool:
    """Whether this has numbered items, as a Dataset or a list of (image, label) has."""
    if isinstance(value, tuple | list):
        return len(value) > 0 and all(isinstance(item, tuple | list) and len(item) == 2 for item in value)
    return (
        hasattr(value, "__len__")
        and hasattr(value, "__getitem__")
        and not isinstance(value, dict | str | np.ndarray | Tensor)
    )


def read_dataset(dataset: Any, name: str) -> Source:
    """Reads all items once, PIL images their headers alone.

    Raises:
        DataError: An item that fails or is of another kind; the text has its number.
    """
    images: list[Any] = []
    labels: list[Any] = []
    with seeded():
        items = _Items.of(dataset, name)
        for i in range(items.length()):
            with items.fetched(i) as (image, label):
                images.append(
                    look_at(image) if isinstance(image, Image.Image) else _row(image, items.called(i))
                )
            labels.append(label)
    return _source(items, images, to_labels(labels, name))


def changes(dataset: Any, name: str) -> bool:
    """Whether the first item differs when it is fetched again."""
    items, found = _Items.of(dataset, name), []
    for _ in range(2):
        with items.fetched(0) as (image, _):
            found.append(np.array(image if isinstance(image, Image.Image) else as_array(image, name)))
    return not np.array_equal(found[0], found[1])


@contextmanager
def seeded() -> Iterator[None]:
    """Whatever is drawn from global generators inside is the same each time; their state is restored."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002, users draw from it
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


@dataclass(frozen=True, slots=True)
class _Items:
    """A user's Dataset, whose errors name the item.

    Attributes:
        dataset: What was given.
        name: What messages call it.
        fresh: Whether a PIL image is made anew each time it is fetched, so that it may be closed after use.
    """

    dataset: Any
    name: str
    fresh: bool = False

    @classmethod
    def of(cls, dataset: Any, name: str) -> "_Items":
        items = cls(dataset, name)
        if not items.length():
            raise DataError(f"{name} holds no images (its length is 0); give some")
        with items.fetched(0) as (first, _), items.fetched(0) as (second, _):
            fresh = isinstance(first, Image.Image) and first is not second
            if fresh:
                first.close()
                second.close()
        return cls(dataset, name, fresh)

    def called(self, i: int) -> str:
        return f"item {i} of {self.name}"

    def length(self) -> int:
        try:
            return len(self.dataset)
        except Exception as error:
            raise DataError(
                f"{self.name} has no length ({type(error).__name__}: {_line(error)}); give a map-style "
                "Dataset, with __len__ and __getitem__"
            ) from error

    @contextmanager
    def fetched(self, i: int) -> Iterator[tuple[Any, Any]]:
        """Image and label; what goes wrong inside is an error of this item."""
        try:
            image, label = self.pair(i)
            yield image, label
            if self.fresh and isinstance(image, Image.Image):
                image.close()
        except MobinasError:
            raise
        except NotImplementedError as error:
            raise DataError(
                f"{self.called(i)} cannot be fetched by its number; give a map-style Dataset, with "
                f"__len__ and "
                "__getitem__"
            ) from error
        except (Exception, SystemExit) as error:
            raise DataError(
                f"{self.called(i)} cannot be read ({type(error).__name__}: {_line(error)}); repair it "
                f"or leave "
                "it out"
            ) from error

    def pair(self, i: int) -> tuple[Any, Any]:
        item = self.dataset[i]
        if isinstance(item, Mapping):
            image = next((item[key] for key in _IMAGE_KEYS if key in item), None)
            label = next((item[key] for key in _LABEL_KEYS if key in item), None)
            if image is None or label is None:
                raise DataError(
                    f"{self.called(i)} has the keys {', '.join(map(str, item))}; give 'image' and 'label'"
                )
            return image, label
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise DataError(f"{self.called(i)} is {type(item).__name__}; a Dataset must give (image, label)")
        return item[0], item[1]

    @contextmanager
    def opened(self, i: int) -> Iterator[Image.Image]:
        with self.fetched(i) as (image, _):
            if not isinstance(image, Image.Image):
                raise DataError(
                    f"{self.called(i)} was a PIL image and now is {type(image).__name__}; give one kind"
                )
            yield image


@dataclass(slots=True)
class _Pictures:
    """PIL images, read as files are; fetched again for their pixels."""

    items: _Items
    looks: list[Look]
    labels: list[Label]

    @property
    def name(self) -> str:
        return self.items.name

    def _pictures(self) -> list[Picture]:
        return [Picture(self.items.called(i), partial(self.items.opened, i)) for i in range(len(self.looks))]

    def prepare(self, image_size: int | None, background: str) -> Preparation:
        # Users' code need not bear threads.
        with seeded():
            return preparation_of(self._pictures(), self.looks, image_size, background, silent, threads=1)

    def check(self, _preparation: Preparation) -> None:
        """What cannot be read alike is found when it is read."""

    def read(self, preparation: Preparation, _image_size: int | None) -> Tensor:
        shape = (len(self.looks), preparation.channels, preparation.height, preparation.width)
        images = torch.empty(shape, dtype=torch.uint8)
        with seeded():
            for i, picture in enumerate(self._pictures()):
                images[i] = torch.from_numpy(read(picture, preparation).copy())
        return images


def _source(items: _Items, images: list[Any], labels: list[Label]) -> Source:
    looks = [image for image in images if isinstance(image, Look)]
    if len(looks) == len(images):
        return _Pictures(items, looks, labels)
    if looks:
        other = next(
            i for i, image in enumerate(images) if isinstance(image, Look) != isinstance(images[0], Look)
        )
        raise DataError(
            f"{items.called(other)} and item 0 are not both PIL images; give all images in one way"
        )
    channels = [row.shape[0] for row in images]
    odd = next((i for i, n in enumerate(channels) if n != channels[0]), None)
    if odd is not None:
        raise DataError(
            f"{items.called(odd)} has {channels[odd]} channels, item 0 {channels[0]}; give all images "
            f"the same "
            "channels, or PIL images"
        )
    alike = len({row.shape for row in images}) == 1 and len({row.dtype for row in images}) == 1
    return Arrays(np.stack(images) if alike else images, labels, items.name, "item")


def _row(image: Any, name: str) -> Any:
    """One image as [channels, h, w]."""
    if image is None or isinstance(image, str | bytes | Mapping):
        raise DataError(
            f"{name} has a {type(image).__name__} for an image; give a PIL image, an array or a tensor"
        )
    array = as_array(image, name)
    # A lone [channels, h, w] tensor and a lone [h, w, channels] picture both have three axes.
    return channels_first((array[None] if array.ndim == 2 else array)[None], name)[0]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or "no message"
