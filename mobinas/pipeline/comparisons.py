"""What the search is compared with: random draws, and random sizes or cells around its knee."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mobinas.arch.architecture import Architecture
from mobinas.arch.space import SearchSpace
from mobinas.metrics.evaluation import Value
from mobinas.metrics.result import SearchResult
from mobinas.pipeline.confirm import OBJECTIVES
from mobinas.pipeline.context import Job
from mobinas.pipeline.front import constraints_of, judge_of, known_values
from mobinas.search.attribution import search_around
from mobinas.search.baseline import random_search
from mobinas.search.cell_features import MACRO
from mobinas.search.record import derived_seed
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.train.splits import Splits
from predictors.models.latency import LatencyPredictor

SIZES, CELLS = "sizes", "cells"

Result = SearchResult[Architecture]
Judge = Callable[[Architecture], Mapping[str, Value]]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Architectures that were judged as the search's were.

    Attributes:
        at_random: Uniform draws over encodings.
        around: By what varies, random draws around the knee; empty without.
    """

    at_random: Result | None
    around: Mapping[str, Result]


def compare(
    job: Job,
    space: SearchSpace,
    splits: Splits,
    predictor: LatencyPredictor,
    supernet: ElasticSupernet,
    searched: Result,
) -> Comparisons:
    """Judges what `search.baseline_trials` and `search.attribution_trials` ask for."""
    section, judge = job.config.search, judge_of(job, splits, supernet)

    def known(architecture: Architecture) -> Mapping[str, Value]:
        return known_values(architecture, predictor)

    seed, constraints = derived_seed(job.config.seed, "comparisons"), constraints_of(job)
    at_random = None
    if section.baseline_trials:
        at_random = random_search(
            space,
            judge,
            OBJECTIVES,
            constraints=constraints,
            n_trials=section.baseline_trials,
            seed=seed,
            storage=job.folder.path / "random.journal",
            prefilter=known,
        )
    around: Mapping[str, Result] = {}
    if section.attribution_trials:
        knee = searched.knee().candidate
        sizes = [name for name in MACRO if name in space.encode(knee)]
        around = search_around(
            space,
            judge,
            OBJECTIVES,
            knee,
            {SIZES: sizes, CELLS: [name for name in space.encode(knee) if name not in MACRO]},
            n_trials=section.attribution_trials,
            constraints=constraints,
            seed=seed,
            folder=job.folder.path,
            prefilter=known,
        )
    return Comparisons(at_random, around)
