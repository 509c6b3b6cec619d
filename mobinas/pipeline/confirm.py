"""The files are measured and judged, the front is frozen, and only then the test part is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from exporters.bundle import ExportBundle
from mobinas.errors import Infeasible
from mobinas.metrics.confusion import Confusion
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.objective import Metric, trade_off
from mobinas.metrics.score import score
from mobinas.pipeline.context import Contender, Job
from mobinas.pipeline.judged import judged_value
from mobinas.pipeline.profile import MEASUREMENTS
from mobinas.progress import Progress
from mobinas.runtime import open_session, run_batches
from mobinas.train.splits import Part, Splits
from predictors.measure import measure

_IMAGES_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What is known of an exported file before the test part is opened.

    Attributes:
        name: Of the contender.
        select: What the file answered to that part.
        latency_s: Measured median.
        latency_low_s: Lower end of its 95 % interval.
        latency_high_s: Upper end.
        steady: Whether the device held still while it was measured.
        params: Trainable numbers.
        macs: Multiply-accumulates for one image.
    """

    name: str
    select: Confusion
    latency_s: float
    latency_low_s: float
    latency_high_s: float
    steady: bool
    params: int
    macs: int

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the accuracies for those who read the file."""
        told = {metric: self.select.share(metric).x for metric in get_args(Metric)}
        return {**asdict(self), "select": self.select.to_json(), **told}


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
            "confirmed": [c.to_json() for c in found.values()],
            "members": [e.candidate.name for e in members],
            "pick": front.best_score(job.config.reference_s).candidate.name,
        }

    data = job.folder.data("front.json", make)
    by_name = {contender.name: contender for contender in contenders}

    def confirmed(stored: Mapping[str, Any]) -> Confirmed:
        name = stored["name"]
        select = _read(stored.get("select"), job, bundles[name], splits.select, by_name[name], splits)
        kept = {field.name: stored[field.name] for field in fields(Confirmed) if field.name != "select"}
        return Confirmed(select=select, **kept)

    found = {stored["name"]: confirmed(stored) for stored in data["confirmed"]}
    return FrozenFront(found, tuple(data["members"]), data["pick"])


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
            answers_of(job, bundle.model_path, splits.select, contender, splits),
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
    metric = job.config.search.metric
    return ParetoFront.of(
        (
            Evaluation(
                contender,
                {
                    metric: judged_value(found[contender.name].select, metric, "trained"),
                    "latency_s": Value(found[contender.name].latency_s, "s", source="measured"),
                },
            )
            for contender in contenders
        ),
        trade_off(metric),
    )


def open_test(
    job: Job,
    contenders: Sequence[Contender],
    bundles: Mapping[str, ExportBundle],
    splits: Splits,
    progress: Progress,
) -> dict[str, Confusion]:
    """Runs the test images through every file; the front must be frozen by then."""
    if not job.folder.is_finished("front.json"):
        raise AssertionError("the test part stays closed until the front is frozen")

    def make() -> dict[str, Any]:
        found = {}
        for done, contender in enumerate(contenders, start=1):
            path = bundles[contender.name].model_path
            found[contender.name] = answers_of(job, path, splits.test, contender, splits).to_json()
            progress(done, len(contenders), contender.name)
        return found

    data = job.folder.data("test.json", make)
    return {c.name: _read(data[c.name], job, bundles[c.name], splits.test, c, splits) for c in contenders}


def _read(
    stored: Any, job: Job, bundle: ExportBundle, part: Part, contender: Contender, splits: Splits
) -> Confusion:
    """Answers as stored; where an earlier version only counted right ones, the frozen file answers again."""
    if isinstance(stored, Mapping):
        return Confusion.from_json(stored)
    return answers_of(job, bundle.model_path, part, contender, splits)


def answers_of(job: Job, path: Path, part: Part, contender: Contender, splits: Splits) -> Confusion:
    """What a file answers to the images of a part: the class of the largest output, the first of equals."""
    session = open_session(path, job.target.stand_in(), any_batch=True)
    answers = [
        run_batches(session, splits.normalisation(part.batch(positions, contender.resolution)).numpy())
        for positions in torch.split(torch.arange(len(part)), _IMAGES_AT_ONCE)
    ]
    largest = np.concatenate(answers).argmax(1)
    return Confusion.of(part.labels.tolist(), largest.tolist(), len(splits.classes))


def score_of(job: Job, confirmed: Confirmed) -> float:
    """The score that ranks the front."""
    judged = confirmed.select.share(job.config.search.metric)
    return score(judged.x, confirmed.latency_s, job.config.reference_s)
