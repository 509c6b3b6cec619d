"""What the report tells beside the models: how they were found, and why the front is as it is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mobinas.arch.architecture import Architecture
from mobinas.arch.space import SearchSpace
from mobinas.config import SearchSection
from mobinas.metrics.convergence import expected_improvement, hypervolume_band
from mobinas.metrics.result import SearchResult
from mobinas.pipeline.comparisons import Comparisons
from mobinas.pipeline.confirm import FrozenFront
from mobinas.pipeline.context import Contender, Job
from mobinas.pipeline.predictor_pictures import predictor_info, primitives_info
from mobinas.pipeline.profile import space_words
from mobinas.pipeline.qualify import tuned_accuracies
from mobinas.pipeline.run_folder import JOB_FILE
from mobinas.pipeline.train import diverged_names
from mobinas.pipeline.why_info import corner_of, why_info
from mobinas.report.curves import CurvesInfo, hypervolume_panel, supernet_panels
from mobinas.report.predictor import PredictedPoint, PredictorInfo
from mobinas.report.primitives import PrimitivesInfo
from mobinas.report.why import WhyInfo
from mobinas.report.words import METRIC_WORDS
from mobinas.search.stopping import WINDOW
from mobinas.supernet.history import SupernetResult
from predictors.models.latency import LatencyPredictor


@dataclass(frozen=True, slots=True)
class Background:
    """What does not come from the models' files; empty where it does not apply.

    Attributes:
        words: How they were searched: (name, value) in order.
        panels: Curves of the search.
        predicted_s: Predicted latencies of contenders, by name.
        inherited: What judged them by inherited weights, by name.
        why: What decided about the front.
        predictor: The latency predictor's held-out report.
        primitives: What single ops cost on the target.
        command: The command that makes this run again.
    """

    words: tuple[tuple[str, str], ...]
    panels: tuple[CurvesInfo, ...]
    predicted_s: Mapping[str, float] = field(default_factory=dict)
    inherited: Mapping[str, float] = field(default_factory=dict)
    why: WhyInfo | None = None
    predictor: PredictorInfo | None = None
    primitives: PrimitivesInfo | None = None
    command: str = ""


def background_of(
    job: Job,
    contenders: Sequence[Contender],
    frozen: FrozenFront,
    predictor: LatencyPredictor,
    cells: SupernetResult,
    searched: SearchResult[Architecture],
    compared: Comparisons,
    space: SearchSpace,
) -> Background:
    """All that the main job knows."""
    predicted_s = _predicted_s(contenders, predictor)
    metric = job.config.search.metric
    known = [e for e in searched.history if metric in e.values]
    trained = {name: confirmed.select.share(metric).x for name, confirmed in frozen.confirmed.items()}
    tuned = tuned_accuracies(job, searched)
    points = [
        PredictedPoint(frozen.confirmed[name].latency_s, latency_s, finalist=True)
        for name, latency_s in predicted_s.items()
    ]
    return Background(
        words=_words(job, searched, compared, cells, len(tuned)),
        panels=(*_cells_panels(cells), front_panel(searched, compared)),
        predicted_s=predicted_s,
        inherited={e.candidate.name: e[metric] for e in known},
        why=why_info(searched, compared, space, job.config.seed, tuned, trained),
        predictor=predictor_info(predictor, points),
        primitives=primitives_info(predictor, space),
        command=f"mobinas run {JOB_FILE} --out DIR",
    )


def _predicted_s(contenders: Sequence[Contender], predictor: LatencyPredictor) -> dict[str, float]:
    known = [(c.name, c.architecture) for c in contenders if c.architecture is not None]
    latencies_s = predictor.predict([architecture for _, architecture in known]).mean_s
    return {name: float(latency_s) for (name, _), latency_s in zip(known, latencies_s, strict=True)}


def _words(
    job: Job,
    searched: SearchResult[Architecture],
    compared: Comparisons,
    cells: SupernetResult,
    n_tuned: int,
) -> tuple[tuple[str, str], ...]:
    section = job.config.supernet
    return (
        ("cells", f"{section.method}, {len(cells.history)} epochs{_events(cells)}"),
        ("elastic supernet", f"{section.elastic_epochs} epochs, every depth, width and resolution"),
        ("space", space_words(job)),
        ("front", front_words(job, searched)),
        ("random search", _random_words(compared)),
        ("shortlist", _shortlist_words(job.config.search, n_tuned)),
        ("training", _training_words(job)),
        ("latency", f"predicted in the search from {job.config.profile.networks} measured networks"),
    )


def _training_words(job: Job) -> str:
    words = f"{job.config.train.epochs} epochs at most, one recipe for finalists and baselines"
    diverged = diverged_names(job)
    return f"{words}; left out, as their loss was not finite: {', '.join(diverged)}" if diverged else words


def _events(cells: SupernetResult) -> str:
    return "".join(f"; {event}" for event in cells.events)


def front_words(job: Job, searched: SearchResult[Any]) -> str:
    """How many were judged, by which sampler, and whether it stopped by itself."""
    section = job.config.search
    judged = f"{len(searched.history)} architectures judged by {METRIC_WORDS[section.metric]}"
    words = f"{judged}, sampler {section.sampler}"
    failed = [
        evaluation.reason for evaluation in searched.history if evaluation.feasible and evaluation.error
    ]
    if failed:
        words += f"; {len(failed)} of them failed, the last with {failed[-1]}"
    if searched.converged:
        words += "; it stopped as little more was to be expected"
    more = expected_improvement(searched.history, searched.objectives, WINDOW)
    if not math.isfinite(more):
        return words
    return words + f"; another one was expected to add {more:.1%} of the hypervolume"


def _random_words(compared: Comparisons) -> str:
    if compared.at_random is None:
        return "not run"
    return f"{len(compared.at_random.history)} uniform draws judged alike, to compare with"


def _shortlist_words(section: SearchSection, n: int) -> str:
    if not section.qualifying_epochs:
        return "none; inherited accuracies chose the finalists"
    return (
        f"{n} trained for {section.qualifying_epochs} epochs from inherited weights, as long as others could "
        "enter the front; that chose the finalists"
    )


def _cells_panels(cells: SupernetResult) -> tuple[CurvesInfo, ...]:
    history = cells.history
    losses = {
        "weights part": [record.weight_loss for record in history],
        "alphas part": [float("nan") if r.alpha_loss is None else r.alpha_loss for r in history],
    }
    return supernet_panels(
        losses,
        [r.alpha_entropy for r in history],
        [r.skip_share for r in history],
        [r.discretisation_gap for r in history],
        [r.expected_latency_s for r in history],
    )


def front_panel(searched: SearchResult[Any], compared: Comparisons) -> CurvesInfo:
    """Hypervolume over evaluations, and random draws beside it where there are any."""
    corner, drawn = corner_of(searched, compared), compared.at_random
    volumes = searched.hypervolume_curve(corner)
    band = hypervolume_band(drawn.history, drawn.objectives, corner) if drawn else None
    return hypervolume_panel(range(1, len(volumes) + 1), volumes, band)
