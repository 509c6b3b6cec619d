"""Latency: measured by runners on targets, and predicted from a model's kernels.

Importing this package loads nothing heavy; what needs more is loaded at its first use. The function `measure`
is in the module of its name.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predictors.kernels import Kernel
    from predictors.models.latency import LatencyPredictor, Prediction
    from predictors.models.report import PredictorReport
    from predictors.networks import kernels_of
    from predictors.sampling import sample_for_profile

_HOMES = {
    "Kernel": "predictors.kernels",
    "LatencyPredictor": "predictors.models.latency",
    "Prediction": "predictors.models.latency",
    "PredictorReport": "predictors.models.report",
    "kernels_of": "predictors.networks",
    "sample_for_profile": "predictors.sampling",
}

__all__ = [
    "Kernel",
    "LatencyPredictor",
    "Prediction",
    "PredictorReport",
    "kernels_of",
    "sample_for_profile",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'predictors' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
