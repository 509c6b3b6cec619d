"""Profiles a target: measures networks of many kinds on it, and fits the predictor that stays with it."""

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.ops import op_set
from mobinas.arch.space import SearchSpace
from mobinas.errors import PredictorError
from mobinas.progress import Progress, silent
from mobinas.targets.measurement import Measurement
from mobinas.targets.target import Target
from predictors.choice import least_certain
from predictors.generic import generic_networks
from predictors.kernels import Kernel
from predictors.measure import append_measurement, check_log, load_measurements, measure
from predictors.models.latency import MIN_MODELS, LatencyPredictor
from predictors.models.measured import fit_of, layout_of, timed_networks
from predictors.models.report import measuring_s
from predictors.networks import kernels_of
from predictors.runners.kit import read_kit
from predictors.sampling import sample_for_profile

if TYPE_CHECKING:
    import onnx

Model: TypeAlias = "Architecture | onnx.ModelProto"

MEASUREMENTS = "measurements.jsonl"
_PREDICTOR = "predictor"
# Candidates for each network that is chosen.
_CHOICE = 3

# The cells of the field at the sizes of small devices; a job profiles its own space more closely.
WIDE_SPACE = SearchSpace(Task(10, 3), (24, 32, 48), (5, 8, 11, 14), (8, 16, 24, 32), (op_set("darts"),))


def profile_target(
    target: Target,
    folder: Path,
    *,
    networks: int = 100,
    minutes: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> LatencyPredictor:
    """Measures networks on a target and fits a predictor.

    The first ones are drawn; the others are chosen, batch by batch, where a predictor of all before is least
    certain (see `predictors.choice.least_certain`).

    Args:
        target: Under which settings.
        folder: Keeps measurements and predictor; what is measured there already is not measured again.
        networks: How many to measure.
        minutes: After so much measuring no further batch begins; the first is always measured.
        seed: Draws them.
        progress: Told as the measuring goes on.

    Raises:
        MeasurementError: A network cannot run there.
        TargetError: The target's provider is not available.
        PredictorError: Too few networks.
        RunFolderError: Something else has the name of the predictor's files.
    """
    check_place(folder)
    first, *batches = _batch_sizes(networks)
    pool = networks_to_profile(first + (_CHOICE * sum(batches) if batches else 0), seed)
    # What comes first of cells are the corners of their macro space.
    models, pool = pool[:first], pool[first:]
    measurements: list[Measurement] = []
    kernels: list[list[Kernel]] = []
    for size in (0, *batches):
        if size:
            if minutes is not None and measuring_s(measurements) > 60 * minutes:
                break
            kernels = kernels or [kernels_of(model, layout_of(measurements)) for model in pool]
            places = set(_most_telling(models, measurements, kernels, size))
            models += [model for i, model in enumerate(pool) if i in places]
            pool = [model for i, model in enumerate(pool) if i not in places]
            kernels = [network for i, network in enumerate(kernels) if i not in places]
        before = len(measurements)

        def so_far(done: int, total: int, text: str, before: int = before, now: int = len(models)) -> None:
            progress(round(before + (now - before) * done / total), networks, text)

        fresh = models[before:]
        measurements += measure(fresh, target, log=folder / MEASUREMENTS, seed=seed, progress=so_far)
    predictor = LatencyPredictor.fit(models, measurements, seed=seed)
    predictor.save(folder / _PREDICTOR)
    return predictor


def check_place(folder: Path) -> None:
    """Refuses a folder where something else has the names of a profile's files.

    Raises:
        MeasurementError: No log of measurements.
        RunFolderError: No predictor.
    """
    check_log(folder / MEASUREMENTS)
    LatencyPredictor.check_place(folder / _PREDICTOR)


def _batch_sizes(networks: int) -> list[int]:
    """Half of the networks are drawn, the rest is chosen in batches of about a sixth."""
    if networks < 2 * MIN_MODELS:
        return [networks]
    first = networks - networks // 2
    size = max(MIN_MODELS, round(networks / 6))
    rest = networks - first
    return [first, *(min(size, rest - start) for start in range(0, rest, size))]


def _most_telling(
    models: "Sequence[Model]", measurements: list[Measurement], pool: Sequence[Sequence[Kernel]], n: int
) -> list[int]:
    networks = timed_networks(models, measurements, layout_of(measurements))
    fitted = fit_of(networks, measurements).kernels
    known = [[kernel for kernel, _ in network] for network in networks]
    return least_certain(fitted, known, pool, n)


def networks_to_profile(networks: int, seed: int = 0) -> "list[Model]":
    """Cells of `WIDE_SPACE` and generic networks in turns, two to one."""
    n_generic = networks // 3
    cells = sample_for_profile(WIDE_SPACE, networks - n_generic, random.Random(seed))
    generic = iter(generic_networks(n_generic, seed))
    mixed: list[Model] = []
    for i, cell in enumerate(cells):
        mixed.append(cell)
        if i % 2:
            mixed += itertools.islice(generic, 1)
    return mixed


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
    check_place(folder)
    files, measurements = read_kit(kit, result, target)
    predictor = LatencyPredictor.fit(files, measurements)
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
