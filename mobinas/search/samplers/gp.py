"""Gaussian processes and expected hypervolume improvement by Optuna (https://arxiv.org/abs/2006.05078)."""

from optuna.samplers import BaseSampler, GPSampler


def make(seed: int) -> BaseSampler:
    """Optuna's GPSampler; it needs seconds a proposal. Choices that depend on others are drawn uniformly."""
    return GPSampler(seed=seed, warn_independent_sampling=False)
