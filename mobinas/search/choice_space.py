"""What can be searched: any object of the Space protocol, and the plain one made of named choices."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from itertools import islice
from typing import Any, Protocol

from mobinas.arch.genotype import digest_of
from mobinas.arch.space import Chooser
from mobinas.errors import SearchError, did_you_mean
from mobinas.metrics.evaluation import C
from mobinas.search.options import label_of, labels_of, option_tuple, place_of

# An option may be anything with a fixed text, see `mobinas.search.options`.
Choice = Any


class Space(Protocol[C]):
    """A search space: one generator that states every choice by name.

    Choices may depend on earlier ones; a name that comes with other options beside some of them is a choice
    of its own there. Options are strings, numbers, booleans or None, or other objects with a fixed text, such
    as tuples, enums and classes.
    """

    def build(self, choose: Chooser, /) -> C:
        """Makes one candidate, asking ``choose(name, options)`` for every choice."""
        ...

    def encode(self, candidate: C, /) -> Mapping[str, Any]:
        """The named choices from which `build` makes this candidate."""
        ...


class Choices(Mapping[str, Choice]):
    """A candidate of a ChoiceSpace: a read-only mapping from name to choice."""

    __slots__ = ("_chosen", "_digest")

    def __init__(self, chosen: Mapping[str, Choice]) -> None:
        """Takes a copy of the mapping."""
        self._chosen = dict(chosen)
        self._digest = digest_of(sorted((name, label_of(one, name)) for name, one in self._chosen.items()))

    @property
    def digest(self) -> str:
        """64 hex digits, equal for equal choices."""
        return self._digest

    @property
    def name(self) -> str:
        """The start of the digest."""
        return self._digest[:8]

    def __getitem__(self, name: str) -> Choice:
        return self._chosen[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._chosen)

    def __len__(self) -> int:
        return len(self._chosen)

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"Choices({self._chosen!r})"


@dataclass(frozen=True, slots=True)
class ChoiceSpace:
    """The product of named choices.

    Attributes:
        choices: Name to options, each option once.

    Raises:
        SearchError: No choice, no option, a repeated option, or one without a fixed text.
    """

    choices: Mapping[str, Sequence[Choice]]

    def __post_init__(self) -> None:
        if not isinstance(self.choices, Mapping):
            raise SearchError("a ChoiceSpace is made of a mapping from name to options")
        if not self.choices:
            raise SearchError("a ChoiceSpace needs at least one choice")
        # Equal spaces have equal fingerprints, whatever kind of sequence they were given.
        found = {name: option_tuple(name, options) for name, options in self.choices.items()}
        for name, options in found.items():
            labels_of(name, options)
        object.__setattr__(self, "choices", found)

    def build(self, choose: Chooser) -> Choices:
        """Makes one candidate, asking for every choice in order."""
        return Choices({name: choose(name, options) for name, options in self.choices.items()})

    def encode(self, candidate: Mapping[str, Choice]) -> dict[str, Choice]:
        """The choices of a candidate, checked.

        Raises:
            SearchError: A choice is missing, unknown, or not an option.
        """
        for name in candidate:
            if name not in self.choices:
                raise SearchError(f"unknown choice '{name}'{did_you_mean(name, self.choices)}")
        for name, options in self.choices.items():
            if name not in candidate or place_of(candidate[name], options, name) is None:
                raise SearchError(f"choice '{name}' must be one of {list(options)}")
        return {name: candidate[name] for name in self.choices}

    def size(self) -> int:
        """Number of candidates."""
        return math.prod(len(options) for options in self.choices.values())


def recorded(space: Space[C], choose: Chooser) -> tuple[C, dict[str, Any]]:
    """Builds a candidate and notes what was chosen."""
    chosen: dict[str, Any] = {}

    def note(name: str, options: Sequence[Any]) -> Any:
        chosen[name] = choose(name, options)
        return chosen[name]

    return space.build(note), chosen


def uniformly(rng: random.Random) -> Chooser:
    """Chooses each option with equal probability."""
    return lambda _name, options: rng.choice(options)


def enumerate_space(space: Space[C], limit: int) -> Iterator[tuple[C, dict[str, Any]]]:
    """Yields up to `limit` candidates with their choices, the last choice turning fastest."""
    return islice(_enumerate(space), limit)


def _enumerate(space: Space[C]) -> Iterator[tuple[C, dict[str, Any]]]:
    digits: list[int] = []
    while True:
        sizes: list[int] = []

        def turn(_name: str, options: Sequence[Any], sizes: list[int] = sizes) -> Any:
            place = len(sizes)
            sizes.append(len(options))
            if place == len(digits):
                digits.append(0)
            return options[digits[place]]

        yield recorded(space, turn)
        while digits and digits[-1] + 1 == sizes[len(digits) - 1]:
            digits.pop()
        if not digits:
            return
        digits[-1] += 1


def fingerprint(space: Space[Any]) -> str:
    """64 hex digits that tell spaces apart, for the check that a stored study belongs to this one."""
    content: Any = asdict(space) if is_dataclass(space) else ""
    if isinstance(space, ChoiceSpace):
        content = {"choices": {name: labels_of(name, options) for name, options in space.choices.items()}}
    return digest_of([type(space).__name__, repr(content)])
