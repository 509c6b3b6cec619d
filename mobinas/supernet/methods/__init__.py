"""The one-shot methods by name; each file here is one, as its `METHOD`."""

from mobinas.errors import ConfigError, did_you_mean
from mobinas.supernet.registry import members
from mobinas.supernet.relaxation import Method

METHODS: dict[str, Method] = {method.name: method for method in members(__name__, __path__, Method)}


def find_method(name: str) -> Method:
    """The method of this name.

    Raises:
        ConfigError: An unknown name.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown method '{name}'{did_you_mean(name, METHODS)}")
    return METHODS[name]
