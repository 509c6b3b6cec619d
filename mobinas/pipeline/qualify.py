"""Step 5: a shortlist is trained for a moment, and decides who is trained in full.

Inherited accuracies order sizes better than cells. Over two draws of some 27 architectures of the digits
space, Kendall's tau with the accuracy after full training was -0.1 and 0.2 for inherited weights, 0.6 after
two more epochs of the architecture alone, 0.6 and 0.7 for the number of parameters (`mobinas proxy-check`
measures it on any run). So half of the shortlist comes from inherited accuracies and half from sizes, over
the whole latency range; a short training judges.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mobinas.arch.architecture import Architecture
from mobinas.arch.space import SearchSpace
from mobinas.config import JobConfig
from mobinas.files import write_atomic
from mobinas.metrics.evaluation import Evaluation
from mobinas.metrics.objective import Objective
from mobinas.metrics.result import SearchResult
from mobinas.pipeline.confirm import OBJECTIVES
from mobinas.pipeline.context import Contender, Job
from mobinas.pipeline.front import accuracy_value
from mobinas.pipeline.load import subset
from mobinas.pipeline.supernet import ELASTIC
from mobinas.pipeline.train import recipe_of
from mobinas.pipeline.workers import PackedPart, run_all, worker_count
from mobinas.progress import Progress
from mobinas.search.finalists import finalists
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.train.evaluate import evaluate
from mobinas.train.loop import train
from mobinas.train.splits import Normalisation, Splits

_SIZE = (Objective("params", "maximize"), Objective("latency_s", "minimize", "s"))


@dataclass(frozen=True, slots=True)
class _Qualifying:
    """What a worker needs for any candidate."""

    directory: Path
    config: JobConfig
    space: SearchSpace
    candidates: Mapping[str, Architecture]
    training: PackedPart
    select: PackedPart
    normalisation: Normalisation


def choose_finalists(
    job: Job, space: SearchSpace, searched: SearchResult[Architecture], splits: Splits, progress: Progress
) -> tuple[Contender, ...]:
    """The networks to train in full: over the whole latency range, both ends of the shortlist always.

    Args:
        job: Its run folder keeps each accuracy of the shortlist.
        space: Of the elastic supernet.
        searched: The candidates.
        splits: Training images tune, `select` judges.
        progress: Told how far the shortlist is.
    """
    chosen = shortlist(searched, max(job.config.search.qualifiers, job.config.train.finalists))
    if job.config.search.qualifying_epochs:
        accuracies = _accuracies(job, space, [e.candidate for e in chosen], splits, progress)
        chosen = tuple(_with_accuracy(e, accuracies[e.candidate.name], len(splits.select)) for e in chosen)
    best = finalists(chosen, OBJECTIVES, job.config.train.finalists, covered="latency_s")
    return tuple(Contender.finalist(evaluation.candidate) for evaluation in best)


def shortlist(searched: SearchResult[Architecture], n: int) -> tuple[Evaluation[Architecture], ...]:
    """Up to `n` candidates over the latency range: the best by inherited accuracy, and the largest."""
    by_accuracy = finalists(searched.history, OBJECTIVES, max(2, n - n // 2), covered="latency_s")
    by_size = finalists(searched.history, _SIZE, max(2, n // 2), covered="latency_s")
    return tuple({e.candidate.digest: e for e in (*by_accuracy, *by_size)}.values())


def _with_accuracy(evaluation: Evaluation[Architecture], accuracy: float, n: int) -> Evaluation[Architecture]:
    values = {**evaluation.values, "accuracy": accuracy_value(accuracy, n, "tuned")}
    return replace(evaluation, values=values)


def _accuracies(
    job: Job, space: SearchSpace, candidates: list[Architecture], splits: Splits, progress: Progress
) -> dict[str, float]:
    by_name = {architecture.name: architecture for architecture in candidates}
    missing = [name for name in by_name if not job.folder.is_finished(_file(name))]
    training = subset(splits.training, job.config.search.qualifying_images, job.config.seed)
    shared = _Qualifying(
        job.folder.path,
        job.config,
        space,
        by_name,
        PackedPart.of(training),
        PackedPart.of(splits.select),
        splits.normalisation,
    )
    workers = worker_count(job.config.train.workers, len(by_name))
    done = len(by_name) - len(missing)
    for name in run_all(_qualify, shared, missing, workers, lambda *_: None):
        job.folder.finish(_file(name))
        done += 1
        progress(done, len(by_name), f"{name} tried")
    return {name: float(json.loads((job.folder.path / _file(name)).read_text())) for name in by_name}


def _qualify(shared: _Qualifying, name: str, progress: Progress) -> None:
    architecture, config = shared.candidates[name], shared.config
    module = ElasticSupernet.load(shared.directory / ELASTIC, shared.space).subnet(architecture)
    recipe = recipe_of(config, config.search.qualifying_epochs)
    train(
        module,
        shared.training.part(),
        # The weights are no longer random.
        replace(recipe, learning_rate=recipe.learning_rate / 2),
        resolution=architecture.resolution,
        normalisation=shared.normalisation,
        seed=config.seed,
        progress=progress,
    )
    select = shared.select.part()
    accuracy = evaluate(
        module, select, resolution=architecture.resolution, normalisation=shared.normalisation
    )
    write_atomic(shared.directory / _file(name), json.dumps(accuracy) + "\n")


def _file(name: str) -> str:
    return f"qualified/{name}.json"
