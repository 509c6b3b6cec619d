"""Plain values as TOML spells them; the standard library reads it, but does not write it."""

from collections.abc import Mapping
from typing import Any


def toml_lines(data: Mapping[str, Any]) -> list[str]:
    """One ``key = value`` for each entry, see `toml_value`."""
    return [f"{key} = {toml_value(value)}" for key, value in data.items()]


def toml_value(value: Any) -> str:
    """Text, a truth value, a number, or a list of these, as TOML spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[{', '.join(toml_value(v) for v in value)}]"
    return repr(value)
