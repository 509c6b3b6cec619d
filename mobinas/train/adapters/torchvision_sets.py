"""torchvision's data sets by name, downloaded once into ``$MOBINAS_DATA`` or ``~/.cache/mobinas``."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobinas.errors import DataError
from mobinas.torchvision_ops import import_torchvision
from mobinas.train.adapters.arrays import Arrays, Source, image_data
from mobinas.train.adapters.base import Adapter, Wanted
from mobinas.train.adapters.datasets import read_dataset
from mobinas.train.images import ImageData


@dataclass(frozen=True, slots=True)
class _Source:
    """A class of torchvision.datasets and the arguments that choose its parts."""

    cls: str
    train: dict[str, Any] = field(default_factory=lambda: {"train": True})
    test: dict[str, Any] = field(default_factory=lambda: {"train": False})


def _by_split(cls: str, train: str = "train") -> _Source:
    return _Source(cls, {"split": train}, {"split": "test"})


SOURCES: dict[str, _Source] = {
    "mnist": _Source("MNIST"),
    "fashion_mnist": _Source("FashionMNIST"),
    "kmnist": _Source("KMNIST"),
    "usps": _Source("USPS"),
    "cifar10": _Source("CIFAR10"),
    "cifar100": _Source("CIFAR100"),
    "svhn": _by_split("SVHN"),
    "stl10": _by_split("STL10"),
    "gtsrb": _by_split("GTSRB"),
    "food101": _by_split("Food101"),
    "flowers102": _by_split("Flowers102"),
    "oxford_iiit_pet": _by_split("OxfordIIITPet", "trainval"),
}


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("MOBINAS_DATA") or Path.home() / ".cache" / "mobinas")


def _load(spec: str, wanted: Wanted) -> ImageData:
    source = SOURCES[spec]
    train = _open(spec, source.cls, source.train)
    test = _open(spec, source.cls, source.test)
    classes = getattr(train, "classes", None)
    return image_data(
        _source(train, spec),
        spec,
        test=_source(test, f"the test part of {spec}"),
        classes=None if classes is None else [str(c) for c in classes],
        image_size=wanted.image_size,
        background=wanted.background,
    )


def _open(name: str, cls: str, arguments: dict[str, Any]) -> Any:
    make = getattr(import_torchvision("torchvision.datasets"), cls)
    root = cache_folder()
    try:
        # torchvision downloads only what is missing.
        return make(str(root), download=True, **arguments)
    except (OSError, RuntimeError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"cannot get data set '{name}' ({reason}); connect to the network once, or put torchvision's "
            f"files of {cls} below {root} (or set MOBINAS_DATA)"
        ) from error


def _source(dataset: Any, name: str) -> Source:
    """The whole array at once where a data set keeps one; item by item otherwise."""
    pixels = getattr(dataset, "data", None)
    labels = getattr(dataset, "targets", getattr(dataset, "labels", None))
    if pixels is not None and labels is not None and not isinstance(pixels, list):
        return Arrays.of(pixels, labels, name)
    return read_dataset(dataset, name)


ADAPTER = Adapter(lambda spec: spec in SOURCES, _load, tuple(SOURCES))
