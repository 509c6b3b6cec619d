"""Step 5: finalists and baselines are trained alike, with epochs allotted by what an epoch costs."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from mobinas.errors import TrainingError
from mobinas.files import write_atomic
from mobinas.pipeline.context import Contender, Job
from mobinas.pipeline.load import task_of
from mobinas.progress import Progress
from mobinas.train.augment import Augment
from mobinas.train.loop import Recipe, seconds_per_epoch, train
from mobinas.train.splits import Splits

_PLAN = "plan.json"


def train_contenders(
    job: Job, contenders: Sequence[Contender], splits: Splits, progress: Progress
) -> dict[str, nn.Module]:
    """Trains every network on weights + alphas; stored weights are loaded.

    Returns:
        The trained networks by name, in evaluation mode.
    """
    epochs = _plan(job, contenders, splits)
    total = sum(epochs.values())
    modules: dict[str, nn.Module] = {}
    done = 0
    for contender in contenders:
        own = epochs[contender.name]
        modules[contender.name] = _trained(
            job, contender, splits, own, _part_of(progress, done, own, total, contender.name)
        )
        done += own
        progress(done, total, contender.name)
    return modules


def _part_of(progress: Progress, done: int, epochs: int, total: int, name: str) -> Progress:
    """One training's progress as part of all: its steps count as its epochs."""

    def report(step: int, steps: int, text: str) -> None:
        progress(done + epochs * step // max(steps, 1), total, f"{name} {text}")

    return report


def _trained(job: Job, contender: Contender, splits: Splits, epochs: int, progress: Progress) -> nn.Module:
    module = contender.build(task_of(splits), job.config.seed)

    def make(path: Path) -> None:
        checkpoint = path.with_suffix(".checkpoint.pt")
        result = train(
            module,
            splits.training,
            recipe_of(job, epochs),
            resolution=contender.resolution,
            normalisation=splits.normalisation,
            seed=job.config.seed,
            progress=progress,
            checkpoint=checkpoint,
        )
        job.folder.data(_history_file(contender.name), lambda: asdict(result))
        buffer = io.BytesIO()
        torch.save(module.state_dict(), buffer)
        write_atomic(path, buffer.getvalue())
        checkpoint.unlink(missing_ok=True)

    weights = job.folder.file(f"trained/{contender.name}.pt", make)
    module.load_state_dict(torch.load(weights, weights_only=True))
    return module.eval()


def _history_file(name: str) -> str:
    return f"trained/{name}.json"


def recipe_of(job: Job, epochs: int) -> Recipe:
    """The one recipe of the job, for so many epochs."""
    section = job.config.train
    return Recipe(
        epochs=epochs,
        batch_size=section.batch_size,
        learning_rate=section.learning_rate,
        weight_decay=section.weight_decay,
        label_smoothing=section.label_smoothing,
        augment=Augment(shift=section.shift, flip=section.flip, cutout=section.cutout),
    )


def _plan(job: Job, contenders: Sequence[Contender], splits: Splits) -> dict[str, int]:
    """Epochs of each network by name; measured once and stored, so that a resumed run keeps them."""
    section = job.config.train
    if section.minutes is None:
        return {contender.name: section.epochs for contender in contenders}
    budget_s = section.minutes * 60

    def make() -> dict[str, int]:
        costs_s = {
            contender.name: seconds_per_epoch(
                contender.build(task_of(splits), job.config.seed),
                splits.training,
                recipe_of(job, 1),
                resolution=contender.resolution,
                normalisation=splits.normalisation,
            )
            for contender in contenders
        }
        return allot_epochs(costs_s, budget_s, section.epochs)

    plan: dict[str, int] = job.folder.data(_PLAN, make)
    return plan


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
            f"one epoch of each network needs about {least_s / 60:.1f} minutes, train.minutes is "
            f"{budget_s / 60:g}; raise it, or take fewer finalists, baselines or smaller resolutions"
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
    stored = json.loads((job.folder.path / _history_file(name)).read_text(encoding="utf-8"))
    return tuple(stored["losses"])
