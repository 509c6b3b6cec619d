"""The guards against collapse by name; each file here is one, as its `GUARD`."""

from mobinas.supernet.guard import Guard
from mobinas.supernet.registry import find, members

GUARDS: dict[str, Guard] = {guard.name: guard for guard in members(__name__, __path__, Guard)}


def find_guard(name: str) -> Guard:
    """The guard of this name.

    Raises:
        ConfigError: An unknown name.
    """
    return find("guard", name, GUARDS)
