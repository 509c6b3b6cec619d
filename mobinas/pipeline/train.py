"""Step 7: finalists and baselines are trained alike, with epochs allotted by what an epoch costs."""

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mobinas.arch.architecture import Task
from mobinas.config import JobConfig
from mobinas.content import is_our_state
from mobinas.errors import Diverged, TrainingError
from mobinas.files import make_folder, remove_ours, write_atomic
from mobinas.pipeline.context import Contender, Job
from mobinas.pipeline.group import lead
from mobinas.pipeline.load import task_of
from mobinas.pipeline.process_pool import KeyProgress, PackedPart, run_all, worker_count
from mobinas.processes import cores
from mobinas.progress import Progress
from mobinas.train.augment import Augment
from mobinas.train.device import find_device
from mobinas.train.loop import Recipe, TrainResult, seconds_per_epoch, train
from mobinas.train.memory_layout import NAMES
from mobinas.train.splits import Normalisation, Splits

_PLAN = "plan.json"


@dataclass(frozen=True, slots=True)
class _Plan:
    """How long each network is trained.

    Attributes:
        epochs: By name.
        epoch_s: Seconds of one, by name, as measured beforehand.
    """

    epochs: Mapping[str, int]
    epoch_s: Mapping[str, float]

    def seconds(self, name: str) -> float:
        return self.epochs[name] * self.epoch_s[name]


@dataclass(frozen=True, slots=True)
class Trainings:
    """What a worker needs for any of the trainings.

    Attributes:
        directory: Where weights and histories are written.
        config: The job; its recipe counts.
        contenders: The networks by name, those that take longest first.
        epochs: By name.
        task: Of all networks.
        training: Images.
        normalisation: What is done to the pixels.
    """

    directory: Path
    config: JobConfig
    contenders: Mapping[str, Contender]
    epochs: Mapping[str, int]
    task: Task
    training: PackedPart
    normalisation: Normalisation


def train_contenders(
    job: Job, contenders: Sequence[Contender], splits: Splits, progress: Progress
) -> dict[str, nn.Module]:
    """Trains every network on weights + alphas; stored weights are loaded.

    Returns:
        The trained networks by name, in evaluation mode; those whose loss was not finite are left out.

    Raises:
        Diverged: That was the loss of every finalist.
    """
    modules = _train_all(job, contenders, _plan(job, contenders, splits), splits, progress)
    finalists = [contender.name for contender in contenders if not contender.is_baseline]
    if modules.keys().isdisjoint(finalists):
        raise Diverged(_failure(job, finalists[0]))
    return modules


def train_epochs(
    job: Job, contenders: Sequence[Contender], splits: Splits, progress: Progress
) -> dict[str, nn.Module]:
    """As `train_contenders`, each for all of `train.epochs`, however long one takes.

    Raises:
        Diverged: The loss of one was not finite.
    """
    names = [contender.name for contender in contenders]
    plan = _Plan(dict.fromkeys(names, job.config.train.epochs), dict.fromkeys(names, 1.0))
    modules = _train_all(job, contenders, plan, splits, progress)
    for name in names:
        if name not in modules:
            raise Diverged(_failure(job, name))
    return modules


def _train_all(
    job: Job, contenders: Sequence[Contender], plan: _Plan, splits: Splits, progress: Progress
) -> dict[str, nn.Module]:
    by_name = {contender.name: contender for contender in contenders}
    # Long ones first, so that no worker is left alone with one at the end.
    order = sorted(by_name, key=lambda name: -plan.seconds(name))
    missing = [
        name
        for name in order
        if not all(map(job.folder.is_finished, (weights_file(name), history_file(name))))
        and not job.folder.is_finished(failure_file(name))
    ]
    trainings = Trainings(
        job.folder.path,
        job.config,
        {name: by_name[name] for name in order},
        plan.epochs,
        task_of(splits),
        PackedPart.of(splits.training),
        splits.normalisation,
    )
    shown = {name: 0.0 if name in missing else plan.seconds(name) for name in by_name}
    total_s = round(sum(map(plan.seconds, by_name)))

    def report(name: str, step: int, steps: int, text: str) -> None:
        shown[name] = plan.seconds(name) * step / max(steps, 1)
        progress(round(sum(shown.values())), total_s, f"{name} {text}")

    for name in _each_trained(job, trainings, missing, report):
        _finish(job, name)
        report(name, 1, 1, "trained")
    diverged = set(diverged_names(job))
    return {
        name: _load(job, contender, splits) for name, contender in by_name.items() if name not in diverged
    }


def _finish(job: Job, name: str) -> None:
    """Declares what a training has left finished, and says what is unusual about it."""
    if (job.folder.path / failure_file(name)).exists():
        job.folder.finish(failure_file(name))
        job.reporter.note(f"{name} is left out: {_failure(job, name)}")
        return
    job.folder.finish(history_file(name))
    job.folder.finish(weights_file(name))
    if _history(job, name).get("layout") == NAMES[torch.contiguous_format]:
        job.reporter.note(f"{name} was trained in contiguous layout; its code does not take channels_last")


def _each_trained(
    job: Job, trainings: Trainings, missing: Sequence[str], report: KeyProgress
) -> Iterator[str]:
    if job.cluster is not None and missing:
        from mobinas.pipeline.cluster_training import train_by_workers

        train_by_workers(job, trainings, report)
        return iter(missing)
    workers = worker_count(job.config.train.workers, len(trainings.contenders), job.device)
    return run_all(train_one, trainings, missing, workers, report)


def train_one(trainings: Trainings, name: str, progress: Progress) -> None:
    """Trains a network, and writes its weights and history; or why there are none, where its loss says so."""
    path = trainings.directory / weights_file(name)
    checkpoint = path.with_suffix(".checkpoint.pt")
    make_folder(checkpoint.parent)
    failure = trainings.directory / failure_file(name)
    failure.unlink(missing_ok=True)
    module, result = lead(_trained, trainings, name, checkpoint, progress=progress)
    if isinstance(result, str):
        write_atomic(failure, json.dumps(result) + "\n")
        checkpoint.unlink(missing_ok=True)
        return
    history = asdict(result)
    del history["seconds"]
    write_atomic(trainings.directory / history_file(name), json.dumps(history) + "\n")
    buffer = io.BytesIO()
    torch.save(module.cpu().state_dict(), buffer)
    write_atomic(path, buffer.getvalue())
    remove_ours(checkpoint, is_our_state)


def _trained(
    trainings: Trainings, name: str, checkpoint: Path, *, progress: Progress
) -> tuple[nn.Module, TrainResult | str]:
    contender, config = trainings.contenders[name], trainings.config
    device = find_device(config.device)
    module = contender.build(trainings.task, config.seed).to(device)
    try:
        result: TrainResult | str = train(
            module,
            trainings.training.part().to(device),
            recipe_of(config, trainings.epochs[name]),
            resolution=contender.resolution,
            normalisation=trainings.normalisation,
            seed=config.seed,
            progress=progress,
            checkpoint=checkpoint,
        )
    except Diverged as error:  # in every process of a group alike
        result = str(error)
    return module, result


def _load(job: Job, contender: Contender, splits: Splits) -> nn.Module:
    module = contender.build(task_of(splits), job.config.seed)
    weights = torch.load(job.folder.path / weights_file(contender.name), weights_only=True)
    module.load_state_dict(weights)
    return module.eval()


def weights_file(name: str) -> str:
    """A trained network's, relative to the run folder."""
    return f"trained/{name}.pt"


def history_file(name: str) -> str:
    """Of its losses, relative to the run folder."""
    return f"trained/{name}.json"


def failure_file(name: str) -> str:
    """Why a network has no weights, relative to the run folder."""
    return f"trained/{name}.failed.json"


def diverged_names(job: Job) -> list[str]:
    """Networks whose loss was not finite."""
    suffix = Path(failure_file("")).name
    found = sorted(path.name.removesuffix(suffix) for path in job.folder.path.glob(f"trained/*{suffix}"))
    return [name for name in found if job.folder.is_finished(failure_file(name))]


def layout_words(job: Job, names: Sequence[str]) -> str:
    """How many of these networks were trained in which memory layout."""
    counts = Counter(_history(job, name).get("layout", NAMES[torch.channels_last]) for name in names)
    return ", ".join(f"{layout} ({n} of {len(names)} networks)" for layout, n in sorted(counts.items()))


def _failure(job: Job, name: str) -> str:
    return str(json.loads((job.folder.path / failure_file(name)).read_text(encoding="utf-8")))


def _history(job: Job, name: str) -> dict[str, Any]:
    return dict(json.loads((job.folder.path / history_file(name)).read_text(encoding="utf-8")))


def recipe_of(config: JobConfig, epochs: int) -> Recipe:
    """The one recipe of the job, for so many epochs."""
    section = config.train
    return Recipe(
        epochs=epochs,
        batch_size=section.batch_size,
        learning_rate=section.learning_rate,
        weight_decay=section.weight_decay,
        label_smoothing=section.label_smoothing,
        augment=Augment(shift=section.shift, flip=section.flip, cutout=section.cutout),
    )


def _plan(job: Job, contenders: Sequence[Contender], splits: Splits) -> _Plan:
    """Measured once and stored, so that a resumed run keeps it."""
    section = job.config.train
    workers = worker_count(section.workers, len(contenders), job.device)

    def make() -> dict[str, Mapping[str, float]]:
        threads = torch.get_num_threads()
        if workers > 1:
            torch.set_num_threads(max(1, cores() // workers))
        try:
            training = PackedPart.of(splits.training)
            epoch_s = lead(_epochs_s, job.config, contenders, task_of(splits), training, splits.normalisation)
        finally:
            torch.set_num_threads(threads)
        if section.minutes is None:
            return {"epochs": dict.fromkeys(epoch_s, section.epochs), "epoch_s": epoch_s}
        return {
            "epochs": allot_epochs(epoch_s, section.minutes * 60 * workers, section.epochs),
            "epoch_s": epoch_s,
        }

    return _Plan(**job.folder.data(_PLAN, make))


def _epochs_s(
    config: JobConfig,
    contenders: Sequence[Contender],
    task: Task,
    training: PackedPart,
    normalisation: Normalisation,
    *,
    progress: Progress,  # `lead` gives one to all; timing is over before there is anything to tell
) -> dict[str, float]:
    device = find_device(config.device)
    part = training.part().to(device)
    return {
        contender.name: seconds_per_epoch(
            contender.build(task, config.seed).to(device),
            part,
            recipe_of(config, 1),
            resolution=contender.resolution,
            normalisation=normalisation,
        )
        for contender in contenders
    }


def allot_epochs(costs_s: Mapping[str, float], budget_s: float, most: int) -> dict[str, int]:
    """Gives every network an equal share of the time; what cheap ones cannot use goes to the others.

    Args:
        costs_s: Seconds of one epoch, by name.
        budget_s: Seconds for all.
        most: Epochs that no network exceeds.

    Returns:
        Epochs by name, each at least 1.

    Raises:
        TrainingError: One epoch of each already exceeds twice the budget.
    """
    least_s = sum(costs_s.values())
    if least_s > 2 * budget_s:
        raise TrainingError(
            f"one epoch of each network takes {least_s / budget_s:.1f} times what train.minutes allows; "
            "raise it, or take fewer finalists, baselines or smaller resolutions"
        )
    epochs: dict[str, int] = {}
    left_s = budget_s
    for rank, name in enumerate(sorted(costs_s, key=lambda name: costs_s[name])):
        share_s = left_s / (len(costs_s) - rank)
        epochs[name] = min(most, max(1, round(share_s / costs_s[name])))
        left_s = max(0.0, left_s - epochs[name] * costs_s[name])
    return epochs


def training_losses(job: Job, name: str) -> tuple[float, ...]:
    """Mean loss of each epoch of a trained network."""
    return tuple(_history(job, name)["losses"])
