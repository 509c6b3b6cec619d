"""Step 6: a shortlist is trained for a moment, and decides who is trained in full.

Inherited accuracies order sizes better than cells. Over two draws of some 27 architectures of the digits
space, Kendall's tau with the accuracy after full training was -0.1 and 0.2 for inherited weights, 0.6 after
two more epochs of the architecture alone, 0.6 and 0.7 for the number of parameters (`mobinas proxy-check`
measures it on any run). So those that are trained first are over the whole latency range, half of them the
best by inherited accuracy and half the largest. They teach what inherited accuracy and size foretell; from
then on only those are trained that could still enter the front (`mobinas.search.rungs`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobinas.arch.architecture import Architecture
from mobinas.arch.space import SearchSpace
from mobinas.config import JobConfig, SearchSection
from mobinas.files import write_atomic
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.objective import Objective, trade_off
from mobinas.metrics.result import SearchResult
from mobinas.pipeline.candidates import Candidates, judge_all, known_value
from mobinas.pipeline.cluster import ELASTIC_FILE, TUNED, Cluster
from mobinas.pipeline.cluster_networks import each_network, files_for_workers
from mobinas.pipeline.context import Contender, Job
from mobinas.pipeline.load import subset
from mobinas.pipeline.process_pool import worker_count
from mobinas.pipeline.supernet import ELASTIC
from mobinas.pipeline.train import recipe_of
from mobinas.progress import Progress
from mobinas.search.finalists import finalists
from mobinas.search.rungs import Rung, climb
from mobinas.train.splits import Splits

_KEPT = "qualified"
_SIZE = (Objective("params", "maximize"), Objective("latency_s", "minimize", "s"))


def choose_finalists(
    job: Job, space: SearchSpace, searched: SearchResult[Architecture], splits: Splits, progress: Progress
) -> tuple[Contender, ...]:
    """The networks to train in full: over the whole latency range, both ends of the shortlist always.

    Args:
        job: Its run folder keeps what judged each of the shortlist.
        space: Of the elastic supernet.
        searched: The candidates.
        splits: Training images tune, `select` judges.
        progress: Told how far the shortlist is.
    """
    section, n = job.config.search, job.config.train.finalists
    n_chosen = max(section.qualifiers, n)
    if section.qualifying_epochs:

        def tune(architectures: Sequence[Architecture], progress: Progress) -> dict[str, Value | None]:
            return _tuned(job, space, architectures, splits, progress)

        first = shortlist(searched, max(n_chosen // 2, n))
        batch = max(n_chosen // 4, worker_count(job.config.train.workers, n_chosen, job.device))
        chosen = climbed(searched, first, n_chosen, batch, tune, progress)
    else:
        chosen = shortlist(searched, n_chosen)
    best = finalists(chosen, searched.objectives, n, covered="latency_s")
    return tuple(Contender.finalist(evaluation.candidate) for evaluation in best)


def climbed(
    searched: SearchResult[Architecture],
    first: Sequence[Evaluation[Architecture]],
    n: int,
    batch: int,
    tune: Callable[[Sequence[Architecture], Progress], Mapping[str, Value | None]],
    progress: Progress,
) -> tuple[Evaluation[Architecture], ...]:
    """Those that were trained for a moment, judged by that: some at once, others while they promise.

    Args:
        searched: The candidates, judged by inherited weights.
        first: Of these, those trained at once.
        n: How many are trained at most.
        batch: How many of the others at a time.
        tune: Trains some, in parallel; by name, what judges them.
        progress: Told how many are trained.
    """
    inherited = {e.candidate.digest: e.values for e in searched.history if e.feasible}
    tuned: dict[str, Value | None] = {}
    metric = searched.objectives[0].name

    def train_some(architectures: Sequence[Architecture]) -> None:
        before = len(tuned)
        tuned.update(tune(architectures, lambda k, _, text: progress(before + k, max(n, before + k), text)))

    def after_training(architecture: Architecture) -> dict[str, Value]:
        found = known_value(architecture.name, tuned[architecture.name])
        return {**inherited[architecture.digest], metric: found}

    found = climb(
        [e.candidate for e in searched.history if e.feasible],
        (
            Rung("inherited weights", 0.0, lambda architecture: inherited[architecture.digest]),
            Rung("a short training", 1.0, after_training, train_some),
        ),
        searched.objectives,
        pioneers=[e.candidate for e in first],
        also=("params",),
        batch=batch,
        budget=max(n, len(first)),
    )
    return found.reached[-1]


def shortlist(searched: SearchResult[Architecture], n: int) -> tuple[Evaluation[Architecture], ...]:
    """Up to `n` candidates over the latency range: the best by inherited accuracy, and the largest."""
    by_accuracy = finalists(searched.history, searched.objectives, max(2, n - n // 2), covered="latency_s")
    by_size = finalists(searched.history, _SIZE, max(2, n // 2), covered="latency_s")
    return tuple({e.candidate.digest: e for e in (*by_accuracy, *by_size)}.values())


def tuned_accuracies(job: Job, searched: SearchResult[Architecture]) -> dict[str, float]:
    """By name, what judged the shortlist after its short training; empty where there was none."""
    names = [evaluation.candidate.name for evaluation in searched.history]
    files = {name: job.folder.path / _KEPT / f"{name}.json" for name in names}
    kept = {name: _read(json.loads(file.read_text())) for name, file in files.items() if file.exists()}
    return {name: value.x for name, value in kept.items() if value is not None}


def _read(kept: Any) -> Value | None:
    """A kept finding; earlier versions kept an accuracy without its deviation."""
    if kept is None:
        return None
    return Value(kept, source="tuned") if isinstance(kept, float) else Value.from_json(kept)


def _tuned(
    job: Job, space: SearchSpace, architectures: Sequence[Architecture], splits: Splits, progress: Progress
) -> dict[str, Value | None]:
    if job.cluster is not None:
        return _by_workers(job, job.cluster, architectures, progress)
    candidates = shortlist_candidates(job.folder.path, job.config, space, architectures, splits)
    found = judge_all(job, candidates, _qualify, _KEPT, progress)
    return {name: _read(kept) for name, kept in found.items()}


def shortlist_candidates(
    directory: Path,
    config: JobConfig,
    space: SearchSpace,
    architectures: Sequence[Architecture],
    splits: Splits,
) -> Candidates:
    """What tunes them.

    Args:
        directory: Where the supernet's weights lie.
        config: The job.
        space: Of the supernet.
        architectures: The shortlist.
        splits: Training images tune, `select` judges.
    """
    section = config.search
    training = subset(splits.training, section.qualifying_images, config.seed)
    recipe = recipe_of(config, section.qualifying_epochs)
    # The weights are no longer random.
    gentle = replace(recipe, learning_rate=recipe.learning_rate / 2)
    return Candidates.of(directory, config, space, architectures, splits, training, gentle)


def tuned_value(candidates: Candidates, name: str, progress: Progress) -> Value | None:
    """Tunes a network from inherited weights; what judges it on `select`."""
    architecture = candidates.by_name[name]
    subnet = candidates.supernet().subnet(architecture)
    return candidates.trained(subnet, architecture.resolution, progress)


def _qualify(candidates: Candidates, file: str, progress: Progress) -> None:
    value = tuned_value(candidates, Path(file).stem, progress)
    candidates.keep(file, None if value is None else value.to_json())


def _by_workers(
    job: Job, cluster: Cluster, architectures: Sequence[Architecture], progress: Progress
) -> dict[str, Value | None]:
    metric = job.config.search.metric
    files = {architecture.name: f"{_KEPT}/{architecture.name}.json" for architecture in architectures}
    if not all(map(job.folder.is_finished, files.values())):
        handed = _files_to_tune(job, architectures)
        found = each_network(cluster, "shortlist", list(files), TUNED, trade_off(metric)[0], handed, progress)
        for name, file in files.items():
            value = None if found[name].error else found[name].values[metric].to_json()
            write_atomic(job.folder.path / file, json.dumps(value) + "\n")
            job.folder.finish(file)
    return {name: _read(json.loads((job.folder.path / file).read_text())) for name, file in files.items()}


def _files_to_tune(job: Job, architectures: Sequence[Architecture]) -> dict[str, Path]:
    config, section = job.config, job.config.search
    tuned = SearchSection(
        metric=section.metric,
        qualifying_images=section.qualifying_images,
        qualifying_epochs=section.qualifying_epochs,
    )
    shortlist = json.dumps([architecture.to_json() for architecture in architectures]) + "\n"
    return files_for_workers(
        job, "shortlist", {"space": config.space, "search": tuned, "train": config.train}, shortlist
    ) | {ELASTIC_FILE: job.folder.path / ELASTIC}
