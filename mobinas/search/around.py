"""The part of a space around one candidate: some choices vary, the others stay as they are.

A random search of such a part, beside one of the whole space with as many evaluations, tells what a front
owes to these choices alone.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from mobinas.arch.space import Chooser
from mobinas.errors import SearchError, did_you_mean
from mobinas.metrics.evaluation import C
from mobinas.search.choice_space import Space


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
