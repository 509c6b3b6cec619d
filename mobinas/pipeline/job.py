"""The main job: ten steps from images to a report, each continued where a stopped run left it."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mobinas.config import JobConfig, dump_toml, load_config, placed
from mobinas.errors import ConfigError, did_you_mean
from mobinas.pipeline.front_file import Front, load_front
from mobinas.pipeline.run_folder import RunFolder
from mobinas.processes import check_main_guard, cores, let_threads_sleep
from mobinas.progress import NoteReporter, Reporter
from mobinas.targets.registry import find_target
from mobinas.targets.target import Target

if TYPE_CHECKING:
    from mobinas.pipeline.cluster import Cluster
    from mobinas.pipeline.context import Job

_TITLES = (
    "read the images",
    "measure a sample, fit latency",
    "search cells",
    "train elastic supernet",
    "search the front",
    "try a shortlist",
    "train finalists",
    "export and verify",
    "measure the files",
    "test and report",
)


def run(
    job: JobConfig | str | Path | None = None,
    out: str | Path | None = None,
    *,
    reporter: Reporter | None = None,
    cluster: "Cluster | None" = None,
) -> Front:
    """Runs a whole job, or continues it; of processes that torchrun started, all take part in its trainings.

    Args:
        job: A resolved job, a job file, the name of a shipped job, or nothing for the default.
        out: The run folder; ``runs/<data>`` without.
        reporter: Told what goes on; without, notes go to standard error.
        cluster: Where workers of other machines join it.

    Returns:
        The final front; its models lie in the run folder.

    Raises:
        MobinasError: Bad input of any kind; the text is one line that names the fix.
    """
    config = job if isinstance(job, JobConfig) else load_config(job)
    let_threads_sleep()
    if cluster is None and _may_start_workers(config):
        check_main_guard("run")
    config = placed(config)
    target = find_target(config.target)
    directory = Path(out) if out is not None else _default_folder(config.data)
    _check_names(config)
    from mobinas.pipeline.group import dismiss, follow, group
    from mobinas.train.parallel import is_first

    with group(config.device):
        if is_first():
            _run(config, target, directory, reporter or NoteReporter(), cluster)
            dismiss()
        else:
            with _threads(config.threads):
                follow()
    return load_front(directory)


def _run(
    config: JobConfig, target: Target, directory: Path, reporter: Reporter, cluster: "Cluster | None"
) -> None:
    with RunFolder(directory, dump_toml(config, directory)) as folder:
        from mobinas.pipeline.context import Job
        from mobinas.pipeline.places import check_places
        from mobinas.runtime import checked_provider
        from mobinas.train.device import find_device

        check_places(directory)
        checked_provider(target.stand_in())
        job = Job(config, folder, target, find_device(config.device), reporter, cluster)
        for note in folder.notes:
            reporter.note(note)
        with _threads(config.threads), cluster.announced(config) if cluster else contextlib.nullcontext():
            _run_steps(job)


def _may_start_workers(config: JobConfig) -> bool:
    """Whether trainings may be spread over processes; tells without loading torch where no GPU is likely."""
    if config.train.workers is not None:
        return config.train.workers > 1
    if config.device.startswith("cuda") or cores() == 1:
        return False
    if config.device == "cpu" or shutil.which("nvidia-smi") is None:
        return True
    from mobinas.train.device import find_device

    return find_device(config.device).type == "cpu"


def _check_names(config: JobConfig) -> None:
    """Refuses unknown names at once, not after the steps before their use."""
    from mobinas.nets.baselines import BASELINES
    from mobinas.search.samplers import make_sampler
    from mobinas.supernet.settings import MethodSettings

    section = config.supernet
    MethodSettings(method=section.method, order=section.order, guards=section.guards)
    make_sampler(config.search.sampler, 0)
    for name in config.train.baselines:
        if name not in BASELINES:
            raise ConfigError(f"unknown baseline '{name}' in train.baselines{did_you_mean(name, BASELINES)}")


def _default_folder(data: str) -> Path:
    """Of a link the folder that it leads to gives the name, unless a run has begun under the link's."""
    begun = Path("runs") / _slug(data)
    return begun if begun.exists() else Path("runs") / _slug(os.path.realpath(data))


def _slug(data: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(data).name).strip("-") or "run"


@contextlib.contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    """PyTorch computes with so many threads inside; the caller's number is restored."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_steps(job: "Job") -> None:
    from mobinas.pipeline.background import background_of
    from mobinas.pipeline.comparisons import compare
    from mobinas.pipeline.confirm import confirm, open_test
    from mobinas.pipeline.context import Contender
    from mobinas.pipeline.export import export_contenders
    from mobinas.pipeline.front import search_front
    from mobinas.pipeline.load import genotypes_of, load, space_of
    from mobinas.pipeline.profile import profile
    from mobinas.pipeline.qualify import choose_finalists
    from mobinas.pipeline.report import write_results
    from mobinas.pipeline.supernet import elastic, search_cells
    from mobinas.pipeline.train import train_contenders

    steps = (job.reporter.step(k, len(_TITLES), title) for k, title in enumerate(_TITLES, start=1))
    with next(steps) as progress:
        splits = load(job, progress)
    space = space_of(job.config, splits)
    given = genotypes_of(job, space)
    with next(steps) as progress:
        predictor = profile(job, space, progress)
    with next(steps) as progress:
        cells = search_cells(job, space, splits, predictor, progress)
    with next(steps) as progress:
        supernet = elastic(job, space, splits, cells, progress)
    with next(steps) as progress:
        searched = search_front(job, space, splits, predictor, cells, supernet, given, progress)
        compared = compare(job, space, splits, predictor, supernet, searched, progress)
    resolution = job.config.train.baseline_resolution or max(space.resolutions)
    baselines = tuple(Contender(name, name, resolution) for name in job.config.train.baselines)
    with next(steps) as progress:
        contenders = choose_finalists(job, space, searched, splits, progress) + baselines
    with next(steps) as progress:
        modules = train_contenders(job, contenders, splits, progress)
        contenders = tuple(contender for contender in contenders if contender.name in modules)
    with next(steps) as progress:
        bundles = export_contenders(job, contenders, modules, splits, progress)
    with next(steps) as progress:
        frozen = confirm(job, contenders, bundles, splits, progress)
    with next(steps) as progress:
        tested = open_test(job, contenders, bundles, splits, progress)
        told = background_of(job, contenders, frozen, predictor, cells, searched, compared, space)
        write_results(job, contenders, frozen, tested, splits, told)
