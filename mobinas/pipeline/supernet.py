"""Step 3: probabilities of ops from a one-shot method, then an elastic supernet that inherits them."""

from pathlib import Path

from mobinas.arch.space import SearchSpace
from mobinas.pipeline.context import Job
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
        warmup_epochs=section.warmup_epochs,
        batch_size=section.batch_size,
        width=section.width or max(space.widths),
        depth=section.depth or min(space.depths),
        resolution=section.resolution or min(space.resolutions),
        max_images=section.images,
    )
    checkpoint = job.folder.path / "supernet.checkpoint.pt"
    data = job.folder.data(
        _RESULT,
        lambda: search_supernet(
            space, splits, settings, seed=job.config.seed, progress=progress, checkpoint=checkpoint
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
            splits,
            cells.probabilities,
            epochs=section.elastic_epochs,
            batch_size=section.elastic_batch_size,
            max_images=section.elastic_images,
            seed=job.config.seed,
            progress=progress,
            checkpoint=checkpoint,
        )
        supernet.save(path)

    supernet.load(job.folder.file(_WEIGHTS, make))
    checkpoint.unlink(missing_ok=True)
    return supernet
