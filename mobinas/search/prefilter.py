"""What is known of a candidate before its evaluation."""

import random
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from mobinas.errors import Infeasible, MobinasError, did_you_mean
from mobinas.metrics.evaluation import C, Evaluation, Value, described
from mobinas.metrics.objective import Objective
from mobinas.search.choice_space import Space, uniformly
from mobinas.search.constraints import Constraint
from mobinas.search.feasibility import feasibility
from mobinas.search.judging import Numbers, UnusableAnswer, checked_values
from mobinas.search.record import FAILURES_IN_A_ROW

_DRAWS = 50


@dataclass(frozen=True, slots=True)
class Prefilter(Generic[C]):
    """The user's function that tells cheap values, checked.

    Attributes:
        tell: The function.
        axes: Tell units.
        bounds: On objectives, or on what it tells.
    """

    tell: Callable[[C], Numbers]
    axes: tuple[Objective, ...]
    bounds: tuple[Constraint, ...]

    def __call__(self, candidate: C) -> Mapping[str, Value]:
        """What it tells of a candidate.

        Raises:
            Infeasible: It says so.
            UnusableAnswer: It fails, or tells what cannot be meant.
        """
        values = checked_values(self._told(candidate), self.axes, f" of {described(candidate)}")
        for bound in self.bounds:
            if bound.name not in values and bound.name not in {axis.name for axis in self.axes}:
                raise UnusableAnswer(
                    f"constraint on '{bound.name}', which neither objectives nor prefilter tell"
                    f"{did_you_mean(bound.name, values)}"
                )
        return values

    def _told(self, candidate: C) -> Numbers:
        try:
            told = self.tell(candidate)
        except MobinasError:
            raise
        except Exception as error:
            failed = Evaluation(candidate, error=traceback.format_exc())
            raise UnusableAnswer(
                f"prefilter failed for {described(candidate)} with {failed.reason}"
            ) from error
        if not isinstance(told, Mapping):
            raise UnusableAnswer(f"prefilter returned {told!r:.80}; return a mapping from name to number")
        return told

    def check(self, space: Space[C], seed: int) -> None:
        """Ends at the beginning what cannot succeed.

        Raises:
            Infeasible: What it tells leaves no candidate within the bounds.
            UnusableAnswer: It fails for each of several candidates.
        """
        self._check_answers(space, seed)
        try:
            told = self(space.build(lambda _name, options: options[0]))
            bounds = {b.name: (b.relation, b.bound) for b in self.bounds if b.name in told}
            if not bounds:
                return

            def known(many: Sequence[C]) -> list[Mapping[str, Value]]:
                return [self(candidate) for candidate in many]

            found = feasibility(space, known, bounds, seed=seed, draws=_DRAWS, ends=False)
        except (Infeasible, UnusableAnswer):
            return  # of single candidates; what is left of the space, the search finds out
        found.check()

    def _check_answers(self, space: Space[C], seed: int) -> None:
        choose = uniformly(random.Random(seed))
        for left in reversed(range(FAILURES_IN_A_ROW)):
            try:
                self(space.build(choose))
            except Infeasible:
                return
            except UnusableAnswer:
                if not left:
                    raise
            else:
                return
