"""Step 8: every trained network becomes a verified file."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from exporters.base import ModelFacts
from exporters.bundle import MANIFEST_NAME, ExportBundle, export_bundle
from mobinas.errors import MobinasError
from mobinas.pipeline.context import Contender, Job
from mobinas.progress import Progress
from mobinas.train.images import resize
from mobinas.train.splits import Splits

if TYPE_CHECKING:
    from torch import nn

_PARITY_IMAGES = 64
_TIMED_RESIZES = 30


def export_contenders(
    job: Job,
    contenders: Sequence[Contender],
    modules: Mapping[str, "nn.Module"],
    splits: Splits,
    progress: Progress,
) -> dict[str, ExportBundle]:
    """Exports each network and compares the file's outputs on real images; whole bundles are kept.

    Returns:
        The bundles by name.
    """
    bundles: dict[str, ExportBundle] = {}
    for done, contender in enumerate(contenders, start=1):
        bundle = _stored(job, contender)
        if bundle is None:
            bundle = _export(job, contender, modules[contender.name], splits)
            job.folder.finish(f"{contender.directory}/{MANIFEST_NAME}")
        bundles[contender.name] = bundle
        progress(done, len(contenders), contender.name)
    return bundles


def _stored(job: Job, contender: Contender) -> ExportBundle | None:
    if not job.folder.is_finished(f"{contender.directory}/{MANIFEST_NAME}"):
        return None
    try:
        return ExportBundle.load(job.folder.path / contender.directory)
    except MobinasError:
        return None


def _export(job: Job, contender: Contender, module: "nn.Module", splits: Splits) -> ExportBundle:
    positions = torch.arange(min(_PARITY_IMAGES, len(splits.training)))
    images = splits.normalisation(splits.training.batch(positions, contender.resolution))
    facts = facts_of(splits, contender)
    return export_bundle(
        module,
        job.folder.path / contender.directory,
        name=contender.name,
        images=images,
        manifest=facts.manifest(),
        metadata=facts.metadata(),
    )


def facts_of(splits: Splits, contender: Contender) -> ModelFacts:
    """What a user of a network's file has to know."""
    normalisation, prepared = splits.normalisation, splits.preparation
    return ModelFacts(
        classes=splits.classes,
        mean=normalisation.mean,
        std=normalisation.std,
        resize_s=_resize_s(splits, contender.resolution),
        architecture=contender.architecture,
        preprocessing=None
        if prepared is None
        else prepared.manifest(contender.resolution, normalisation.mean, normalisation.std),
    )


def _resize_s(splits: Splits, resolution: int) -> float | None:
    """Median seconds to bring one image to the resolution; None where nothing has to be done."""
    image = splits.training.images[:1]
    if tuple(image.shape[2:]) == (resolution, resolution):
        return None
    times_s = []
    for _ in range(_TIMED_RESIZES):
        started = time.perf_counter()
        resize(image, resolution, resolution)
        times_s.append(time.perf_counter() - started)
    return sorted(times_s)[_TIMED_RESIZES // 2]
