"""Profiles a target: measures networks of a wide space on it, and fits the predictor that stays with it."""

import random
from pathlib import Path

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.ops import op_set
from mobinas.arch.space import SearchSpace
from mobinas.errors import PredictorError
from mobinas.progress import Progress, silent
from mobinas.targets.target import Target
from predictors.measure import append_measurement, load_measurements, measure
from predictors.models.latency import LatencyPredictor
from predictors.runners.kit import read_kit
from predictors.sampling import sample_for_profile

MEASUREMENTS = "measurements.jsonl"
_PREDICTOR = "predictor"

# The cells of the field at the sizes of small devices; a job profiles its own space more closely.
WIDE_SPACE = SearchSpace(Task(10, 3), (24, 32, 48), (5, 8, 11, 14), (8, 16, 24, 32), (op_set("darts"),))


def profile_target(
    target: Target, folder: Path, *, networks: int = 100, seed: int = 0, progress: Progress = silent
) -> LatencyPredictor:
    """Measures a sample of `WIDE_SPACE` on a target and fits a predictor.

    Args:
        target: Under which settings.
        folder: Keeps measurements and predictor; what is measured there already is not measured again.
        networks: How many to measure.
        seed: Draws them.
        progress: Told as the measuring goes on.

    Raises:
        MeasurementError: A network cannot run there.
        TargetError: The target's provider is not available.
        PredictorError: Too few networks.
    """
    models = networks_to_profile(networks, seed)
    measurements = measure(models, target, log=folder / MEASUREMENTS, seed=seed, progress=progress)
    predictor = LatencyPredictor.fit(models, measurements, seed=seed)
    predictor.save(folder / _PREDICTOR)
    return predictor


def networks_to_profile(networks: int, seed: int = 0) -> list[Architecture]:
    """What `profile_target` measures."""
    return sample_for_profile(WIDE_SPACE, networks, random.Random(seed))


def profile_from_kit(target: Target, folder: Path, kit: Path, result: Path) -> LatencyPredictor:
    """Fits the predictor of a device that measured a kit.

    Args:
        target: For which the kit was written.
        folder: Keeps measurements and predictor.
        kit: See `predictors.runners.kit.write_kit`.
        result: The file that came back.

    Raises:
        MeasurementError: See `predictors.runners.kit.read_kit`.
        PredictorError: Too few networks.
    """
    files, measurements = read_kit(kit, result, target)
    predictor = LatencyPredictor.fit([file.load() for file in files], measurements)
    kept = load_measurements(folder / MEASUREMENTS)
    for measurement in measurements if measurements[0] not in kept else ():
        append_measurement(folder / MEASUREMENTS, measurement)
    predictor.save(folder / _PREDICTOR)
    return predictor


def has_profile(folder: Path) -> bool:
    """Whether a target's folder holds a predictor."""
    return (folder / _PREDICTOR).exists()


def load_profile(target: Target, folder: Path) -> LatencyPredictor:
    """The predictor that `profile_target` left in a folder.

    Raises:
        PredictorError: There is none, or it is of other settings.
    """
    again = f"run 'mobinas target profile {target.name}'"
    if not has_profile(folder):
        raise PredictorError(f"target '{target.name}' has no profile yet; {again}")
    predictor = LatencyPredictor.load(folder / _PREDICTOR)
    if predictor.target_fingerprint != target.fingerprint:
        raise PredictorError(
            f"the settings of target '{target.name}' have changed since its profile; {again}"
        )
    return predictor
