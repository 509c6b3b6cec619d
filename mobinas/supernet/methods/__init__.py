"""The one-shot methods by name; each file here is one, as its `METHOD`."""

import importlib
import pkgutil

from mobinas.errors import ConfigError, did_you_mean
from mobinas.supernet.relaxation import Method


def _methods() -> dict[str, Method]:
    modules = [
        importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)
    ]
    return {module.METHOD.name: module.METHOD for module in modules}


METHODS = _methods()


def find_method(name: str) -> Method:
    """The method of this name.

    Raises:
        ConfigError: An unknown name.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown method '{name}'{did_you_mean(name, METHODS)}")
    return METHODS[name]
