"""Step 1: the images, and their four disjoint parts."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import Genotype, published
from mobinas.arch.space import SearchSpace
from mobinas.config import NO_FOLDER, ImagesSection, JobConfig
from mobinas.errors import ConfigError, RunFolderError
from mobinas.pipeline.context import Job
from mobinas.progress import Progress, silent
from mobinas.train.adapters.layout import PartFolders
from mobinas.train.data import ImageData, Wanted, load_data
from mobinas.train.splits import Fractions, Part, Splits, default_fractions, split
from mobinas.train.usable import summary

_DATA = "data.json"
# Hidden, so that it is no one's result; may be deleted at any time.
_KEPT = ".decoded"


def load(job: Job, progress: Progress = silent) -> Splits:
    """Loads the images and splits them once; says what was read and what was not.

    Args:
        job: The running job.
        progress: Told after each image.

    Raises:
        DataError: The data cannot be read or are too few.
        RunFolderError: The images differ from those that something in this folder was computed with.
    """
    config = job.config
    data = images_of(config, config.data, keep_in=job.folder.path / _KEPT, progress=progress)
    told = (summary(data), *data.notes)
    for note in told:
        job.reporter.note(note)
    splits = parts_of(config, data)
    for note in splits.notes:
        job.reporter.note(note)
    _remember(job, data, (*told, *splits.notes))
    return splits


def _remember(job: Job, data: ImageData, notes: tuple[str, ...]) -> None:
    """The folder belongs to these images from now on; to others only while nothing was computed."""
    made = {"name": data.name, "digest": data.digest, "notes": notes}
    known = job.folder.data(_DATA, lambda: made)
    if known["digest"] == data.digest:
        return
    if job.folder.holds_work:
        raise RunFolderError(
            f"the images of '{job.config.data}' changed since this run began; choose another --out"
        )
    job.folder.forget(_DATA)
    job.folder.data(_DATA, lambda: made)


def images_of(
    config: JobConfig, spec: str, *, keep_in: Path | None = None, progress: Progress = silent
) -> ImageData:
    """The images that a job asks for, wherever they are."""
    images = config.images
    parts = PartFolders(
        *(_folders(given) for given in (images.train, images.val, images.test, images.ignore))
    )
    return load_data(
        spec,
        image_size=images.image_size,
        limit=images.limit,
        seed=config.seed,
        background=images.background,
        merge_val=images.merge_val,
        skip_bad=images.skip_bad,
        min_per_class=images.min_per_class,
        wanted=Wanted(parts=parts, keep_in=keep_in, progress=progress),
    )


def _folders(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = (given,) if isinstance(given, str) else tuple(given)
    return () if names in ((), ("",), (NO_FOLDER,)) else names


def parts_of(config: JobConfig, data: ImageData) -> Splits:
    """The four parts, the same on every machine."""
    return split(data, seed=config.seed, fractions=_fractions(config.images, data))


def _fractions(images: ImagesSection, data: ImageData) -> Fractions | None:
    """The asked shares, the others by default; None where nothing is asked.

    Raises:
        ConfigError: A share for a part that the data bring.
    """
    asked = (images.alphas_share, images.select_share, images.test_share)
    if asked == (None, None, None):
        return None
    own = {"test": data.test is not None, "select": data.select is not None}
    for name, share in (("test", images.test_share), ("select", images.select_share)):
        if own[name] and share is not None:
            raise ConfigError(
                f"images.{name}_share is set, but these data bring their own {name} part; leave it out"
            )
    default = default_fractions(own["test"])
    # The asked shares are of what is split; the shares of own parts are scaled away.
    scale = 1 - own["test"] * default.test - own["select"] * default.select
    alphas, select, test = (
        fallback if share is None else share * scale
        for share, fallback in zip(asked, (default.alphas, default.select, default.test), strict=True)
    )
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
