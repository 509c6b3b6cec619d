"""Which choices a front owes its spread to: some vary, the others stay as one candidate has them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from mobinas.arch.space import Chooser
from mobinas.errors import SearchError, did_you_mean
from mobinas.metrics.evaluation import C
from mobinas.metrics.objective import Objective
from mobinas.metrics.result import SearchResult
from mobinas.search.baseline import random_search
from mobinas.search.choice_space import Space
from mobinas.search.constraints import BoundSpec
from mobinas.search.judging import Numbers


@dataclass(frozen=True, slots=True)
class Around(Generic[C]):
    """The part of a space that differs from one candidate in some choices only.

    Attributes:
        space: The whole one.
        fixed: The other choices, by name.
    """

    space: Space[C]
    fixed: Mapping[str, Any]

    def build(self, choose: Chooser) -> C:
        """Makes one candidate, asking for the free choices."""

        def free(name: str, options: Sequence[Any], /) -> Any:
            return self.fixed[name] if name in self.fixed else choose(name, options)

        return self.space.build(free)

    def encode(self, candidate: C) -> Mapping[str, Any]:
        """The free choices of a candidate."""
        chosen = self.space.encode(candidate)
        return {name: option for name, option in chosen.items() if name not in self.fixed}


def varied(space: Space[C], base: C, free: Collection[str]) -> Around[C]:
    """The candidates that differ from `base` in the `free` choices only.

    Raises:
        SearchError: A free choice that the candidate does not have.
    """
    chosen = space.encode(base)
    for name in free:
        if name not in chosen:
            raise SearchError(f"unknown choice '{name}'{did_you_mean(name, chosen)}")
    return Around(space, {name: option for name, option in chosen.items() if name not in free})


def search_around(
    space: Space[C],
    evaluate: Callable[[C], Numbers],
    objectives: Sequence[Objective],
    base: C,
    groups: Mapping[str, Collection[str]],
    *,
    n_trials: int,
    constraints: Mapping[str, BoundSpec] | None = None,
    seed: int = 0,
    folder: Path | None = None,
    prefilter: Callable[[C], Numbers] | None = None,
) -> dict[str, SearchResult[C]]:
    """Random search around a candidate, once for each group of choices that vary alone.

    With as many evaluations each, and a random search of the whole space beside, the hypervolumes tell which
    group the trade-off comes from.

    Args:
        space: The whole one.
        evaluate: As of `pareto_search`.
        objectives: The axes.
        base: Gives the choices that do not vary; it meets the constraints.
        groups: By name, the choices that vary.
        n_trials: Evaluations for each group; fewer where a group has no more candidates.
        constraints: As of `pareto_search`.
        seed: Of the draws.
        folder: Keeps one study for each group, ``around-<group>.journal``.
        prefilter: As of `pareto_search`.

    Raises:
        SearchError: A group names an unknown choice, or what `pareto_search` raises.
    """
    return {
        name: random_search(
            varied(space, base, free),
            evaluate,
            objectives,
            constraints=constraints,
            n_trials=n_trials,
            seed=seed,
            storage=None if folder is None else folder / f"around-{name}.journal",
            prefilter=prefilter,
        )
        for name, free in groups.items()
    }
