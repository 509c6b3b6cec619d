"""One evaluation: calls the user's function and checks what it answers."""

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic

from mobinas.errors import ArtifactError, Infeasible, SearchError, did_you_mean
from mobinas.metrics.evaluation import C, Evaluation, Value, described
from mobinas.metrics.objective import Objective
from mobinas.search.artifacts import Files
from mobinas.search.constraints import Constraint, broken
from mobinas.search.record import Kind

Numbers = Mapping[str, "float | Value"]


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
            SearchError: The answer lacks an objective, has an unknown one, or is not finite.
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
        values = {**known, **self._answer(answer, candidate, known)}
        feasible = not broken(self.bounds, values)
        return "evaluated", Evaluation(candidate, values, feasible, files=files), None

    def _answer(self, answer: object, candidate: C, known: Mapping[str, Value]) -> dict[str, Value]:
        names = [axis.name for axis in self.axes]
        if not isinstance(answer, Mapping):
            wanted = ", ".join(f"'{name}': ..." for name in names if name not in known)
            raise SearchError(f"evaluate returned {answer!r:.80}; return a mapping like {{{wanted}}}")
        for name in answer:
            if name not in names:
                raise SearchError(f"evaluate returned unknown objective '{name}'{did_you_mean(name, names)}")
        for name in names:
            if name not in answer and name not in known:
                raise SearchError(
                    f"evaluate returned no '{name}' for {described(candidate)}; return every objective"
                )
        return checked_values(answer, candidate, self.axes)


def checked_values(numbers: Numbers, candidate: C, axes: Sequence[Objective]) -> dict[str, Value]:
    """Numbers as Values, with the objectives' units.

    Raises:
        SearchError: One is not a finite number.
    """
    units = {axis.name: axis.unit for axis in axes}
    values = {}
    for name, number in numbers.items():
        if isinstance(number, Value):
            values[name] = number
            continue
        try:
            x = float(number)
        except (TypeError, ValueError):
            x = math.nan
        if not math.isfinite(x):
            raise SearchError(f"'{name}' of {described(candidate)} is {number!r}; it must be a finite number")
        values[name] = Value(x, units.get(name, ""))
    return values
