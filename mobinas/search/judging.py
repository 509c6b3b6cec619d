"""One evaluation: calls the user's function and checks what it answers."""

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic

import numpy as np

from mobinas.errors import ArtifactError, Infeasible, SearchError, did_you_mean
from mobinas.metrics.evaluation import C, Evaluation, Value
from mobinas.metrics.objective import Objective
from mobinas.search.artifacts import Files
from mobinas.search.constraints import Constraint, broken
from mobinas.search.record import Kind

Numbers = Mapping[str, "float | Value"]


class UnusableAnswer(SearchError):
    """What a user's function told of one candidate is not what was asked; that candidate has failed."""


@dataclass(frozen=True, slots=True)
class Judge(Generic[C]):
    """Evaluates candidates.

    Attributes:
        evaluate: The user's function.
        axes: What it has to tell.
        bounds: Hard constraints.
        files: What it may read and write.
    """

    evaluate: Callable[[C], Numbers]
    axes: tuple[Objective, ...]
    bounds: tuple[Constraint, ...]
    files: Files = field(default_factory=Files)

    def __call__(
        self, candidate: C, known: Mapping[str, Value]
    ) -> tuple[Kind, Evaluation[C], BaseException | None]:
        """Evaluates a candidate of which some values are known.

        Returns:
            How it ended, with what, and the error of the user's function if that failed.

        Raises:
            ArtifactError: A file could not be stored or is not there, which is not the candidate's fault.
        """
        with self.files.at_hand() as files:
            try:
                answer = self.evaluate(candidate)
            except Infeasible as error:
                text = str(error) or "infeasible"
                return "evaluated", Evaluation(candidate, known, False, text, files), None
            except ArtifactError:
                raise
            except (Exception, SystemExit) as error:
                return "failed", Evaluation(candidate, known, True, traceback.format_exc(), files), error
        try:
            values = {**known, **self._answer(answer, known)}
        except UnusableAnswer as error:
            return "failed", Evaluation(candidate, known, True, str(error), files), error
        feasible = not broken(self.bounds, values)
        return "evaluated", Evaluation(candidate, values, feasible, files=files), None

    def _answer(self, answer: object, known: Mapping[str, Value]) -> dict[str, Value]:
        names = [axis.name for axis in self.axes]
        if not isinstance(answer, Mapping):
            wanted = ", ".join(f"'{name}': ..." for name in names if name not in known)
            raise UnusableAnswer(f"evaluate returned {_short(answer)}; return a mapping like {{{wanted}}}")
        for name in answer:
            if name not in names:
                hint = did_you_mean(str(name), names)
                raise UnusableAnswer(f"evaluate returned unknown objective '{name}'{hint}")
        for name in names:
            if name not in answer and name not in known:
                raise UnusableAnswer(f"evaluate returned no '{name}'; return every objective")
        return checked_values(answer, self.axes)


def checked_values(numbers: Numbers, axes: Sequence[Objective], of: str = "") -> dict[str, Value]:
    """Numbers as Values, with the objectives' units.

    Args:
        numbers: Values, or whatever is one real number: of Python, NumPy or PyTorch, also in an array.
        axes: Tell units.
        of: What they are of, for the message.

    Raises:
        UnusableAnswer: One is not a finite number.
    """
    units = {axis.name: axis.unit for axis in axes}
    values = {}
    for name, told in numbers.items():
        value = told if isinstance(told, Value) else Value(0.0, units.get(name, ""))
        x = _number(value.x if value is told else told)
        if not math.isfinite(x):
            raise UnusableAnswer(f"'{name}'{of} is {_short(told)}; it must be a finite number")
        # NumPy's numbers are no JSON, which the stored study is.
        values[name] = replace(value, x=x, std=None if value.std is None else float(value.std))
    return values


def _number(told: Any) -> float:
    """NaN for what is no real number."""
    if isinstance(told, np.ma.MaskedArray) and np.ma.is_masked(told):
        return math.nan
    try:
        one = told.item() if hasattr(told, "item") else told
        # Texts have none of these, though float() reads them. NumPy's complex scalars would lose their
        # imaginary part in float(); their items have no float.
        is_number = hasattr(type(one), "__float__") or hasattr(type(one), "__index__")
        return float(one) if is_number else math.nan
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return math.nan


def _short(told: object) -> str:
    return f"{' '.join(repr(told).split()):.80}"
