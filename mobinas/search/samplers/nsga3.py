"""NSGA-III (Deb and Jain, 2014, https://doi.org/10.1109/TEVC.2013.2281535): for three objectives and more."""

from optuna.samplers import BaseSampler, NSGAIIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from mobinas.search.samplers.nsga2 import POPULATION, Ordered


class _Resumable(Ordered, NSGAIIISampler):
    """NSGA-III whose parents depend on the ended trials alone.

    Optuna draws among equals with the sampler's generator, so that parents would depend on where a run was
    interrupted; here each generation has a seed of its own. As to the order, see `nsga2`.
    """

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        seeded = _Resumable(population_size=POPULATION, seed=generation)
        return super(_Resumable, seeded).select_parent(study, generation)


def make(seed: int) -> BaseSampler:
    """Optuna's NSGAIIISampler with the population of `nsga2`."""
    return _Resumable(population_size=POPULATION, seed=seed)
