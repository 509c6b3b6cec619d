"""Multi-objective tree-structured Parzen estimator (Ozaki et al., 2022, https://doi.org/10.1613/jair.1.13188)."""

from optuna.samplers import BaseSampler, TPESampler


def make(seed: int) -> BaseSampler:
    """Optuna's TPESampler, each choice modelled on its own (so choices that depend on others work)."""
    return TPESampler(seed=seed)
