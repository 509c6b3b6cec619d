"""A one-shot search from its beginning, or its last checkpoint, to its end."""

from dataclasses import asdict, replace
from pathlib import Path

from mobinas.arch.genotype import digest_of
from mobinas.arch.space import SearchSpace
from mobinas.progress import Progress, silent
from mobinas.supernet.bilevel import BilevelSearch
from mobinas.supernet.expected_latency import OpLatencies
from mobinas.supernet.history import SupernetResult
from mobinas.supernet.settings import MethodSettings
from mobinas.train.batches import check_batch_size
from mobinas.train.checkpoint import identity_of
from mobinas.train.epochs import enough_memory, run_epochs
from mobinas.train.splits import Splits


def search_supernet(
    space: SearchSpace,
    splits: Splits,
    settings: MethodSettings,
    *,
    seed: int,
    latencies: OpLatencies | None = None,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> SupernetResult:
    """Finds cells by a one-shot method.

    A loss or an architecture parameter that is not finite takes the search back to the last whole epoch,
    once, at half the learning rates. In a process group, all processes search together, see
    `mobinas.train.parallel`.

    Args:
        space: Gives ops, nodes, stem and task.
        splits: Its alphas part trains the architecture, its weights part the weights. The search runs on the
            device that they lie on.
        settings: The method and how it runs.
        seed: Draws initial weights and the order of images.
        latencies: Of ops on the target, for methods and settings with a latency weight; without, accuracy
            alone counts.
        progress: Told the steps done.
        checkpoint: Written after each epoch; where it exists the search goes on from it and, on a CPU, ends
            with the very same result.

    Raises:
        TrainingError: The loss was not finite again, memory ran out, a batch is larger than a part, or the
            checkpoint is of another search; one of another batch size is taken.
        ArchitectureError: A width or size that the method or the stem cannot take.
    """
    check_batch_size(settings.batch_size, {"weights": len(splits.weights), "alphas": len(splits.alphas)})
    search = BilevelSearch(space, splits, settings, seed, progress, latencies)
    smaller = f"supernet.batch_size (now {settings.batch_size})"
    run_epochs(
        search,
        settings.epochs,
        name="the search",
        learning_rate=search.stage.learning_rate,
        smaller=smaller,
        # Who runs out of memory goes on with smaller batches.
        identity=identity_of(
            (space, digest_of(asdict(latencies))[:8]) if latencies and settings.latency_exponent else space,
            replace(settings, batch_size=2),
            seed,
            splits.weights,
            splits.alphas,
        ),
        checkpoint=checkpoint,
    )
    with enough_memory("the choice of cells", smaller, checkpoint):
        return search.result()
