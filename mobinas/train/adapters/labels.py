"""Labels as people have them: numbers, names, one-hot rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mobinas.errors import DataError, did_you_mean

Label = int | str


def to_labels(labels: Any, name: str) -> list[Label]:
    """Reads labels.

    Args:
        labels: Integers (also as floats or tensors of one element), truth values or strings, [n] or [n, 1];
            or
            one-hot rows, [n, classes].
        name: What error messages call them.

    Raises:
        DataError: Another kind; with the item's number.
    """
    rows = labels.detach().cpu() if isinstance(labels, Tensor) else labels
    if getattr(rows, "ndim", 1) == 0 or not hasattr(rows, "__len__"):
        raise DataError(f"labels of {name} are one {type(labels).__name__}; give one label for each image")
    plain = [_plain(label, i, name) for i, label in enumerate(rows)]
    kinds = {type(label) for label in plain}
    if len(kinds) > 1:
        other = next(i for i, label in enumerate(plain) if type(label) is not type(plain[0]))
        raise DataError(
            f"item {other} of {name} has the label {plain[other]!r}, item 0 {plain[0]!r}; give all "
            f"labels in one way"
        )
    return plain


def class_names(labels: Sequence[Label]) -> tuple[str, ...]:
    """The distinct labels as names, in order; numbers written as text are ordered as numbers."""
    known = set(labels)
    if all(isinstance(label, str) and label.isdecimal() for label in known):
        return tuple(str(label) for label in sorted(known, key=lambda label: (int(label), str(label))))
    return tuple(str(label) for label in sorted(known))


def positions(labels: Sequence[Label], classes: Sequence[str], named: bool, name: str) -> Tensor:
    """Each label's position among the classes, int64 [n].

    Args:
        labels: All are classes' names, or all are positions.
        classes: Names of the classes.
        named: Whether the classes were given by the user, so that numbers are positions among them.
        name: What error messages call the labels.

    Raises:
        DataError: A label is neither; with the item's number.
    """
    place = {label: position for position, label in enumerate(classes)}
    by_name = [place.get(str(label)) for label in labels]
    numbers = [int(label) if isinstance(label, int) or label.isdecimal() else -1 for label in labels]
    fit = all(0 <= number < len(classes) for number in numbers)
    integers = bool(labels) and isinstance(labels[0], int)
    if named and fit and (integers or None in by_name):
        return torch.tensor(numbers, dtype=torch.int64)
    if None in by_name:
        i = by_name.index(None)
        if integers and named:
            i = next(k for k, number in enumerate(numbers) if not 0 <= number < len(classes))
        raise DataError(
            f"label {labels[i]!r} of item {i} in {name} is none of the {len(classes)} classes "
            f"{list(classes)[:8]}"
            f"{did_you_mean(str(labels[i]), classes)}"
        )
    return torch.tensor(by_name, dtype=torch.int64)


def _plain(label: Any, i: int, name: str) -> Label:
    """One label as an integer or a string."""
    value = _unpacked(label)
    if isinstance(value, np.ndarray):
        return _hot(value, i, name)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, str | int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise DataError(
        f"item {i} of {name} has the label {_shown(label)}; a label is a whole number, a name or a "
        f"one-hot row"
    )


def _unpacked(label: Any) -> Any:
    """A Python object of a tensor or array of one element; an array of more."""
    value: Any = label
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    elif isinstance(value, list | tuple):
        value = _array(value)
    if isinstance(value, np.generic):
        return value.item()
    return value.reshape(-1)[0].item() if isinstance(value, np.ndarray) and value.size == 1 else value


def _array(value: Any) -> Any:
    try:
        return np.array([v.item() if isinstance(v, Tensor) else v for v in value])
    except ValueError:  # rows of various lengths
        return value


def _hot(row: Any, i: int, name: str) -> int:
    ones = np.flatnonzero(row).tolist() if row.ndim == 1 and row.dtype.kind in "biuf" else []
    if len(ones) != 1 or row[ones[0]] != 1:
        raise DataError(
            f"item {i} of {name} has the label {_shown(row)}, which is no one-hot row; give one class "
            "for each image"
        )
    return int(ones[0])


def _shown(label: Any) -> str:
    text = " ".join(repr(label).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
