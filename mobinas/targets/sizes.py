"""Which dimensions of a model's inputs are its batch, and what size each open one gets. Python 3.9."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Union

from mobinas.errors import MeasurementError, did_you_mean

# Its size, the name of an open one, or None for an open one without a name.
Size = Union[int, str, None]

_SAYS_BATCH = re.compile(r"\w*batch\w*", re.IGNORECASE)
_SAYS_SIZE = re.compile(
    r"height|width|depth|length|size|seq|time|frame|point|node|edge|token|channel|row|col|(^|_)[chwtl]\d*$",
    re.IGNORECASE,
)
# Images, [batch, channels, height, width] or with the channels last, and volumes.
_IMAGE_RANK = 4
_FIX = "python -m onnxruntime.tools.make_dynamic_shape_fixed gives it a size"


class Value(NamedTuple):
    """An input or output of a model.

    Attributes:
        name: As the model calls it.
        shape: Its sizes; None where not even their number is known.
    """

    name: str
    shape: tuple[Size, ...] | None

    @property
    def sizes(self) -> tuple[Size, ...]:
        """None at all where their number is not known."""
        return self.shape or ()

    def __str__(self) -> str:
        """For people."""
        shape = ", ".join("?" if size is None else str(size) for size in self.sizes)
        return f"{self.name} is [{shape}]"


def sizes_of(
    inputs: Sequence[Value], outputs: Sequence[Value], batch: int, bindings: Mapping[str, int]
) -> dict[str, int]:
    """The size of each named open dimension of a model's inputs.

    A batch gets the target's, see `batch_names`; everything else must be bound. Inputs without a batch are
    taken as they are. An open first dimension that has no name gets the batch, too, as nothing else can be
    said of it.

    Args:
        inputs: Of the model, without those that have a default.
        outputs: Of the model.
        batch: Images per inference on the target.
        bindings: Sizes of open dimensions by their names; they also win over the batch.

    Raises:
        MeasurementError: Open dimensions beside the batch that have no binding, bindings of other dimensions,
            a fixed batch of another size, or an input that holds nothing.
    """
    named = {size for value in inputs for size in value.sizes if isinstance(size, str)}
    sizes = dict.fromkeys(batch_names(inputs, outputs), batch)
    for name in bindings:
        if name not in named:
            what = did_you_mean(name, named) if named else "; all its sizes are fixed"
            raise MeasurementError(f"the model has no open dimension '{name}'{what}")
    sizes.update(bindings)
    for value in inputs:
        check_open(value, sizes)
    fixed = fixed_batch(inputs, outputs, batch)
    if fixed not in (None, batch):
        raise MeasurementError(
            f"the model has a fixed batch of {fixed}, the target asks for {batch}; "
            f"set the target's batch to {fixed} or export with an open batch"
        )
    return sizes


def batch_names(inputs: Sequence[Value], outputs: Sequence[Value]) -> set[str]:
    """Names of open dimensions that are taken for the batch.

    Those that say so, wherever they are; and those that come first in an input, are not named like another
    size, and come first in an output, too, or in an input of four dimensions or more. Where there is none of
    these, all that come first, unless every output begins with a fixed size.
    """
    named = {size for value in inputs for size in value.sizes if isinstance(size, str)}
    said = {name for name in named if says_batch(name)}
    twice = {size for value in inputs for size in value.sizes if value.sizes.count(size) > 1}
    first = {
        value.sizes[0]: max(len(v.sizes) for v in inputs if v.sizes[:1] == value.sizes[:1])
        for value in inputs
        if value.sizes and isinstance(value.sizes[0], str)
    }
    may = {
        name: rank
        for name, rank in first.items()
        if isinstance(name, str) and name not in twice and not (_SAYS_SIZE.search(name) and name not in said)
    }
    begun = {value.sizes[0] for value in outputs if value.sizes}
    settled = said | {name for name, rank in may.items() if rank >= _IMAGE_RANK or name in begun}
    fixed = all(value.sizes and type(value.sizes[0]) is int for value in outputs)
    return settled if settled or fixed else set(may)


def says_batch(name: str) -> bool:
    """Whether a dimension is called a batch; not one that is computed from it, such as ``2*batch``."""
    return _SAYS_BATCH.fullmatch(name) is not None


def fixed_batch(inputs: Sequence[Value], outputs: Sequence[Value], batch: int) -> int | None:
    """The batch of a model that fixes it; none where a batch is open, or no size is known to be one.

    Known is a first size that an output begins with, too, of an input of four dimensions or more, or where it
    is 1 or the target's batch; and a first size of 1 of an input of four dimensions or more.
    """
    if batch_names(inputs, outputs) or any(value.sizes[:1] == (None,) for value in inputs):
        return None
    begun = {value.sizes[0] for value in outputs if value.sizes}
    known = []
    for value in inputs:
        first, image = (value.sizes or (None,))[0], len(value.sizes) >= _IMAGE_RANK
        shared = first in begun and len(value.sizes) > 1 and (image or first in (1, batch))
        if isinstance(first, int) and (shared or (image and first == 1)):
            known.append((not shared, first))
    return min(known)[1] if known else None


def check_open(value: Value, sizes: Mapping[str, int]) -> None:
    """Refuses an input whose size beside the first dimension is open.

    Args:
        value: An input.
        sizes: Of open dimensions by their names.

    Raises:
        MeasurementError: It is, or no shape is known, or it holds nothing.
    """
    if value.shape is None:
        raise MeasurementError(
            f"the model does not say the shape of input '{value.name}', not even its number of dimensions; "
            "export it with a shape"
        )
    for axis, size in enumerate(value.shape):
        if size == 0:
            raise MeasurementError(
                f"input '{value.name}' holds nothing ({value}); export it with sizes of 1 or more"
            )
        if size is None and axis > 0:
            raise MeasurementError(
                f"dimension {axis} of input '{value.name}' is open, and has no name to bind; "
                f"export with fixed sizes, or {_FIX}"
            )
    names = [size for size in value.shape if isinstance(size, str) and size not in sizes]
    if names:
        _ask(value, list(dict.fromkeys(names)))


def _ask(value: Value, names: list[str]) -> None:
    places = [str(axis) for axis, size in enumerate(value.sizes) if size in names]
    one = len(places) == 1
    flags = " ".join(f"--bind {_quoted(name)}=224" for name in names)
    raise MeasurementError(
        f"dimension{'' if one else 's'} {', '.join(places)} of input '{value.name}' {'is' if one else 'are'} "
        f"open ({', '.join(names)}); bind {'it' if one else 'them'}: {flags}, or "
        f"bindings={dict.fromkeys(names, 224)} in Python, or export with fixed sizes"
    )


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.]+", name) else f"'{name}'"
