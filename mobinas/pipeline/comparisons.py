"""What the search is compared with: random draws, and random sizes or cells around its knee."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mobinas.arch.architecture import Architecture
from mobinas.arch.space import SearchSpace
from mobinas.errors import Infeasible
from mobinas.metrics.evaluation import Value
from mobinas.metrics.result import SearchResult
from mobinas.pipeline.cluster import INHERITED, check_complete
from mobinas.pipeline.context import Job
from mobinas.pipeline.front import constraints_of, files_to_judge, judge_of, known_values
from mobinas.progress import Progress
from mobinas.search.around import varied
from mobinas.search.baseline import random_search
from mobinas.search.cell_features import MACRO
from mobinas.search.choice_space import Space
from mobinas.search.record import derived_seed
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.train.splits import Splits
from predictors.models.latency import LatencyPredictor

SIZES, CELLS = "sizes", "cells"

Result = SearchResult[Architecture]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Architectures that were judged as the search's were.

    Attributes:
        at_random: Uniform draws over encodings; None where none were asked, or none meets the budget.
        around: By what varies, random draws around the knee; likewise left out.
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
    progress: Progress,
) -> Comparisons:
    """Judges what `search.baseline_trials` and `search.attribution_trials` ask for.

    Random search gets as many evaluations as the search made, unless told otherwise, and the job's workers.
    """
    section, judge = job.config.search, judge_of(job.config, job.device, splits, supernet)

    def known(architecture: Architecture) -> Mapping[str, Value]:
        return known_values(architecture, predictor)

    def random_alike(
        space: Space[Architecture], n: int, file: str, where: Mapping[str, Any] | None = None
    ) -> Result | None:
        where = {"storage": job.folder.path / file} if where is None else where
        try:
            found = random_search(
                space,
                INHERITED if "workers" in where else judge,
                searched.objectives,
                constraints=constraints_of(job),
                n_trials=n,
                seed=derived_seed(job.config.seed, file),
                prefilter=known,
                progress=progress,
                **where,
            )
        except Infeasible:  # hardly anything is within the budget, and no draw found it
            return None
        check_complete(found)
        return found

    budget = len(searched.history) if section.baseline_trials is None else section.baseline_trials
    by_workers = None
    if job.cluster is not None:
        by_workers = {**job.cluster.part("random"), "files": files_to_judge(job)}
    at_random = random_alike(space, budget, "random.journal", by_workers) if budget else None
    around: dict[str, Result] = {}
    if section.attribution_trials:
        knee = searched.knee().candidate
        cells = [name for name in space.encode(knee) if name not in MACRO]
        for name, free in ((SIZES, MACRO), (CELLS, cells)):
            part = varied(space, knee, free)
            found = random_alike(part, section.attribution_trials, f"around-{name}.journal")
            if found is not None:
                around[name] = found
    return Comparisons(at_random, around)
