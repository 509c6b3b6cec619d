"""The guards against collapse by name; each file here is one, as its `GUARD`."""

from mobinas.errors import ConfigError, did_you_mean
from mobinas.supernet.guard import Guard
from mobinas.supernet.registry import members

GUARDS: dict[str, Guard] = {guard.name: guard for guard in members(__name__, __path__, Guard)}


def find_guard(name: str) -> Guard:
    """The guard of this name.

    Raises:
        ConfigError: An unknown name.
    """
    if name not in GUARDS:
        raise ConfigError(f"unknown guard '{name}'{did_you_mean(name, GUARDS)}")
    return GUARDS[name]
