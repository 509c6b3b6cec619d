"""Step 1: the images, and their four disjoint parts."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import Genotype, published
from mobinas.arch.space import SearchSpace
from mobinas.config import ImagesSection, JobConfig
from mobinas.errors import ConfigError, RunFolderError
from mobinas.pipeline.context import Job
from mobinas.train.data import ImageData, load_data
from mobinas.train.splits import Fractions, Part, Splits, default_fractions, split


def load(job: Job) -> Splits:
    """Loads the images and splits them once.

    Raises:
        DataError: The data cannot be read or are too few.
        RunFolderError: The images differ from those that this run began with.
    """
    config = job.config
    data = images_of(config, config.data)
    known = job.folder.data("data.json", lambda: {"name": data.name, "digest": data.digest})
    if known["digest"] != data.digest:
        raise RunFolderError(
            f"the images of '{config.data}' changed since this run began; choose another --out"
        )
    return parts_of(config, data)


def images_of(config: JobConfig, spec: str) -> ImageData:
    """The images that a job asks for, wherever they are."""
    images = config.images
    return load_data(
        spec,
        image_size=images.image_size,
        limit=images.limit,
        seed=config.seed,
        background=images.background,
    )


def parts_of(config: JobConfig, data: ImageData) -> Splits:
    """The four parts, the same on every machine."""
    return split(data, seed=config.seed, fractions=_fractions(config.images, data.test is not None))


def _fractions(images: ImagesSection, own_test: bool) -> Fractions | None:
    """The asked shares, the others by default; None where nothing is asked.

    Raises:
        ConfigError: A test share for data that bring their own test part.
    """
    asked = (images.alphas_share, images.select_share, images.test_share)
    if asked == (None, None, None):
        return None
    if own_test and images.test_share is not None:
        raise ConfigError("images.test_share is set, but these data bring their own test part; leave it out")
    default = default_fractions(own_test)
    # With an own test part the shares are of the rest, and the test share of Fractions is scaled away.
    scale = 1 - default.test if own_test else 1.0
    alphas = default.alphas if images.alphas_share is None else images.alphas_share * scale
    select = default.select if images.select_share is None else images.select_share * scale
    test = default.test if images.test_share is None else images.test_share
    return Fractions(1 - alphas - select - test, alphas, select, test)


def task_of(splits: Splits) -> Task:
    """Channels and classes of the data."""
    return Task(len(splits.classes), splits.select.images.shape[1])


def space_of(config: JobConfig, splits: Splits) -> SearchSpace:
    """The search space that the job asks for on these data."""
    return config.space.for_task(task_of(splits), max(splits.select.images.shape[2:]))


def genotypes_of(job: Job, space: SearchSpace) -> tuple[Genotype, ...]:
    """The genotypes that the job names; read once, so that a resumed run keeps them.

    Raises:
        ArchitectureError: An unknown name, or a file that holds no valid genotype.
        ConfigError: A genotype outside of the space.
    """

    def read(name: str) -> Genotype:
        is_file = name.endswith(".json") or Path(name).exists()
        genotype = Genotype.load(Path(name)) if is_file else published(name)
        if not space.contains(at_size(space, genotype, min)):
            raise ConfigError(f"genotype '{name}' {_why_outside(space, genotype)}")
        return genotype

    names = job.config.search.genotypes
    if not names:
        return ()
    stored = job.folder.data("genotypes.json", lambda: [read(name).to_json() for name in names])
    return tuple(map(Genotype.from_json, stored))


def _why_outside(space: SearchSpace, genotype: Genotype) -> str:
    nodes = {len(genotype.normal.nodes), len(genotype.reduction.nodes)}
    if nodes != {space.nodes}:
        return f"has {' and '.join(map(str, sorted(nodes)))} nodes, the space {space.nodes}; set space.nodes"
    lacking = min((sorted(genotype.ops() - set(ops)) for ops in space.op_sets), key=len)
    if lacking:
        return f"has ops that the space lacks ({', '.join(lacking)}); add them to space.ops"
    return (
        "is no cell of this space: there, each node has two edges, from different nodes, and all are joined"
    )


def at_size(space: SearchSpace, genotype: Genotype, pick: Callable[[Sequence[int]], int]) -> Architecture:
    """A genotype at the size of a space that `pick` takes of its resolutions, depths and widths."""
    body = CellBody(genotype, pick(space.depths), pick(space.widths), space.stem)
    return Architecture(body, pick(space.resolutions), space.task)


def subset(part: Part, n: int, seed: int) -> Part:
    """At most so many images of a part, drawn from the seed."""
    if n >= len(part):
        return part
    generator = torch.Generator().manual_seed(seed)
    return part.subset(torch.randperm(len(part), generator=generator)[:n])
