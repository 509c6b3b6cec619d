"""Training of the elastic supernet: single paths, the sandwich rule, in-place distillation."""

import copy
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobinas.arch.architecture import Architecture
from mobinas.arch.genotype import digest_of
from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import Chooser, SearchSpace
from mobinas.errors import ConfigError
from mobinas.progress import Progress, silent
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.train import parallel
from mobinas.train.augment import Augment
from mobinas.train.batches import check_batch_size, shuffled_batches
from mobinas.train.checkpoint import identity_of
from mobinas.train.epochs import run_epochs
from mobinas.train.optimisation import decay_groups, one_cycle
from mobinas.train.splits import Splits

_WARMUP = 0.1


@dataclass(frozen=True, slots=True)
class ElasticSettings:
    """How the elastic supernet is trained.

    Each step runs random paths on one batch, with ops of few kinds (`SearchSpace.contrasting`): over 40
    architectures of a small digits space, Kendall's tau with training from scratch was 0.7 after 1,000 such
    steps and 0.4 where every path mixed all ops, also for architectures that do. Every `sandwich_every`-th
    step also runs the largest and the smallest size of the space, where the others learn from the largest
    one's answers too (Yu et al., 2020, BigNAS, https://arxiv.org/abs/2003.11142). Adam rather than SGD,
    because each weight lies on few of the paths.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images a step; small, since the number of steps counts.
        random_paths: Architectures of random size a step.
        sandwich_every: Steps from one with the largest and the smallest size to the next; 1 is the sandwich
            rule as published. The largest path costs more than several others together.
        uniform: Share of choices of ops and edges that do not follow the probabilities.
        learning_rate: Of AdamW at the start of a half cosine, after a warm-up of 10 % of the steps.
        weight_decay: Of AdamW, on weights of convolutions and linear layers.
        gradient_clip: Largest norm of the gradient.
        distillation: Share of the largest path's answers in the targets of the others.
        label_smoothing: See https://arxiv.org/abs/1512.00567.
        augment: What is done to the images.
    """

    epochs: int = 15
    batch_size: int = 48
    random_paths: int = 1
    sandwich_every: int = 6
    uniform: float = 0.3
    learning_rate: float = 5e-3
    weight_decay: float = 1e-3
    gradient_clip: float = 5.0
    distillation: float = 0.5
    label_smoothing: float = 0.1
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("uniform", "distillation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it is a share between 0 and 1")
        if self.batch_size < 2 or self.random_paths < 1 or self.sandwich_every < 1:
            raise ConfigError("batch_size must be at least 2, random_paths and sandwich_every at least 1")


def train_elastic(
    supernet: ElasticSupernet,
    splits: Splits,
    probabilities: Probabilities,
    settings: ElasticSettings | None = None,
    *,
    seed: int,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> tuple[float, ...]:
    """Trains the shared weights in place, on the weights and the alphas part together.

    In a process group, all processes train together, see `mobinas.train.parallel`.

    Args:
        supernet: Its weights are changed, on the device that they lie on.
        splits: Only its training images are used; batches are fastest where they lie on the same device.
        probabilities: Of ops and edges, around which cells are drawn.
        settings: How.
        seed: Draws images, cells and sizes.
        progress: Told the epochs done.
        checkpoint: Written after each epoch; where it exists the training goes on from it and, on a CPU, ends
            with the very same weights.

    Returns:
        The mean loss of each epoch.

    Raises:
        TrainingError: A loss was not finite, again at half the learning rate; memory ran out; a batch is
            larger than the training part; or the checkpoint is of another training, though one of another
            batch size is taken.
    """
    settings = settings or ElasticSettings()
    check_batch_size(settings.batch_size, {"training": len(splits.training)})
    parallel.start_alike(supernet.parameters.values())
    run = _ElasticRun(supernet, splits, probabilities, settings, seed, progress)
    run_epochs(
        run,
        settings.epochs,
        name="the elastic supernet",
        learning_rate=settings.learning_rate,
        smaller=f"supernet.elastic_batch_size (now {settings.batch_size})",
        # Who runs out of memory goes on with smaller batches.
        identity=identity_of(
            (supernet.space, digest_of(probabilities.to_json())[:8]),
            replace(settings, batch_size=2),
            seed,
            splits.training,
        ),
        checkpoint=checkpoint,
    )
    return tuple(run.losses)


def with_size(choose: Callable[..., Any], pick: Callable[[tuple[int, ...]], int]) -> Callable[..., Any]:
    """A chooser that leaves cells to `choose` and takes `pick` of resolutions, depths and widths."""

    def chooser(name: str, options: Any, /) -> Any:
        return pick(options) if name in ("resolution", "depth", "width") else choose(name, options)

    return chooser


@dataclass(slots=True)
class _ElasticRun:
    """One training under way."""

    supernet: ElasticSupernet
    splits: Splits
    probabilities: Probabilities
    settings: ElasticSettings
    seed: int
    progress: Progress = silent
    losses: list[float] = field(default_factory=list)
    scale: float = 1.0
    optimiser: torch.optim.AdamW = field(init=False)

    def __post_init__(self) -> None:
        groups = decay_groups(self.supernet.parameters.values(), self.settings.weight_decay)
        self.optimiser = torch.optim.AdamW(groups, self.settings.learning_rate, betas=(0.9, 0.99))

    @property
    def epochs_done(self) -> int:
        return len(self.losses)

    def epoch(self) -> bool:
        number, settings = len(self.losses), self.settings
        # Draws depend on seed and epoch alone, so a training that is resumed repeats them.
        draw = self.seed * 1_000_003 + number
        generator, rng = torch.Generator().manual_seed(draw), random.Random(draw)
        part, total = self.splits.training, 0.0
        batches = shuffled_batches(len(part), settings.batch_size, generator)
        steps = len(batches) * settings.epochs
        for k, positions in enumerate(batches):
            rate = one_cycle(settings.learning_rate, _WARMUP, number * len(batches) + k, steps)
            for group in self.optimiser.param_groups:
                group["lr"] = rate * self.scale
            paths = list(self.paths(rng, k))
            loss = self.step(positions, paths, generator, taught=self.sandwich(k))
            if not math.isfinite(loss):
                return False
            total += loss
        self.losses.append(total / len(batches))
        self.progress(number + 1, settings.epochs, f"elastic epoch {number + 1}, loss {self.losses[-1]:.3f}")
        return True

    def sandwich(self, step: int) -> bool:
        """Whether a step of an epoch also runs the largest and the smallest size."""
        return step % self.settings.sandwich_every == 0

    def paths(self, rng: random.Random, step: int) -> Iterator[Architecture]:
        """Paths of random size, each with cells of its own; in some steps the two extremes around them."""
        space: SearchSpace = self.supernet.space
        around = self.probabilities.chooser(rng, self.settings.uniform)

        def cells() -> Chooser:
            return space.contrasting(rng, around)

        if self.sandwich(step):
            yield space.build(with_size(cells(), max))
        for _ in range(self.settings.random_paths):
            yield space.build(cells())
        if self.sandwich(step):
            yield space.build(with_size(cells(), min))

    def step(
        self, positions: Tensor, paths: list[Architecture], generator: torch.Generator, *, taught: bool
    ) -> float:
        """Mean loss of the paths on one batch, after whose gradients the weights have moved.

        Args:
            positions: Of the images.
            paths: What is run, one after the other.
            generator: Draws the augmentation.
            taught: Whether the first path teaches the others.
        """
        part, settings, total = self.splits.training, self.settings, 0.0
        device = self.supernet.device
        labels, weight = part.labels[parallel.share(positions)].to(device), parallel.fraction(positions)
        teacher: Tensor | None = None
        # One draw of the augmentation for all resolutions: the paths see the same changes of the same images.
        draw = generator.get_state()
        for path in paths:
            generator.set_state(draw)
            raw = settings.augment(part.batch(positions, path.resolution), generator).to(device)
            images = self.splits.normalisation(parallel.share(raw)).contiguous(
                memory_format=torch.channels_last
            )
            logits = self.supernet.path(path, images)
            loss = nn.functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
            if teacher is not None and settings.distillation:
                soft = nn.functional.cross_entropy(logits, teacher)
                loss = (1 - settings.distillation) * loss + settings.distillation * soft
            (value,) = parallel.total((float(loss.detach()) * weight,))
            if not math.isfinite(value):
                return value
            (loss * weight / len(paths)).backward()  # type: ignore[no-untyped-call]
            total += value / len(paths)
            if taught and teacher is None:
                teacher = torch.softmax(logits.detach(), dim=1)
        parallel.add_up(p.grad for p in self.supernet.parameters.values() if p.grad is not None)
        norm = float(nn.utils.clip_grad_norm_(self.supernet.parameters.values(), settings.gradient_clip))
        if not math.isfinite(norm):
            return norm
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return total

    def state(self) -> dict[str, Any]:
        """All that changes from epoch to epoch; not a copy."""
        return {
            "weights": self.supernet.state(),
            "optimiser": self.optimiser.state_dict(),
            "losses": list(self.losses),
            "scale": self.scale,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state of this training."""
        self.supernet.restore(state["weights"])
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self.optimiser.zero_grad(set_to_none=True)
        self.losses, self.scale = list(state["losses"]), state["scale"]
