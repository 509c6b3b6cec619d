"""Hard constraints: bounds on values that no reported candidate breaks."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mobinas.errors import SearchError
from mobinas.metrics.evaluation import Value

BoundSpec = str | tuple[str, float]
_FORM = re.compile(r"\s*(<=|>=)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound on one named value.

    Attributes:
        name: Of an objective, or of a value that is known before the evaluation.
        relation: ``<=`` or ``>=``.
        bound: In the value's own unit.
    """

    name: str
    relation: Literal["<=", ">="]
    bound: float

    def violation(self, x: float) -> float:
        """How far the value is beyond the bound, relative to it: 0 at the bound, negative inside."""
        beyond = x - self.bound if self.relation == "<=" else self.bound - x
        return beyond / abs(self.bound) if self.bound else beyond

    def met_by(self, x: float) -> bool:
        """Whether the value meets the bound."""
        return x <= self.bound if self.relation == "<=" else x >= self.bound

    def __str__(self) -> str:
        return f"{self.name} {self.relation} {self.bound:g}"


def parse_constraints(specs: Mapping[str, BoundSpec] | None) -> tuple[Constraint, ...]:
    """Reads bounds such as ``{"latency_s": "<= 0.008"}`` or ``{"latency_s": ("<=", 0.008)}``.

    Raises:
        SearchError: A bound of another form, or not finite.
    """
    if not isinstance(specs, Mapping | None):
        raise SearchError(f"constraints are {specs!r}; write them like {{'latency_s': '<= 0.008'}}")
    constraints = []
    for name, spec in (specs or {}).items():
        found = _FORM.fullmatch(spec) if isinstance(spec, str) else None
        parts: Any = found.groups() if found else spec
        try:
            relation, number = parts
            bound = float(number)
        except (TypeError, ValueError):
            relation, bound = "", math.nan
        if relation == "<=" and math.isfinite(bound):
            constraints.append(Constraint(name, "<=", bound))
        elif relation == ">=" and math.isfinite(bound):
            constraints.append(Constraint(name, ">=", bound))
        else:
            raise SearchError(f"constraint on '{name}' is {spec!r}; write it like '<= 0.008' or '>= 0.9'")
    return tuple(constraints)


def unmet(constraints: Sequence[Constraint], rows: Sequence[Mapping[str, float]]) -> str:
    """The constraints that no row meets, for messages: with the nearest values, each or all together.

    Args:
        constraints: At least one.
        rows: Known values by name.

    Returns:
        Nothing, if a row meets them all.
    """
    xs = {c: [row[c.name] for row in rows if c.name in row] for c in constraints}
    if not all(any(map(c.met_by, xs[c])) for c in constraints):
        nearest = {c: min(xs[c], key=c.violation, default=None) for c in constraints}
        return " and ".join(
            f"{c}" + ("" if x is None else f" (nearest: {x:.4g})") for c, x in nearest.items()
        )
    together = [row for row in rows if all(c.name in row for c in constraints)]
    if any(all(c.met_by(row[c.name]) for c in constraints) for row in together):
        return ""
    text = f"{' and '.join(map(str, constraints))} at once"
    if not together:
        return text
    best = min(together, key=lambda row: sum(max(0.0, c.violation(row[c.name])) for c in constraints))
    return f"{text} (nearest: {' with '.join(f'{c.name} {best[c.name]:.4g}' for c in constraints)})"


def broken(constraints: Sequence[Constraint], values: Mapping[str, Value]) -> tuple[Constraint, ...]:
    """The constraints that the known values break; unknown values break none."""
    return tuple(c for c in constraints if c.name in values and not c.met_by(values[c.name].x))
