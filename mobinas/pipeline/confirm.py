"""The files are measured and judged, the front is frozen, and only then the test part is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exporters.bundle import ExportBundle
from mobinas.errors import Infeasible
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.interval import proportion_interval
from mobinas.metrics.objective import Objective
from mobinas.metrics.score import score
from mobinas.pipeline.context import Contender, Job
from mobinas.pipeline.profile import MEASUREMENTS
from mobinas.progress import Progress
from mobinas.runtime import open_session, run_batches
from mobinas.train.splits import Part, Splits
from predictors.measure import measure

_IMAGES_AT_ONCE = 2048
OBJECTIVES = (Objective("accuracy", "maximize"), Objective("latency_s", "minimize", "s"))


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What is known of an exported file before the test part is opened.

    Attributes:
        name: Of the contender.
        accuracy: On `select`, through the file.
        latency_s: Measured median.
        latency_low_s: Lower end of its 95 % interval.
        latency_high_s: Upper end.
        steady: Whether the device held still while it was measured.
        params: Trainable numbers.
        macs: Multiply-accumulates for one image.
    """

    name: str
    accuracy: float
    latency_s: float
    latency_low_s: float
    latency_high_s: float
    steady: bool
    params: int
    macs: int


@dataclass(frozen=True, slots=True)
class FrozenFront:
    """The decision, taken on `select` and measured latency alone.

    Attributes:
        confirmed: All contenders by name.
        members: Names on the front, fastest first.
        pick: The member of the best score.
    """

    confirmed: Mapping[str, Confirmed]
    members: tuple[str, ...]
    pick: str


def confirm(
    job: Job,
    contenders: Sequence[Contender],
    bundles: Mapping[str, ExportBundle],
    splits: Splits,
    progress: Progress,
) -> FrozenFront:
    """Measures those very files, takes their accuracy on `select`, and freezes the front of the finalists.

    Raises:
        Infeasible: No finalist keeps the latency budget when it is measured.
    """

    def make() -> dict[str, Any]:
        found = measure_and_judge(job, contenders, bundles, splits, progress)
        finalists = [c for c in contenders if not c.is_baseline]
        front = _front(job, [c for c in finalists if _within_budget(job, found[c.name])], found)
        if not front.members:
            fastest = min((found[c.name] for c in finalists), key=lambda c: c.latency_s)
            raise Infeasible(
                f"no trained model keeps max_latency_ms = {job.config.max_latency_ms:g} when measured; the "
                f"fastest, {fastest.name}, needs {fastest.latency_s * 1e3:.3f} ms; raise the budget"
            )
        members = sorted(front.members, key=lambda e: e["latency_s"])
        return {
            "confirmed": [asdict(c) for c in found.values()],
            "members": [e.candidate.name for e in members],
            "pick": front.best_score(job.config.reference_s).candidate.name,
        }

    data = job.folder.data("front.json", make)
    confirmed = {c["name"]: Confirmed(**c) for c in data["confirmed"]}
    return FrozenFront(confirmed, tuple(data["members"]), data["pick"])


def measure_and_judge(
    job: Job,
    contenders: Sequence[Contender],
    bundles: Mapping[str, ExportBundle],
    splits: Splits,
    progress: Progress,
) -> dict[str, Confirmed]:
    """Measures files together, and runs the select part through each."""
    measurements = measure(
        [bundles[c.name].model_path for c in contenders],
        job.target,
        rounds=job.config.measure.rounds,
        block_s=job.config.measure.block_s,
        log=job.folder.path / MEASUREMENTS,
        seed=job.config.seed,
        progress=progress,
    )
    found = {}
    for contender, measurement in zip(contenders, measurements, strict=True):
        bundle = bundles[contender.name]
        low_s, high_s = measurement.interval_s
        found[contender.name] = Confirmed(
            contender.name,
            float(np.mean(right_answers(job, bundle.model_path, splits.select, contender, splits))),
            measurement.median_s,
            low_s,
            high_s,
            measurement.verdict == "steady",
            int(bundle.manifest["params"]),
            int(bundle.manifest["macs"]),
        )
    return found


def _within_budget(job: Job, confirmed: Confirmed) -> bool:
    budget_s = job.config.max_latency_s
    return budget_s is None or confirmed.latency_s <= budget_s


def _front(
    job: Job, contenders: Sequence[Contender], found: Mapping[str, Confirmed]
) -> ParetoFront[Contender]:
    return ParetoFront.of(
        (
            Evaluation(
                contender,
                {
                    "accuracy": Value(found[contender.name].accuracy, source="trained"),
                    "latency_s": Value(found[contender.name].latency_s, "s", source="measured"),
                },
            )
            for contender in contenders
        ),
        OBJECTIVES,
    )


@dataclass(frozen=True, slots=True)
class TestResult:
    """Accuracy on the test part, through the file.

    Attributes:
        accuracy: In [0, 1].
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    accuracy: float
    low: float
    high: float


def open_test(
    job: Job,
    contenders: Sequence[Contender],
    bundles: Mapping[str, ExportBundle],
    splits: Splits,
    progress: Progress,
) -> dict[str, TestResult]:
    """Runs the test images through every file; the front must be frozen by then."""
    if not job.folder.is_finished("front.json"):
        raise AssertionError("the test part stays closed until the front is frozen")

    def make() -> dict[str, list[int]]:
        found = {}
        for done, contender in enumerate(contenders, start=1):
            path = bundles[contender.name].model_path
            right = right_answers(job, path, splits.test, contender, splits)
            found[contender.name] = [int(np.sum(right)), len(right)]
            progress(done, len(contenders), contender.name)
        return found

    return {
        name: TestResult(right / n, *proportion_interval(right, n))
        for name, (right, n) in job.folder.data("test.json", make).items()
    }


def right_answers(
    job: Job, path: Path, part: Part, contender: Contender, splits: Splits
) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Whether each image of a part is classified rightly by a file.

    Returns:
        Booleans, [n].
    """
    session = open_session(path, job.target.stand_in(), any_batch=True)
    predicted = [
        run_batches(session, splits.normalisation(part.batch(positions, contender.resolution)).numpy())
        for positions in torch.split(torch.arange(len(part)), _IMAGES_AT_ONCE)
    ]
    right: np.ndarray[Any, np.dtype[np.bool_]] = np.concatenate(predicted).argmax(1) == part.labels.numpy()
    return right


def score_of(job: Job, confirmed: Confirmed) -> float:
    """The score that ranks the front."""
    return score(confirmed.accuracy, confirmed.latency_s, job.config.reference_s)
