"""The one-shot methods by name; each file here is one, as its `METHOD`."""

from mobinas.supernet.registry import find, members
from mobinas.supernet.relaxation import Method

METHODS: dict[str, Method] = {method.name: method for method in members(__name__, __path__, Method)}


def find_method(name: str) -> Method:
    """The method of this name.

    Raises:
        ConfigError: An unknown name.
    """
    return find("method", name, METHODS)
