"""A search space from a function that asks for its choices as it goes, as with an Optuna trial."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from mobinas.arch.space import Chooser
from mobinas.errors import Infeasible, SearchError
from mobinas.search.choice_space import Choice, Choices
from mobinas.search.options import labels_of, option_tuple, place_of

T_co = TypeVar("T_co", covariant=True)

POINTS = 17


class DefinedTrial:
    """What a build function asks; each answer is one of finitely many options.

    A name may be asked again within a build, with the same options, and is then answered alike. Whether it is
    asked, and with which options, may depend on earlier answers.
    """

    def __init__(self, choose: Chooser) -> None:
        """Answers by ``choose(name, options)``."""
        self._choose = choose
        self._options: dict[str, tuple[Choice, ...]] = {}
        self.params: dict[str, Choice] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Choice]) -> Any:
        """One of the choices.

        Raises:
            SearchError: No choice, or this build asks for the name with two sets of options.
        """
        options = option_tuple(name, choices)
        labels_of(name, options)
        if name not in self.params:
            self._options[name] = options
            self.params[name] = self._choose(name, options)
        place = place_of(self.params[name], options, name)
        if place is None or len(options) != len(self._options[name]):
            first, second = list(self._options[name]), list(options)
            raise SearchError(
                f"choice '{name}' is asked with two sets of options in one build, {first} and {second}; "
                "give each its own name"
            )
        return options[place]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number from `low` to `high`: every `step`-th, or with `log` up to 17 with like ratios."""
        _check_range(name, low, high, log)
        if step < 1:
            raise SearchError(f"choice '{name}' has step {step}; it must be at least 1")
        options = sorted({round(x) for x in _geometric(low, high)}) if log else range(low, high + 1, step)
        return int(self.suggest_categorical(name, tuple(options)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number from `low` to `high`: every `step`-th, or 17 with like steps (with `log`, like ratios)."""
        _check_range(name, low, high, log)
        if step is not None and not step > 0:
            raise SearchError(f"choice '{name}' has step {step}; it must be positive")
        if log:
            options = _geometric(low, high)
        else:
            n = POINTS if step is None else math.floor((high - low) / step + 1e-9) + 1
            width = (high - low) / (POINTS - 1) if step is None else step
            options = [low + k * width for k in range(n)]
        return float(self.suggest_categorical(name, tuple(dict.fromkeys(options))))


def _check_range(name: str, low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high) or (log and low <= 0):
        rule = "0 < low <= high" if log else "low <= high, both finite"
        raise SearchError(f"choice '{name}' goes from {low} to {high}; it needs {rule}")


def _geometric(low: float, high: float) -> list[float]:
    return [low * (high / low) ** (k / (POINTS - 1)) for k in range(POINTS)]


class Build(Protocol[T_co]):
    """A function that makes something of its choices."""

    def __call__(self, trial: DefinedTrial, /) -> T_co:
        """Asks the trial and builds."""
        ...


class DefinedSpace:
    """All that a build function can ask for, as a Space of choices.

    The function is called for every draw and its result is thrown away, so it should be quick and leave
    no trace.
    """

    def __init__(self, build: Build[Any]) -> None:
        """Asks nothing yet."""
        self._build = build

    def build(self, choose: Chooser) -> Choices:
        """Runs the function and keeps what it asked; where it fails, `built` will fail alike.

        Raises:
            SearchError: It asks for what cannot be meant.
        """
        trial = DefinedTrial(choose)
        try:
            self._build(trial)
        except Exception as error:
            if isinstance(error, SearchError) and not isinstance(error, Infeasible):
                raise
        return Choices(trial.params)

    def encode(self, candidate: Choices) -> dict[str, Choice]:
        """The choices themselves."""
        return dict(candidate)


def built(build: Callable[[DefinedTrial], T_co], choices: Choices) -> T_co:
    """What the function makes of these choices.

    Raises:
        SearchError: It asks for what they lack, so it does not depend on its choices alone.
    """

    def look_up(name: str, options: Sequence[Any], /) -> Any:
        place = place_of(choices[name], options, name) if name in choices else None
        if place is None:
            raise SearchError(
                f"the build function now asks for '{name}' from {list(options)}, which {choices.name} lacks; "
                "let it depend on its trial alone"
            )
        return options[place]

    return build(DefinedTrial(look_up))
