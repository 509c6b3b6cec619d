"""Many candidates, each trained for a while in a worker process and judged on the select part."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mobinas.arch.architecture import Architecture
from mobinas.arch.space import SearchSpace
from mobinas.config import JobConfig
from mobinas.errors import Diverged
from mobinas.files import write_atomic
from mobinas.metrics.evaluation import Value
from mobinas.metrics.objective import Metric
from mobinas.nets.module import GraphModule
from mobinas.pipeline.context import Job
from mobinas.pipeline.group import lead
from mobinas.pipeline.judged import judged_value
from mobinas.pipeline.process_pool import PackedPart, Work, run_all, worker_count
from mobinas.pipeline.supernet import ELASTIC
from mobinas.progress import Progress
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.train.device import find_device
from mobinas.train.evaluate import confusion_of
from mobinas.train.loop import train
from mobinas.train.recipe import Recipe
from mobinas.train.splits import Normalisation, Part, Splits


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a worker needs for any of them.

    Attributes:
        directory: Of the run.
        space: Of its elastic supernet.
        by_name: The architectures.
        training: What they are trained on.
        select: What judges them.
        normalisation: What is done to the pixels.
        device_name: Where they are trained, for `find_device`.
        recipe: How they are trained.
        metric: What judges them.
        seed: Draws order, augmentation and dropout.
    """

    directory: Path
    space: SearchSpace
    by_name: Mapping[str, Architecture]
    training: PackedPart
    select: PackedPart
    normalisation: Normalisation
    device_name: str
    recipe: Recipe
    metric: Metric
    seed: int

    @classmethod
    def of(
        cls,
        directory: Path,
        config: JobConfig,
        space: SearchSpace,
        architectures: Iterable[Architecture],
        splits: Splits,
        training: Part,
        recipe: Recipe,
    ) -> "Candidates":
        """Packs what workers are sent."""
        return cls(
            directory,
            space,
            {architecture.name: architecture for architecture in architectures},
            PackedPart.of(training),
            PackedPart.of(splits.select),
            splits.normalisation,
            config.device,
            recipe,
            config.search.metric,
            config.seed,
        )

    @property
    def device(self) -> torch.device:
        """Where they are trained."""
        return find_device(self.device_name)

    def supernet(self) -> ElasticSupernet:
        """The run's, as trained."""
        return ElasticSupernet.load(self.directory / ELASTIC, self.space).to(self.device)

    def trained(self, module: GraphModule, resolution: int, progress: Progress) -> Value | None:
        """Trains a network in place; what judges it on the select part; None if its loss was not finite."""
        trained = lead(_trained, self, module.cpu(), resolution, progress=progress)
        if trained is None:
            return None
        answers = confusion_of(
            trained,
            self.select.part().to(self.device),
            resolution=resolution,
            normalisation=self.normalisation,
        )
        return judged_value(answers, self.metric, "tuned")

    def keep(self, file: str, found: Any) -> None:
        """Writes what was found out about a candidate, as `judge_all` reads it."""
        write_atomic(self.directory / file, json.dumps(found) + "\n")


def _trained(
    candidates: Candidates, module: GraphModule, resolution: int, *, progress: Progress
) -> GraphModule | None:
    module.to(candidates.device)
    try:
        train(
            module,
            candidates.training.part().to(candidates.device),
            candidates.recipe,
            resolution=resolution,
            normalisation=candidates.normalisation,
            seed=candidates.seed,
            progress=progress,
        )
    except Diverged:  # in every process of a group alike
        return None
    return module


def known_value(name: str, value: Value | None) -> Value:
    """What `Candidates.trained` found.

    Raises:
        Diverged: It found nothing.
    """
    if value is None:
        raise Diverged(f"the loss of {name} was not finite in its short training, also at half the rate")
    return value


def judge_all(job: Job, candidates: Candidates, work: Work, kept: str, progress: Progress) -> dict[str, Any]:
    """What `work` found out about each candidate, by name; only what is not kept yet is done.

    Args:
        job: Its run folder keeps the findings.
        candidates: Sent to the workers.
        work: Called with them and the file that it must `keep` its finding in, ``<kept>/<name>.json``.
        kept: Folder of the findings, relative to the run folder.
        progress: Told how many are done.
    """
    files = {f"{kept}/{name}.json": name for name in candidates.by_name}
    missing = [file for file in files if not job.folder.is_finished(file)]
    done, workers = len(files) - len(missing), worker_count(job.config.train.workers, len(files), job.device)
    for file in run_all(work, candidates, missing, workers, lambda *_: None):
        job.folder.finish(file)
        done += 1
        progress(done, len(files), f"{files[file]} tried")
    return {name: json.loads((job.folder.path / file).read_text()) for file, name in files.items()}
