"""What is known of a candidate, and where each number comes from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

from mobinas.errors import SearchError, did_you_mean
from mobinas.metrics.objective import Objective

Source = Literal["measured", "predicted", "inherited", "tuned", "trained", "exact"]


class Candidate(Protocol):
    """Anything that can stand on a front: an Architecture, a mapping of choices, a model from a shelf."""

    @property
    def digest(self) -> str:
        """Equal for candidates that are the same thing."""
        ...

    @property
    def name(self) -> str:
        """Short and readable."""
        ...


def described(candidate: Candidate) -> str:
    """A candidate for messages: its name, and its choices where it is a mapping of them."""
    if not isinstance(candidate, Mapping):
        return candidate.name
    choices = ", ".join(f"{name}={choice!r}" for name, choice in candidate.items())
    return f"{candidate.name} ({choices})"


C = TypeVar("C", bound=Candidate)
CandidateT = TypeVar("CandidateT", bound=Candidate, covariant=True)


@dataclass(frozen=True, slots=True)
class Value:
    """One number about a candidate.

    Attributes:
        x: The number, in SI units.
        unit: Its unit; empty for shares and counts.
        std: Standard deviation, where known.
        source: How it was come by; a predicted number is never mistaken for a measured one.

    Raises:
        SearchError: The number is not finite, the deviation negative, or the source unknown.
    """

    x: float
    unit: str = ""
    std: float | None = None
    source: Source = "exact"

    def __post_init__(self) -> None:
        if not math.isfinite(self.x):
            raise SearchError(f"a value is {self.x}; it must be finite")
        if self.std is not None and not (math.isfinite(self.std) and self.std >= 0):
            raise SearchError(f"a value's std is {self.std}; it must be finite and not negative")
        if self.source not in get_args(Source):
            raise SearchError(f"unknown source '{self.source}'{did_you_mean(self.source, get_args(Source))}")

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal value."""
        return {"x": self.x, "unit": self.unit, "std": self.std, "source": self.source}

    @classmethod
    def from_json(cls, data: Any) -> "Value":
        """Reads what `to_json` wrote.

        Raises:
            SearchError: The data are not of that form.
        """
        try:
            return cls(**data)
        except TypeError:
            raise SearchError("a value is {'x', 'unit', 'std', 'source'}") from None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that an evaluation has left, see `mobinas.search.artifacts`.

    Attributes:
        name: Of the file.
        artifact: Its name in the artifact store.
        sha256: Of its content.
        size_bytes: Of its content.
    """

    name: str
    artifact: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Evaluation(Generic[CandidateT]):
    """A candidate with its values.

    Attributes:
        candidate: What was evaluated.
        values: Name to Value: the objectives, and whatever else is known (parameters, MACs, ...).
        feasible: Whether all hard constraints are met.
        error: Why values are missing (a trace, or the reason of infeasibility); empty if none are.
        files: What the evaluation has attached, by name.
    """

    candidate: CandidateT
    values: Mapping[str, Value] = field(default_factory=dict)
    feasible: bool = True
    error: str = ""
    files: Mapping[str, StoredFile] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        """The number of this name.

        Raises:
            SearchError: It is not known of this candidate.
        """
        if name not in self.values:
            raise SearchError(f"{self.candidate.name} has no '{name}'{did_you_mean(name, self.values)}")
        return self.values[name].x

    @property
    def reason(self) -> str:
        """The error in one line: the type and the first line of what was raised, or the whole reason."""
        raised = self.error.rpartition("Traceback (most recent call last):\n")[2].splitlines()
        return next((line for line in raised if line and not line[0].isspace()), "")

    def losses(self, objectives: Sequence[Objective]) -> tuple[float, ...]:
        """The objectives' numbers, each as something to minimise."""
        return tuple(objective.loss(self[objective.name]) for objective in objectives)

    def comparable(self, objectives: Sequence[Objective]) -> bool:
        """Whether it may enter a front: feasible, no error, all objectives known."""
        return self.feasible and not self.error and all(o.name in self.values for o in objectives)
