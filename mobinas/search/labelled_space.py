"""A space as its study sees it: options as plain data, and a choice with other options under another name.

A choice may have other options beside other choices, as ``width`` below 16 in a small network and above in a
large one. Samplers and stored studies want one set of options for each name. So the set that the record holds
first keeps the name; every other one is a choice of its own, named after its options.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Generic

from optuna.distributions import BaseDistribution, CategoricalDistribution

from mobinas.arch.space import Chooser
from mobinas.errors import SearchError
from mobinas.metrics.evaluation import C
from mobinas.search.choice_space import Space
from mobinas.search.options import Label, labels_of, place_of


class LabelledSpace(Generic[C]):
    """The same candidates, made from labels; itself a Space."""

    def __init__(self, space: Space[C]) -> None:
        """Knows no choice yet."""
        self._space = space
        self._first: dict[str, tuple[Label, ...]] = {}

    def learn(self, distributions: Mapping[str, BaseDistribution]) -> None:
        """Keeps the names of a recorded trial; a function of the record, so that a resume names alike."""
        for key, distribution in distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                self._first.setdefault(key, tuple(distribution.choices))

    def build(self, choose: Chooser) -> C:
        """Makes a candidate, asking for labels."""

        def ask(name: str, options: Sequence[Any], /) -> Any:
            labels = labels_of(name, options)
            key, ordered = self._named(name, labels)
            return options[labels.index(choose(key, ordered))]

        return self._space.build(ask)

    def encode(self, candidate: C) -> dict[str, Label]:
        """The labels from which `build` makes this candidate.

        Raises:
            SearchError: It is not of this space.
        """
        chosen = self._space.encode(candidate)
        found: dict[str, Label] = {}

        def ask(name: str, options: Sequence[Any], /) -> Any:
            place = place_of(chosen[name], options, name) if name in chosen else None
            if place is None:
                raise SearchError(f"choice '{name}' of {candidate.name} must be one of {list(options)}")
            labels = labels_of(name, options)
            found[self._named(name, labels)[0]] = labels[place]
            return options[place]

        self._space.build(ask)
        return found

    def _named(self, name: str, labels: tuple[Label, ...]) -> tuple[str, tuple[Label, ...]]:
        """The name of this set of options, and the set in the order of the record."""
        if len(labels) == 1:
            return name, labels
        first = self._first.get(name, labels)
        if _same(first, labels):
            return name, first
        key = f"{name} of {', '.join(map(str, sorted(labels, key=repr)))}"
        return key, self._first.get(key, labels)


def _same(first: tuple[Label, ...], second: tuple[Label, ...]) -> bool:
    return sorted(map(repr, first)) == sorted(map(repr, second))
