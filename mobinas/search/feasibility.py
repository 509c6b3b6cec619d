"""What hard constraints leave of a space, told before anything is evaluated.

Shares come from uniform draws. Draws alone would miss the ends of a range, so from the best draw on, choices
are changed one by one, and the best options of all together, until nothing helps.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from mobinas.errors import Infeasible, SearchError, did_you_mean
from mobinas.metrics.evaluation import C, CandidateT, Value
from mobinas.metrics.interval import proportion_interval
from mobinas.search.choice_space import Space, enumerate_space, recorded, uniformly
from mobinas.search.constraints import BoundSpec, Constraint, parse_constraints, unmet

Known = Callable[[Sequence[C]], Sequence[Mapping[str, "float | Value"]]]
Numbers = Mapping[str, float]

DRAWS = 1000
_SWEEPS = 4


@dataclass(frozen=True, slots=True)
class Range(Generic[CandidateT]):
    """The ends of one value.

    Attributes:
        low: Smallest found.
        high: Largest found.
        lowest: The candidate of `low`.
        allowed: Smallest and largest within all constraints; None where nothing meets them.
    """

    low: float
    high: float
    lowest: CandidateT
    allowed: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Feasibility(Generic[CandidateT]):
    """What is left of a space.

    Attributes:
        constraints: The bounds.
        n: Uniform draws, or all encodings where `exact`.
        met: How many of them meet all constraints.
        exact: Whether the whole space was looked at.
        nearest: For each constraint, by its text, the value nearest to meeting it.
        ranges: By name of a value.
        unmet: Empty if any candidate was found that meets all constraints, drawn or not; else the constraints
            with what comes nearest to them.
    """

    constraints: tuple[Constraint, ...]
    n: int
    met: int
    exact: bool
    nearest: Numbers
    ranges: Mapping[str, Range[CandidateT]]
    unmet: str

    @property
    def feasible(self) -> bool:
        """Whether any candidate was found that meets all constraints."""
        return not self.unmet

    @property
    def share(self) -> float:
        """Share of the space within the constraints."""
        return self.met / self.n

    @property
    def share_bounds(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return (self.share, self.share) if self.exact else proportion_interval(self.met, self.n)

    def check(self) -> None:
        """Stops what cannot succeed.

        Raises:
            Infeasible: No candidate meets the constraints; the text names the nearest values.
        """
        if self.feasible:
            return
        raise Infeasible(f"no candidate of this space meets {self.unmet}; loosen the constraint")

    def lines(self) -> tuple[str, ...]:
        """For people: the share, and what the constraints cost of each value's range."""
        low, high = self.share_bounds
        within = " and ".join(map(str, self.constraints))
        interval = "" if self.exact else f" (95 %: {low:.1%} to {high:.1%})"
        shown = [f"{self.share:.1%} of the space meets {within}{interval}"] if self.constraints else []
        for name, ends in self.ranges.items():
            cut = ends.allowed is not None and ends.allowed != (ends.low, ends.high)
            left = f"; within the constraints {_span(*ends.allowed)}" if cut and ends.allowed else ""
            shown.append(f"{name} can be {_span(ends.low, ends.high)}{left}")
        return tuple(shown)


def _span(low: float, high: float) -> str:
    return f"{low:.4g} to {high:.4g}"


def feasibility(
    space: Space[C],
    known: Known[C],
    constraints: Mapping[str, BoundSpec],
    *,
    seed: int = 0,
    draws: int = DRAWS,
    extremes: Iterable[C] = (),
    ends: bool = True,
) -> Feasibility[C]:
    """Estimates what the constraints leave, from values that cost no evaluation.

    Args:
        space: Where candidates come from; one of at most `draws` encodings is looked at whole.
        known: The values of candidates, exact or predicted, the same names for all.
        constraints: As of `pareto_search`, each on a name that `known` tells; without any, only ranges are
            told.
        seed: Of the draws.
        draws: How many.
        extremes: Candidates likely to lie at an end, such as the smallest.
        ends: Whether to look for the ends of ranges; without, only for a feasible candidate.

    Raises:
        SearchError: A constraint on a name that is not told.
    """
    bounds = parse_constraints(constraints)
    whole = list(enumerate_space(space, draws + 1))
    exact = len(whole) <= draws
    rng = random.Random(seed)
    drawn = whole if exact else [recorded(space, uniformly(rng)) for _ in range(draws)]
    pool = _Pool(space, known, bounds)
    pool.add([candidate for candidate, _ in drawn], [choices for _, choices in drawn])
    met = sum(map(pool.meets, pool.values))
    pool.add(list(extremes))
    if not exact:
        pool.search(ends)
    return Feasibility(
        bounds,
        len(drawn),
        met,
        exact,
        {str(c): min(pool.column(c.name), key=c.violation) for c in bounds},
        {name: pool.range_of(name) for name in pool.values[0]},
        unmet(bounds, pool.values),
    )


class _Pool(Generic[C]):
    """Candidates with what is known of them."""

    def __init__(self, space: Space[C], known: Known[C], bounds: tuple[Constraint, ...]) -> None:
        self._space = space
        self._known = known
        self._bounds = bounds
        self._candidates: list[C] = []
        self._choices: list[Mapping[str, Any] | None] = []
        self.values: list[Numbers] = []

    def add(self, candidates: Sequence[C], choices: Sequence[Mapping[str, Any]] | None = None) -> None:
        if not candidates:
            return
        values = list(map(_numbers, self._known(candidates)))
        for bound in self._bounds:
            if bound.name not in values[0]:
                raise SearchError(
                    f"constraint on unknown '{bound.name}'{did_you_mean(bound.name, values[0])}"
                )
        self._candidates += candidates
        self._choices += choices if choices is not None else [None] * len(candidates)
        self.values += values

    def column(self, name: str) -> list[float]:
        return [values[name] for values in self.values]

    def meets(self, values: Numbers) -> bool:
        return all(bound.met_by(values[bound.name]) for bound in self._bounds)

    def beyond(self, values: Numbers) -> float:
        return sum(max(0.0, bound.violation(values[bound.name])) for bound in self._bounds)

    def range_of(self, name: str) -> Range[C]:
        xs = self.column(name)
        inside = [values[name] for values in self.values if self.meets(values)]
        allowed = (min(inside), max(inside)) if inside else None
        return Range(min(xs), max(xs), self._candidates[xs.index(min(xs))], allowed)

    def search(self, ends: bool) -> None:
        """Looks for a feasible candidate, and for both ends of every constrained value, or of all values."""
        if not any(map(self.meets, self.values)):
            self._descend(self.beyond)
        names = [bound.name for bound in self._bounds] or list(self.values[0])
        for name in dict.fromkeys(names) if ends else ():
            self._descend(lambda values, name=name: values[name])  # type: ignore[misc]
            self._descend(lambda values, name=name: -values[name])  # type: ignore[misc]

    def _descend(self, loss: Callable[[Numbers], float]) -> None:
        for _ in range(_SWEEPS):
            losses = [loss(values) for values in self.values]
            least = min(losses)
            best = losses.index(least)
            start = self._choices[best]
            if start is None:
                start = dict(self._space.encode(self._candidates[best]))
            changes = single_changes(self._space, start)
            if not changes:
                return
            n = len(self.values)
            self._build([{**start, name: option} for name, option in changes])
            chosen = dict(start)
            gains: dict[str, float] = {}
            for (name, option), values in zip(changes, self.values[n:], strict=True):
                if loss(values) < gains.get(name, least):
                    gains[name] = loss(values)
                    chosen[name] = option
            self._build([chosen])
            if not gains:
                return

    def _build(self, many: Sequence[Mapping[str, Any]]) -> None:
        built = [recorded(self._space, looking_up(choices)) for choices in many]
        self.add([candidate for candidate, _ in built], [choices for _, choices in built])


def _numbers(told: Mapping[str, "float | Value"]) -> Numbers:
    return {name: x.x if isinstance(x, Value) else x for name, x in told.items()}


def looking_up(choices: Mapping[str, Any]) -> Callable[[str, Sequence[Any]], Any]:
    """What became open by another choice, or has other options beside it, takes its first option."""
    return lambda name, options: choices[name] if choices.get(name) in options else options[0]


def single_changes(space: Space[Any], choices: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Every (name, option) that differs from the choices in one."""
    offered: dict[str, Sequence[Any]] = {}

    def keep(name: str, options: Sequence[Any]) -> Any:
        offered[name] = options
        return choices.get(name, options[0])

    space.build(keep)
    return [(name, o) for name, options in offered.items() for o in options if o != choices.get(name)]
