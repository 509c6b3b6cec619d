"""What the files of a package offer, each in a constant named after the kind."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def members(package: str, path: Iterable[str], kind: type[T]) -> Iterator[T]:
    """The constant of this kind in each module of a package, called METHOD for a `Method`, and so on."""
    for module in pkgutil.iter_modules(path):
        member = getattr(importlib.import_module(f"{package}.{module.name}"), kind.__name__.upper())
        assert isinstance(member, kind)
        yield member
