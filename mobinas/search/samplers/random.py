"""Uniform over encodings: the baseline that every search has to beat."""

from optuna.samplers import BaseSampler, RandomSampler


def make(seed: int) -> BaseSampler:
    """Optuna's RandomSampler."""
    return RandomSampler(seed=seed)
