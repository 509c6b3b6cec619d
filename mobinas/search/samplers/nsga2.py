"""NSGA-II (Deb et al., 2002, https://doi.org/10.1109/4235.996017) with constrained dominance."""

from optuna.samplers import BaseSampler, NSGAIISampler

POPULATION = 24


def make(seed: int) -> BaseSampler:
    """Optuna's NSGAIISampler; the population is small because searches here are a few hundred evaluations."""
    return NSGAIISampler(population_size=POPULATION, seed=seed)
