"""Step 5: the search over cells and macro space, judged by inherited weights and predicted latency."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mobinas.arch.architecture import Architecture
from mobinas.arch.genotype import Genotype
from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace
from mobinas.config import JobConfig, SearchSection
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.metrics.evaluation import Value
from mobinas.metrics.objective import trade_off
from mobinas.metrics.result import SearchResult
from mobinas.pipeline.cluster import ELASTIC_FILE, INHERITED, check_complete
from mobinas.pipeline.cluster_networks import files_for_workers
from mobinas.pipeline.context import Job
from mobinas.pipeline.judged import judged_value, judging_subset
from mobinas.pipeline.load import at_size, subset
from mobinas.pipeline.supernet import ELASTIC
from mobinas.progress import Progress
from mobinas.search.constraints import BoundSpec
from mobinas.search.study import pareto_search
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.supernet.history import SupernetResult
from mobinas.train.splits import Splits
from predictors.models.latency import LatencyPredictor

STUDY = "study.journal"


def search_front(
    job: Job,
    space: SearchSpace,
    splits: Splits,
    predictor: LatencyPredictor,
    cells: SupernetResult,
    supernet: ElasticSupernet,
    given: Sequence[Genotype],
    progress: Progress,
) -> SearchResult[Architecture]:
    """Searches for the front; the study on the disk is continued.

    Args:
        job: What is asked.
        space: The architectures.
        splits: Training images calibrate, `select` judges.
        predictor: Of the latency.
        cells: What the one-shot method found.
        supernet: Its weights are inherited.
        given: Genotypes of the space that are judged early.
        progress: Told after each evaluation.

    Raises:
        Infeasible: No architecture within the latency budget was found.
    """
    config = job.config
    where: dict[str, Any] = {"storage": job.folder.path / STUDY}
    if job.cluster is not None:
        where = {**job.cluster.part("front"), "files": files_to_judge(job)}
    found = pareto_search(
        space,
        judge_of(config, job.device, splits, supernet) if job.cluster is None else INHERITED,
        trade_off(config.search.metric),
        constraints=constraints_of(job),
        n_trials=config.search.trials,
        sampler=config.search.sampler,
        seed=config.seed,
        start=lambda rng: first_candidates(space, cells, given, config.search.uniform, rng),
        stop_below=config.search.stop_below,
        # All corners at least: one cell of each op, and two sizes of each genotype.
        n_start=max(config.search.trials // 3, len(space.ops()) + 2 + 2 * len(given)),
        prefilter=lambda architecture: known_values(architecture, predictor),
        progress=progress,
        **where,
    )
    check_complete(found)
    return found


def files_to_judge(job: Job) -> dict[str, Path]:
    """What workers need to judge architectures by inherited weights."""
    section = job.config.search
    judged = SearchSection(
        metric=section.metric,
        select_images=section.select_images,
        calibration_images=section.calibration_images,
    )
    files = files_for_workers(job, "front", {"space": job.config.space, "search": judged})
    return files | {ELASTIC_FILE: job.folder.path / ELASTIC}


def constraints_of(job: Job) -> dict[str, BoundSpec]:
    """The latency budget, if there is one."""
    budget_s = job.config.max_latency_s
    return {} if budget_s is None else {"latency_s": ("<=", budget_s)}


def first_candidates(
    space: SearchSpace,
    cells: SupernetResult,
    given: Sequence[Genotype],
    uniform: float,
    rng: random.Random,
) -> Iterator[Architecture]:
    """The corners of the space, then draws around the probabilities of ops.

    The ends of the front are extreme cells. Independent draws per edge practically never give one: with five
    ops, 16 equal ones come once in 3e10. So the smallest cells of one op come first, then the method's and
    the given genotypes at the smallest and the largest size; every second draw has one or two kinds of op.
    """
    yield from space.single_op_architectures()
    for genotype in (cells.genotype, *given):
        yield at_size(space, genotype, min)
        yield at_size(space, genotype, max)
    while True:
        yield _drawn(space, cells.probabilities, uniform, rng)


def _drawn(
    space: SearchSpace, probabilities: Probabilities, uniform: float, rng: random.Random
) -> Architecture:
    draw = probabilities.chooser(rng, uniform)
    ops = space.ops()
    few = rng.sample(ops, min(len(ops), rng.randint(1, 2))) if rng.random() < 0.5 else ops

    def choose(name: str, options: Sequence[Any], /) -> Any:
        return draw(name, [option for option in options if option in few] or options)

    return space.build(choose)


def known_values(architecture: Architecture, predictor: LatencyPredictor) -> dict[str, Value]:
    """What is known of an architecture without any weights: latency predicted, size exact."""
    graph = lower(architecture)
    counted, predicted = cost(graph), predictor.predict([graph])
    return {
        "latency_s": Value(float(predicted.mean_s[0]), "s", float(predicted.std_s[0]), "predicted"),
        "params": Value(counted.params),
        "macs": Value(counted.macs),
    }


def judge_of(
    config: JobConfig, device: torch.device, splits: Splits, supernet: ElasticSupernet
) -> Callable[[Architecture], Mapping[str, Value]]:
    """What answers with the job's metric of an architecture with inherited weights, on `select`."""
    section, seed = config.search, config.seed
    calibration = subset(splits.training, section.calibration_images, seed).to(device)
    select = judging_subset(splits.select, section.select_images, section.metric, seed).to(device)

    def judge(architecture: Architecture) -> dict[str, Value]:
        answers = supernet.judge(
            architecture,
            calibration,
            select,
            normalisation=splits.normalisation,
            calibration_images=len(calibration),
        )
        return {section.metric: judged_value(answers, section.metric, "inherited")}

    return judge
