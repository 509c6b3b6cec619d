"""The training loop: one network, one part of the data, one recipe."""

import copy
import hashlib
import itertools
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from mobinas.errors import TrainingError
from mobinas.memory import reused_memory
from mobinas.nets.batch_norm import recalibrate
from mobinas.progress import Progress, silent
from mobinas.train import parallel
from mobinas.train.batches import check_batch_size, shuffled_batches
from mobinas.train.checkpoint import identity_of
from mobinas.train.epochs import enough_memory, run_epochs
from mobinas.train.evaluate import device_of, evaluate, logits_of
from mobinas.train.memory_layout import NAMES, as_input, fitting_layout
from mobinas.train.optimisation import decay_groups
from mobinas.train.recipe import Recipe
from mobinas.train.splits import Normalisation, Part

__all__ = ["Recipe", "TrainResult", "evaluate", "logits_of", "seconds_per_epoch", "train"]

# Of the auxiliary classifier's loss (DARTS, appendix A.2).
_AUXILIARY_WEIGHT = 0.4
_STEPS_BETWEEN_REPORTS = 50
_CALIBRATION_IMAGES = 4096


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training saw.

    Attributes:
        losses: Mean training loss of each epoch, label smoothing included.
        accuracies: Share of right answers on the augmented training images of each epoch.
        seconds: Wall-clock time, of all sessions together when it was resumed.
        learning_rate_scale: 1, or 0.5 after a loss that was not finite.
        layout: ``channels_last``, or ``contiguous`` where the network's code needs it.
    """

    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    seconds: float
    learning_rate_scale: float
    layout: str


def train(
    module: nn.Module,
    part: Part,
    recipe: Recipe,
    *,
    resolution: int,
    normalisation: Normalisation,
    seed: int,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> TrainResult:
    """Trains a network in place and takes its batch-normalisation statistics anew at the end.

    A loss that is not finite takes the network back to the last whole epoch, once, at half the learning rate.
    PyTorch's global generator (dropout draws from it) is seeded inside and restored. In a process group, all
    processes train together, see `parallel`.

    Args:
        module: On any device; ends in evaluation mode.
        part: Training images and labels, on any device; on the network's, batches need not be sent there.
        recipe: How.
        resolution: To which images are resized, in pixels.
        normalisation: What is done to the pixels.
        seed: Draws order, augmentation and dropout.
        progress: Told the steps done.
        checkpoint: Written after each epoch; where it exists, training continues from it and ends with
            the very same weights (on a CPU).

    Raises:
        TrainingError: The loss was not finite again, memory ran out, or the checkpoint is of another
            training.
    """
    check_batch_size(recipe.batch_size, {})
    parallel.start_alike(module.state_dict().values())
    run = _Run(module, part, recipe, resolution, normalisation, seed, progress)
    with _forked(device_of(module)):
        run_epochs(
            run,
            recipe.epochs,
            name="training",
            learning_rate=recipe.learning_rate,
            smaller=_smaller(recipe),
            identity=identity_of(_shapes(module), (recipe, resolution), seed, part),
            checkpoint=checkpoint,
        )
    run.finish()
    return TrainResult(tuple(run.losses), tuple(run.accuracies), run.seconds, run.scale, NAMES[run.layout])


def seconds_per_epoch(
    module: nn.Module,
    part: Part,
    recipe: Recipe,
    *,
    resolution: int,
    normalisation: Normalisation,
    steps: int = 3,
) -> float:
    """Estimates the time of an epoch from a few steps, on a copy of the network.

    Args:
        module: Not changed.
        part: Training images.
        recipe: Batch size and augmentation matter.
        resolution: To which images are resized, in pixels.
        normalisation: What is done to the pixels.
        steps: Timed, after one that is not.

    Returns:
        Seconds, at least a nanosecond.

    Raises:
        TrainingError: Memory ran out.
    """
    twin = copy.deepcopy(module)
    run = _Run(twin, part, recipe, resolution, normalisation, 0)
    batches = shuffled_batches(len(part), recipe.batch_size, torch.Generator().manual_seed(0))
    times = []
    with _forked(device_of(twin)), enough_memory("training", _smaller(recipe)), reused_memory():
        for positions in itertools.islice(itertools.cycle(batches), steps + 1):
            started = time.perf_counter()
            run.step(positions, 0.0)
            times.append(time.perf_counter() - started)
    return max(median(times[1:]) * len(batches), 1e-9)


@dataclass(slots=True)
class _Run:
    """One training under way."""

    module: nn.Module
    part: Part
    recipe: Recipe
    resolution: int
    normalisation: Normalisation
    seed: int
    progress: Progress = silent
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    scale: float = 1.0
    layout: torch.memory_format = field(init=False)
    optimiser: torch.optim.SGD = field(init=False)
    generator: torch.Generator = field(default_factory=torch.Generator)

    def __post_init__(self) -> None:
        recipe, device = self.recipe, device_of(self.module)
        few = self.part.batch(torch.arange(min(2, len(self.part))), self.resolution).to(device)
        self.layout = fitting_layout(
            self.module, as_input(self.normalisation(few), self.module, torch.contiguous_format)
        )
        if self.layout is torch.channels_last:
            self.module.to(memory_format=self.layout)  # type: ignore[call-overload]
        trained = [p for p in self.module.parameters() if p.requires_grad]
        if not trained:
            raise TrainingError("the network has no parameter to train; add one, or unfreeze some")
        self.optimiser = torch.optim.SGD(
            decay_groups(trained, recipe.weight_decay),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
        )

    @property
    def epochs_done(self) -> int:
        return len(self.losses)

    def epoch(self) -> bool:
        """One pass; False as soon as a loss is not finite."""
        epoch, recipe, started = self.epochs_done, self.recipe, time.perf_counter()
        # Each epoch's draws depend on seed and number alone, so a resumed training repeats them.
        self.generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        torch.manual_seed(self.seed * 1_000_003 + epoch)
        self.module.train()
        batches = shuffled_batches(len(self.part), recipe.batch_size, self.generator)
        steps = len(batches) * recipe.epochs
        total_loss, right = 0.0, 0
        for k, positions in enumerate(batches):
            step = epoch * len(batches) + k
            loss, hits = self.step(positions, recipe.learning_rate_at(step, steps) * self.scale)
            if not math.isfinite(loss):
                return False
            total_loss += loss * len(positions)
            right += hits
            if k + 1 == len(batches) or (k + 1) % _STEPS_BETWEEN_REPORTS == 0:
                self.progress(step + 1, steps, f"epoch {epoch + 1} of {recipe.epochs}, loss {loss:.3f}")
        self.losses.append(total_loss / len(self.part))
        self.accuracies.append(right / len(self.part))
        self.seconds += time.perf_counter() - started
        return True

    def state(self) -> dict[str, Any]:
        return {
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "losses": list(self.losses),
            "accuracies": list(self.accuracies),
            "seconds": self.seconds,
            "scale": self.scale,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self.losses, self.accuracies = list(state["losses"]), list(state["accuracies"])
        self.seconds, self.scale = state["seconds"], state["scale"]

    def step(self, positions: Tensor, rate: float) -> tuple[float, int]:
        """Loss and number of right answers of one batch, after whose gradient the weights have moved."""
        optimiser, device = self.optimiser, device_of(self.module)
        for group in optimiser.param_groups:
            group["lr"] = rate
        # Drawn for the whole batch, whatever this process's share of it.
        images = self.recipe.augment(self.part.batch(positions, self.resolution), self.generator)
        images, labels = parallel.share(images), self.part.labels[parallel.share(positions)].to(device)
        output = self.module(self.normalised(images.to(device)))
        loss, logits = _loss(output, labels, self.recipe.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        weight = parallel.fraction(positions)
        (loss * weight).backward()  # type: ignore[no-untyped-call]
        parallel.add_up(p.grad for p in self.module.parameters() if p.grad is not None)
        hits = int((logits.detach().argmax(dim=1) == labels).sum())
        value, right = parallel.total((float(loss.detach()) * weight, hits))
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.max_gradient_norm)
        if not math.isfinite(float(norm)):
            return math.nan, int(right)
        if math.isfinite(value):
            optimiser.step()
        return value, int(right)

    def normalised(self, images: Tensor) -> Tensor:
        return as_input(self.normalisation(images), self.module, self.layout)

    def finish(self) -> None:
        """Takes the statistics over training images as they are, without augmentation."""
        generator = torch.Generator().manual_seed(self.seed)
        recalibrate(self.module, self._calibration(generator))
        self.module.eval()
        if self.layout is torch.channels_last:
            self.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def _calibration(self, generator: torch.Generator) -> Iterator[Tensor]:
        device = device_of(self.module)
        order = torch.randperm(len(self.part), generator=generator)[:_CALIBRATION_IMAGES]
        for positions in order.tensor_split(max(1, round(len(order) / (2 * self.recipe.batch_size)))):
            yield self.normalised(self.part.batch(positions, self.resolution).to(device))


def _loss(output: Tensor | tuple[Tensor, ...], labels: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    outputs = output if isinstance(output, tuple) else (output,)
    for one in outputs:
        if not isinstance(one, Tensor) or one.ndim != 2:
            what = f"shape {list(one.shape)}" if isinstance(one, Tensor) else f"type {type(one).__name__}"
            raise TrainingError(f"the network's output is of {what}; return logits [images, classes]")
    losses = [nn.functional.cross_entropy(o, labels, label_smoothing=smoothing) for o in outputs]
    return losses[0] + _AUXILIARY_WEIGHT * sum(losses[1:]), outputs[0]


def _smaller(recipe: Recipe) -> str:
    return f"train.batch_size (now {recipe.batch_size}), which trains all networks anew, or free memory"


def _forked(device: torch.device) -> AbstractContextManager[None]:
    """Whatever is drawn inside, PyTorch's global generators are afterwards as before."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def _shapes(module: nn.Module) -> str:
    shapes = repr([(name, list(tensor.shape)) for name, tensor in module.state_dict().items()])
    return hashlib.sha256(shapes.encode()).hexdigest()[:8]
