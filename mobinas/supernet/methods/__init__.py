"""The one-shot methods by name; each lives in a file of its own."""

from mobinas.errors import ConfigError, did_you_mean
from mobinas.supernet.methods.darts import DARTS
from mobinas.supernet.methods.gdas import GDAS
from mobinas.supernet.methods.pc_darts import PC_DARTS
from mobinas.supernet.methods.random import RANDOM
from mobinas.supernet.relaxation import Method

METHODS: dict[str, Method] = {method.name: method for method in (DARTS, PC_DARTS, GDAS, RANDOM)}


def find_method(name: str) -> Method:
    """The method of this name.

    Raises:
        ConfigError: An unknown name.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown method '{name}'{did_you_mean(name, METHODS)}")
    return METHODS[name]
