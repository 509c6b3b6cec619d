"""What a search returns."""

from dataclasses import dataclass
from typing import Generic

from mobinas.metrics.convergence import hypervolume_curve
from mobinas.metrics.evaluation import CandidateT, Evaluation
from mobinas.metrics.front import ParetoFront, Reference
from mobinas.metrics.objective import Objective
from mobinas.metrics.score import DEFAULT_REFERENCE_S


@dataclass(frozen=True, slots=True)
class SearchResult(Generic[CandidateT]):
    """The front and how it was found.

    Attributes:
        objectives: The axes.
        front: The best of the history.
        history: Every candidate that was evaluated, in order; infeasible and failed ones too.
        rejected: Candidates that were known infeasible before any evaluation; they lack objectives.
        exhausted: Whether the search ended because no further (feasible) candidate was to be found.
        converged: Whether it ended because one more evaluation would have added too little.
        interrupted: Whether Ctrl-C ended it.
    """

    objectives: tuple[Objective, ...]
    front: ParetoFront[CandidateT]
    history: tuple[Evaluation[CandidateT], ...]
    rejected: tuple[Evaluation[CandidateT], ...] = ()
    exhausted: bool = False
    converged: bool = False
    interrupted: bool = False

    @property
    def members(self) -> tuple[Evaluation[CandidateT], ...]:
        """The front's members."""
        return self.front.members

    def hypervolume(self, reference: Reference) -> float:
        """See `ParetoFront.hypervolume`."""
        return self.front.hypervolume(reference)

    def hypervolume_curve(self, reference: Reference) -> tuple[float, ...]:
        """The front's hypervolume after each evaluation of the history."""
        return hypervolume_curve(self.history, self.objectives, reference)

    def knee(self) -> Evaluation[CandidateT]:
        """See `ParetoFront.knee`."""
        return self.front.knee()

    def within(self, **bounds: float) -> tuple[Evaluation[CandidateT], ...]:
        """See `ParetoFront.within`."""
        return self.front.within(**bounds)

    def best_score(self, reference_s: float = DEFAULT_REFERENCE_S) -> Evaluation[CandidateT]:
        """See `ParetoFront.best_score`."""
        return self.front.best_score(reference_s)
