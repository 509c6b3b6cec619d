"""Steps 3 and 4: probabilities of ops from a one-shot method, then an elastic supernet around them."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mobinas.arch.genotype import Genotype
from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace
from mobinas.content import is_our_state
from mobinas.files import remove_ours
from mobinas.pipeline.context import Job
from mobinas.pipeline.group import lead
from mobinas.pipeline.load import subset
from mobinas.progress import Progress
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.supernet.elastic_training import ElasticSettings, train_elastic
from mobinas.supernet.expected_latency import OpLatencies
from mobinas.supernet.history import EpochRecord, SupernetResult
from mobinas.supernet.network import search_ops
from mobinas.supernet.search import search_supernet
from mobinas.supernet.settings import MethodSettings
from mobinas.train.device import find_device
from mobinas.train.splits import Splits
from predictors.models.latency import LatencyPredictor

ELASTIC = "elastic.pt"


def search_cells(
    job: Job, space: SearchSpace, splits: Splits, predictor: LatencyPredictor, progress: Progress
) -> SupernetResult:
    """Runs the one-shot method; a stored result is loaded."""
    section, seed = job.config.supernet, job.config.seed
    parts = at_most(splits, section.images, seed)
    settings = MethodSettings(
        method=section.method,
        epochs=section.epochs,
        batch_size=min(section.batch_size, len(parts.weights), len(parts.alphas)),
        width=section.width,
        depth=section.depth,
        resolution=section.resolution,
        warm_up_share=section.warm_up_share,
        order=section.order,
        guards=section.guards,
        latency_weight=section.latency_weight,
        target_latency_s=None if job.config.target_latency_ms is None else job.config.reference_s,
    )
    checkpoint = job.folder.path / "supernet.checkpoint.pt"

    def make() -> dict[str, Any]:
        latencies = _op_latencies(predictor, space)
        result = lead(
            _search, job.config.device, space, parts, settings, seed, latencies, checkpoint, progress=progress
        )
        return {
            "probabilities": result.probabilities.to_json(),
            "genotype": result.genotype.to_json(),
            "history": [asdict(record) for record in result.history],
            "events": list(result.events),
        }

    data = job.folder.data("supernet.json", make)
    remove_ours(checkpoint, is_our_state)
    return SupernetResult(
        Probabilities.from_json(data["probabilities"]),
        Genotype.from_json(data["genotype"]),
        tuple(EpochRecord(**record) for record in data["history"]),
        tuple(data["events"]),
    )


def _search(
    device: str,
    space: SearchSpace,
    parts: Splits,
    settings: MethodSettings,
    seed: int,
    latencies: OpLatencies,
    checkpoint: Path,
    *,
    progress: Progress,
) -> SupernetResult:
    parts = parts.to(find_device(device))
    return search_supernet(
        space, parts, settings, seed=seed, latencies=latencies, progress=progress, checkpoint=checkpoint
    )


def _op_latencies(predictor: LatencyPredictor, space: SearchSpace) -> OpLatencies:
    return OpLatencies.of(
        lambda networks: predictor.predict(networks).mean_s.tolist(),
        space,
        search_ops(space),
        # A target is meant for final networks, which lie around the middle of the macro space.
        space.middle_size(),
    )


def elastic(
    job: Job, space: SearchSpace, splits: Splits, cells: SupernetResult, progress: Progress
) -> ElasticSupernet:
    """Trains the elastic supernet; stored weights are loaded."""
    section, seed = job.config.supernet, job.config.seed
    parts = at_most(splits, section.elastic_images // 2, seed)
    batch_size = min(section.elastic_batch_size, len(parts.training))
    settings = ElasticSettings(epochs=section.elastic_epochs, batch_size=batch_size)
    name, checkpoint = ELASTIC, job.folder.path / "elastic.checkpoint.pt"
    if job.folder.is_finished(name):
        return ElasticSupernet.load(job.folder.path / name, space).to(job.device)
    around = cells.probabilities
    supernet = lead(
        _elastic, job.config.device, space, parts, around, settings, seed, checkpoint, progress=progress
    )
    job.folder.file(name, supernet.save)
    remove_ours(checkpoint, is_our_state)
    return supernet


def _elastic(
    device: str,
    space: SearchSpace,
    parts: Splits,
    around: Probabilities,
    settings: ElasticSettings,
    seed: int,
    checkpoint: Path,
    *,
    progress: Progress,
) -> ElasticSupernet:
    supernet = ElasticSupernet(space, seed).to(find_device(device))
    parts = parts.to(supernet.device)
    train_elastic(supernet, parts, around, settings, seed=seed, progress=progress, checkpoint=checkpoint)
    return supernet


def at_most(splits: Splits, images: int, seed: int) -> Splits:
    """The same split with at most so many images in each of the two training parts."""
    return replace(
        splits, weights=subset(splits.weights, images, seed), alphas=subset(splits.alphas, images, seed)
    )
