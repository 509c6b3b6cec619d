"""What the files of a package offer, each in a constant named after the kind, and finding it by name."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from mobinas.errors import ConfigError, did_you_mean

T = TypeVar("T")


def members(package: str, path: Iterable[str], kind: type[T]) -> Iterator[T]:
    """The constant of this kind in each module of a package, called METHOD for a `Method`, and so on."""
    for module in pkgutil.iter_modules(path):
        member = getattr(importlib.import_module(f"{package}.{module.name}"), kind.__name__.upper())
        assert isinstance(member, kind)
        yield member


def find(kind: str, name: str, known: Mapping[str, T]) -> T:
    """The member of this name.

    Raises:
        ConfigError: An unknown name.
    """
    if name not in known:
        raise ConfigError(f"unknown {kind} '{name}'{did_you_mean(name, known)}")
    return known[name]
