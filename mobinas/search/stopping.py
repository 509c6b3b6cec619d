"""When a search has found what it will find."""

from collections.abc import Sequence
from dataclasses import dataclass

from mobinas.errors import SearchError
from mobinas.metrics.convergence import expected_improvement
from mobinas.metrics.evaluation import C, Evaluation
from mobinas.metrics.objective import Objective

WINDOW = 20


@dataclass(frozen=True, slots=True)
class StopRule:
    """Ends a search when one more evaluation is expected to add too little to the hypervolume.

    Attributes:
        below: As a share of the hypervolume.
        n_start: Evaluations that are not the sampler's own; none of them is judged.

    Raises:
        SearchError: A share outside (0, 1).
    """

    below: float
    n_start: int

    def __post_init__(self) -> None:
        if not 0 < self.below < 1:
            raise SearchError(f"stop_below is {self.below}; give a share between 0 and 1, such as 0.001")

    def holds(self, history: Sequence[Evaluation[C]], objectives: Sequence[Objective]) -> bool:
        """Whether to stop after these evaluations."""
        if len(history) < self.n_start + WINDOW:
            return False
        return expected_improvement(history, objectives, WINDOW) < self.below
