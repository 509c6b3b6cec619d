"""What a model takes beside time. Standard library, Python 3.9."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from mobinas.errors import MeasurementError, did_you_mean


class Reading(NamedTuple):
    """A value, or the reason why there is none."""

    value: float | None = None
    reason: str = "not measured"


def reading(value: float) -> Reading:
    """A reading that has a value."""
    return Reading(value, "")


_UNKNOWN = Reading()


@dataclass(frozen=True)
class Resources:
    """What a model takes beside time.

    Attributes:
        size_bytes: Its file, with weights that lie beside it.
        peak_memory_bytes: What opening it and running it once adds to a process, at the peak.
        energy_j: Joules per inference, of all processor packages as a whole, their idle power included.
        images: How many images one inference takes, where a dimension is known to be the batch.
    """

    size_bytes: Reading = _UNKNOWN
    peak_memory_bytes: Reading = _UNKNOWN
    energy_j: Reading = _UNKNOWN
    images: Reading = _UNKNOWN

    def to_json(self) -> dict[str, Any]:
        """Each by name as ``{"value": x}`` or ``{"reason": text}``."""
        readings = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: {"reason": one.reason} if one.value is None else {"value": one.value}
            for name, one in readings.items()
        }

    @classmethod
    def from_json(cls, data: Any) -> Resources:
        """Reads what `to_json` wrote; what is left out was not measured.

        Raises:
            MeasurementError: An unknown name, or a value that is not finite or below 0.
        """
        if not isinstance(data, Mapping):
            raise MeasurementError(f"resources are an object, not {type(data).__name__}")
        known = [field.name for field in fields(cls)]
        found = {}
        for name, one in data.items():
            if name not in known:
                raise MeasurementError(f"unknown resource '{name}'{did_you_mean(str(name), known)}")
            if not isinstance(one, Mapping) or len(one) != 1 or not one.keys() <= {"value", "reason"}:
                raise MeasurementError(f"{name} is {one!r}; it needs a value or a reason")
            value: Any = one.get("value")
            if "value" in one and (type(value) not in (int, float) or not 0 <= value < math.inf):
                raise MeasurementError(f"{name} is {value!r}; it must be a number of 0 or more")
            found[name] = Reading(value, str(one.get("reason", "")))
        return cls(**found)
