"""NSGA-II (Deb et al., 2002, https://doi.org/10.1109/4235.996017) with constrained dominance."""

from optuna.samplers import BaseGASampler, BaseSampler, NSGAIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial

POPULATION = 24


class Ordered(BaseGASampler):
    """Parents come in one order, whether selected just now or remembered.

    Optuna returns them in the order of selection once and by number ever after, so that what a random number
    picks would depend on where a run was interrupted.
    """

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """As Optuna's, by number."""
        parents = super().get_parent_population(study, generation)
        return sorted(parents, key=lambda trial: trial.number)


class _Resumable(Ordered, NSGAIISampler):
    """NSGA-II whose parents depend on the ended trials alone."""


def make(seed: int) -> BaseSampler:
    """Optuna's NSGAIISampler; the population is small because searches here are a few hundred evaluations."""
    return _Resumable(population_size=POPULATION, seed=seed)
