"""What is to be maximised or minimised."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from mobinas.errors import SearchError, did_you_mean

Direction = Literal["maximize", "minimize"]
# What judges a classifier: the share of right answers, or the mean of the classes' recalls.
Metric = Literal["accuracy", "balanced_accuracy"]


@dataclass(frozen=True, slots=True)
class Objective:
    """One axis of the trade-off.

    Attributes:
        name: As in the mappings that evaluations hold, for example ``latency_s``.
        direction: ``maximize`` or ``minimize``.
        unit: SI unit for axes and tables; empty for shares and counts.
    """

    name: str
    direction: Direction
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise SearchError("an objective needs a name")
        if self.direction not in get_args(Direction):
            raise SearchError(
                f"objective '{self.name}' has direction '{self.direction}'"
                f"{did_you_mean(str(self.direction), get_args(Direction))}"
            )

    def loss(self, x: float) -> float:
        """The value as something to minimise."""
        return -x if self.direction == "maximize" else x


def trade_off(metric: Metric) -> tuple[Objective, Objective]:
    """The axes of the main job: what judges a classifier, and its latency."""
    return Objective(metric, "maximize"), Objective("latency_s", "minimize", "s")


def judging_metric(names: Sequence[str]) -> Metric | None:
    """The metric among names of objectives; None where there is none, or both."""
    found = [metric for metric in get_args(Metric) if metric in names]
    return found[0] if len(found) == 1 else None


def check_objectives(objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    """The objectives as a tuple, with distinct names.

    Raises:
        SearchError: None at all, two of one name, or something that is no Objective.
    """
    for objective in objectives:
        if not isinstance(objective, Objective):
            raise SearchError(f"objective {objective!r} must be like Objective('latency_s', 'minimize')")
    names = [objective.name for objective in objectives]
    if not names:
        raise SearchError("a front needs at least one objective")
    for name in names:
        if names.count(name) > 1:
            raise SearchError(f"two objectives are named '{name}'; give each its own name")
    return tuple(objectives)


def find_objective(objectives: Sequence[Objective], name: str) -> Objective:
    """The objective of this name.

    Raises:
        SearchError: There is none.
    """
    for objective in objectives:
        if objective.name == name:
            return objective
    raise SearchError(f"unknown objective '{name}'{did_you_mean(name, [o.name for o in objectives])}")
