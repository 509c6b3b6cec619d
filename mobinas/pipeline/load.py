"""Step 1: the images, and their four disjoint parts."""

import torch

from mobinas.arch.architecture import Task
from mobinas.arch.space import SearchSpace
from mobinas.errors import RunFolderError
from mobinas.pipeline.context import Job
from mobinas.train.data import load_data
from mobinas.train.splits import Fractions, Part, Splits, split


def load(job: Job) -> Splits:
    """Loads the images and splits them once.

    Raises:
        DataError: The data cannot be read or are too few.
        RunFolderError: The images differ from those that this run began with.
    """
    config, images = job.config, job.config.images
    data = load_data(config.data, image_size=images.image_size, limit=images.limit, seed=config.seed)
    known = job.folder.data("data.json", lambda: {"name": data.name, "digest": data.digest})
    if known["digest"] != data.digest:
        raise RunFolderError(
            f"the images of '{config.data}' changed since this run began; choose another --out"
        )
    shares = images.model_dump(exclude_none=True, include={"alphas_share", "select_share", "test_share"})
    if not shares:
        return split(data, seed=config.seed)
    default = Fractions()
    alphas = shares.get("alphas_share", default.alphas)
    select = shares.get("select_share", default.select)
    test = shares.get("test_share", default.test)
    fractions = Fractions(1 - alphas - select - test, alphas, select, test)
    return split(data, seed=config.seed, fractions=fractions)


def task_of(splits: Splits) -> Task:
    """Channels and classes of the data."""
    return Task(len(splits.classes), splits.select.images.shape[1])


def space_of(job: Job, splits: Splits) -> SearchSpace:
    """The search space that the job asks for on these data."""
    return job.config.space.for_task(task_of(splits), max(splits.select.images.shape[2:]))


def subset(part: Part, n: int, seed: int) -> Part:
    """At most so many images of a part, drawn from the seed."""
    if n >= len(part):
        return part
    generator = torch.Generator().manual_seed(seed)
    return part.subset(torch.randperm(len(part), generator=generator)[:n])
