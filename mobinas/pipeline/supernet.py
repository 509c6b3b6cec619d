"""Step 3: probabilities of ops from a one-shot method, then an elastic supernet that inherits them."""

from dataclasses import replace
from pathlib import Path

from mobinas.arch.space import SearchSpace
from mobinas.pipeline.context import Job
from mobinas.pipeline.load import subset
from mobinas.progress import Progress
from mobinas.supernet.bilevel import MethodSettings, SupernetResult, search_supernet
from mobinas.supernet.elastic import ElasticSupernet, train_elastic
from mobinas.train.splits import Splits

_RESULT = "supernet.json"
_WEIGHTS = "elastic.pt"


def search_cells(job: Job, space: SearchSpace, splits: Splits, progress: Progress) -> SupernetResult:
    """Runs the one-shot method; a stored result is loaded."""
    section = job.config.supernet
    settings = MethodSettings(
        method=section.method,
        epochs=section.epochs,
        batch_size=section.batch_size,
        width=section.width,
        depth=section.depth,
        resolution=section.resolution,
        warm_up_share=section.warm_up_share,
    )
    checkpoint = job.folder.path / "supernet.checkpoint.pt"
    data = job.folder.data(
        _RESULT,
        lambda: search_supernet(
            space,
            at_most(splits, section.images, job.config.seed),
            settings,
            seed=job.config.seed,
            progress=progress,
            checkpoint=checkpoint,
        ).to_json(),
    )
    checkpoint.unlink(missing_ok=True)
    return SupernetResult.from_json(data)


def elastic(
    job: Job, space: SearchSpace, splits: Splits, cells: SupernetResult, progress: Progress
) -> ElasticSupernet:
    """Trains the elastic supernet; stored weights are loaded."""
    section = job.config.supernet
    supernet = ElasticSupernet(space, seed=job.config.seed)
    checkpoint = job.folder.path / "elastic.checkpoint.pt"

    def make(path: Path) -> None:
        train_elastic(
            supernet,
            at_most(splits, section.elastic_images // 2, job.config.seed),
            cells.probabilities,
            epochs=section.elastic_epochs,
            batch_size=section.elastic_batch_size,
            seed=job.config.seed,
            progress=progress,
            checkpoint=checkpoint,
        )
        supernet.save(path)

    supernet.load(job.folder.file(_WEIGHTS, make))
    checkpoint.unlink(missing_ok=True)
    return supernet


def at_most(splits: Splits, images: int, seed: int) -> Splits:
    """The same split with at most so many images in each of the two training parts."""
    return replace(
        splits, weights=subset(splits.weights, images, seed), alphas=subset(splits.alphas, images, seed)
    )
