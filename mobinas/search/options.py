"""Options of a choice as users have them, and the plain data that stand for them in a study."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np

from mobinas.errors import SearchError

Label = str | int | float | bool | None

# What the default text of an object holds, another one in every process.
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")


def option_tuple(name: str, options: Any) -> tuple[Any, ...]:
    """The options of a choice, NumPy's scalars as Python's.

    Raises:
        SearchError: There is none, or they have no order of their own.
    """
    ordered = isinstance(options, Iterable) and not isinstance(
        options, str | bytes | set | frozenset | Mapping
    )
    found = tuple(_python(option) for option in options) if ordered else ()
    if not found:
        # A set has another order in every process.
        raise SearchError(f"choice '{name}' has options {options!r}; give a sequence of at least one")
    return found


def _python(option: Any) -> Any:
    return option.item() if isinstance(option, np.generic) else option


def labels_of(name: str, options: Collection[Any]) -> tuple[Label, ...]:
    """A label for each option, no two of them equal, the same in every process.

    Raises:
        SearchError: An option is repeated, not finite, or an object without a text of its own.
    """
    labels = tuple(label_of(option, name) for option in options)
    texts = [f"{type(label).__name__} {label}" for label in labels]
    if len(set(texts)) != len(labels):
        raise SearchError(f"choice '{name}' repeats an option in {list(options)}; give each once")
    # Where 1 stands beside True or 1.0, which Python and Optuna take for equal, their texts tell them apart.
    return labels if len(set(labels)) == len(labels) else tuple(map(repr, labels))


def label_of(option: Any, name: str = "") -> Label:
    """Plain data for one option: itself, or the text of what is no plain data.

    Raises:
        SearchError: It is not finite, or an object without a text of its own.
    """
    option = _python(option)
    if isinstance(option, Enum):
        return str(option)
    if option is None or type(option) in (bool, int, str):
        return option  # type: ignore[no-any-return]
    if isinstance(option, float):
        if not math.isfinite(option):
            raise SearchError(f"choice '{name}' has an option that is not finite; leave it out")
        return float(option)
    text = _text(option, name)
    if _ADDRESS.search(text) or "<lambda>" in text:
        raise SearchError(
            f"choice '{name}' has an option without a fixed text, {text}; "
            "let the options be names, and look the objects up by name"
        )
    return text


def place_of(option: Any, options: Sequence[Any], name: str = "") -> int | None:
    """Where an option stands among others: the very same, else an equal one such as 1.0 for 1, else None."""
    sought, labels = label_of(option, name), [label_of(one, name) for one in options]
    for place, label in enumerate(labels):
        if type(label) is type(sought) and label == sought:
            return place
    return labels.index(sought) if sought in labels else None


def _text(option: Any, name: str) -> str:
    if isinstance(option, np.ndarray):
        return repr(option.tolist())
    if isinstance(option, tuple | list):
        inner = ", ".join(repr(label_of(one, name)) for one in option)
        return f"({inner})" if isinstance(option, tuple) else f"[{inner}]"
    if callable(option) and hasattr(option, "__qualname__"):
        return str(option.__qualname__)
    return repr(option)
