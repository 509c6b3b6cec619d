"""The bilevel loop: architecture parameters on one part of the data, weights on another, in turns.

First order (Liu et al., 2019, section 2.3 with xi = 0): the architecture step takes the weights as they are.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobinas.arch.genotype import Genotype
from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace
from mobinas.errors import ConfigError
from mobinas.progress import Progress, silent
from mobinas.supernet.methods import find_method
from mobinas.supernet.network import SearchNetwork, search_ops
from mobinas.supernet.relaxation import Mixture
from mobinas.train.batches import check_batch_size, endless_batches, shuffled_batches
from mobinas.train.checkpoint import identity_of
from mobinas.train.epochs import run_epochs
from mobinas.train.optimisation import half_cosine
from mobinas.train.splits import Part, Splits

# Liu et al.: 0.025 at batch 64; Xu et al.: 0.1 at batch 256. Both are this rate per image.
_LEARNING_RATE_PER_IMAGE = 0.025 / 64
# Steps of the published searches (50 epochs of 25,000 images at batch 64). Adam moves a parameter by about
# its learning rate each step, so a search of fewer steps takes longer ones to get as far, up to the bound.
_PUBLISHED_STEPS = 50 * 390
_MAX_ALPHA_LEARNING_RATE = 1e-2
_JUDGED_IMAGES = 512


@dataclass(frozen=True, slots=True)
class MethodSettings:
    """How a one-shot search runs; None stands for what the method or the space suggests.

    Attributes:
        method: Key in `METHODS`.
        epochs: Passes over the weights part.
        batch_size: Images a step, of either kind.
        resolution: Pixels along one axis; by default the space's smallest.
        depth: Cells of the search network; by default the space's smallest from 3 on.
        width: Channels of its first cells; by default the median of the space, rounded up as needed.
        learning_rate: Of the weights, at the start; by default 0.025 for each 64 images of a batch.
        learning_rate_end: Where its half cosine ends.
        momentum: Of the weights' SGD.
        weight_decay: Of the weights.
        gradient_clip: Largest norm of the weights' gradient.
        alpha_learning_rate: Of Adam; by default the published one, scaled up to 1e-2 for short searches.
        alpha_weight_decay: Of Adam.
        warm_up_share: Share of the epochs in which the architecture rests; by default the method's.
    """

    method: str = "darts"
    epochs: int = 15
    batch_size: int = 64
    resolution: int | None = None
    depth: int | None = None
    width: int | None = None
    learning_rate: float | None = None
    learning_rate_end: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 3e-4
    gradient_clip: float = 5.0
    alpha_learning_rate: float | None = None
    alpha_weight_decay: float = 1e-3
    warm_up_share: float | None = None

    def __post_init__(self) -> None:
        find_method(self.method)
        for name in ("epochs", "batch_size", "learning_rate", "gradient_clip", "alpha_learning_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}; it must be above 0")
        if self.batch_size < 2:
            raise ConfigError(f"batch_size is {self.batch_size}; batch normalisation needs at least 2")
        if self.warm_up_share is not None and not 0 <= self.warm_up_share < 1:
            raise ConfigError(f"warm_up_share is {self.warm_up_share}; it must be from 0 to below 1")


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """What one epoch of the search saw.

    Attributes:
        weight_loss: Mean cross-entropy of the weight steps, on the weights part.
        weight_accuracy: Share of right answers there, in [0, 1].
        alpha_loss: The same of the architecture steps, on the alphas part; None in the warm-up.
        alpha_accuracy: Share of right answers there; None in the warm-up.
        skip_share: Share of skip connections in the normal cell that the epoch's end would give; None for
            methods that derive the cell in another way than by its probabilities.
        alpha_entropy: Mean entropy of the ops on an edge over its largest possible one, in [0, 1].
        seconds: Wall-clock time.
    """

    weight_loss: float
    weight_accuracy: float
    alpha_loss: float | None
    alpha_accuracy: float | None
    skip_share: float | None
    alpha_entropy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class SupernetResult:
    """What a one-shot search found.

    Attributes:
        probabilities: Of ops and edges.
        genotype: Their mode within one op set of the space, or what the method derives in another way.
        history: One record an epoch.
    """

    probabilities: Probabilities
    genotype: Genotype
    history: tuple[EpochRecord, ...]


def search_supernet(
    space: SearchSpace,
    splits: Splits,
    settings: MethodSettings,
    *,
    seed: int,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> SupernetResult:
    """Finds cells by a one-shot method.

    A loss or an architecture parameter that is not finite takes the search back to the last whole epoch,
    once, at half the learning rates.

    Args:
        space: Gives ops, nodes, stem and task.
        splits: Its alphas part trains the architecture, its weights part the weights.
        settings: The method and how it runs.
        seed: Draws initial weights and the order of images.
        progress: Told the steps done.
        checkpoint: Written after each epoch; where it exists the search goes on from it and, on a CPU, ends
            with the very same result.

    Raises:
        TrainingError: The loss was not finite again, a batch is larger than a part, or the checkpoint is of
            another search.
        ArchitectureError: A width or size that the method or the stem cannot take.
    """
    check_batch_size(settings.batch_size, {"weights": len(splits.weights), "alphas": len(splits.alphas)})
    search = BilevelSearch(space, splits, settings, seed, progress)
    run_epochs(
        search,
        settings.epochs,
        name="the search",
        learning_rate=search.learning_rate,
        identity=identity_of(space, settings, seed, splits.weights, splits.alphas),
        checkpoint=checkpoint,
    )
    found = search.network.relaxation.probabilities()
    derive = find_method(settings.method).derive
    genotype = derive(search.judge, space, seed) if derive else likeliest_genotype(found, space)
    return SupernetResult(found, genotype, tuple(search.history))


def likeliest_genotype(probabilities: Probabilities, space: SearchSpace) -> Genotype:
    """The probabilities' mode within one op set of the space: the set whose mode is the likeliest."""
    modes = [probabilities.genotype(ops) for ops in space.op_sets]
    return max(modes, key=probabilities.log_likelihood)


@dataclass(slots=True)
class BilevelSearch:
    """A search under way.

    Attributes:
        history: Of the epochs done.
        scale: Factor on both learning rates.
        network: The search network.
        learning_rate: Of the weights, at the start.
        weight_optimiser: SGD on all parameters but the architecture's.
        alpha_optimiser: Adam on the architecture's; None where the method has none.
    """

    space: SearchSpace
    splits: Splits
    settings: MethodSettings
    seed: int
    progress: Progress = silent
    history: list[EpochRecord] = field(default_factory=list)
    scale: float = 1.0
    network: SearchNetwork = field(init=False)
    learning_rate: float = field(init=False)
    alpha_learning_rate: float = field(init=False)
    warm_up_epochs: int = field(init=False)
    resolution: int = field(init=False)
    weight_optimiser: torch.optim.SGD = field(init=False)
    alpha_optimiser: torch.optim.Adam | None = field(init=False)

    def __post_init__(self) -> None:
        space, settings = self.space, self.settings
        method = find_method(settings.method)
        relaxation = method.relax(search_ops(space), space.nodes, self.seed)
        self.resolution, depth, width = network_size(space, settings, 2 * relaxation.partial)
        self.network = SearchNetwork(
            space, relaxation, resolution=self.resolution, depth=depth, width=width, seed=self.seed
        )
        share = method.warm_up_share if settings.warm_up_share is None else settings.warm_up_share
        self.warm_up_epochs = round(share * settings.epochs)
        self.learning_rate = settings.learning_rate or _LEARNING_RATE_PER_IMAGE * settings.batch_size
        steps = self._steps() * (settings.epochs - self.warm_up_epochs)
        travelled = method.learning_rate * max(1.0, _PUBLISHED_STEPS / max(steps, 1))
        self.alpha_learning_rate = settings.alpha_learning_rate or min(travelled, _MAX_ALPHA_LEARNING_RATE)
        self.weight_optimiser = torch.optim.SGD(
            list(self.network.weight_parameters()),
            self.learning_rate,
            settings.momentum,
            weight_decay=settings.weight_decay,
        )
        alphas = list(relaxation.parameters())
        self.alpha_optimiser = (
            torch.optim.Adam(
                alphas, self.alpha_learning_rate, (0.5, 0.999), weight_decay=settings.alpha_weight_decay
            )
            if alphas
            else None
        )

    def _steps(self) -> int:
        return max(1, round(len(self.splits.weights) / self.settings.batch_size))

    @property
    def epochs_done(self) -> int:
        """Whole epochs so far."""
        return len(self.history)

    def epoch(self) -> bool:
        """Runs one epoch; False (and an unusable state) when something was not finite."""
        number, started = len(self.history), time.perf_counter()
        # Draws depend on seed and epoch alone, so a search that is resumed repeats them.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        batch_size, steps = self.settings.batch_size, self._steps()
        alpha_batches = endless_batches(len(self.splits.alphas), batch_size, generator)
        moves = number >= self.warm_up_epochs and self.alpha_optimiser is not None
        self.network.relaxation.begin_epoch(number / max(self.settings.epochs - 1, 1), generator)
        weight_sums, alpha_sums = torch.zeros(3), torch.zeros(3)
        self.network.train()
        for k, positions in enumerate(shuffled_batches(len(self.splits.weights), batch_size, generator)):
            if moves:
                alpha_sums += torch.tensor(self.alpha_step(next(alpha_batches)))
            share = number * steps + k
            rate = half_cosine(
                self.learning_rate, self.settings.learning_rate_end, share, steps * self.settings.epochs
            )
            weight_sums += torch.tensor(self.weight_step(positions, rate * self.scale))
            if not bool(torch.isfinite(weight_sums).all() and torch.isfinite(alpha_sums).all()):
                return False
        if not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
            return False
        self._record(weight_sums.tolist(), alpha_sums.tolist(), time.perf_counter() - started)
        loss = self.history[-1].weight_loss
        self.progress(number + 1, self.settings.epochs, f"supernet epoch {number + 1}, loss {loss:.3f}")
        return True

    def alpha_step(self, positions: Tensor) -> tuple[float, float, float]:
        """Moves the architecture by one batch of the alphas part; the weights get no gradient.

        Returns:
            Sum of the losses, right answers, images.
        """
        assert self.alpha_optimiser is not None, "a method without architecture parameters has no such step"
        for group in self.alpha_optimiser.param_groups:
            group["lr"] = self.alpha_learning_rate * self.scale
        return self._step(self.splits.alphas, positions, self.alpha_optimiser)

    def weight_step(self, positions: Tensor, rate: float) -> tuple[float, float, float]:
        """Moves the weights by one batch of the weights part; the architecture gets no gradient.

        Returns:
            Sum of the losses, right answers, images.
        """
        for group in self.weight_optimiser.param_groups:
            group["lr"] = rate
        clip = self.settings.gradient_clip
        return self._step(
            self.splits.weights,
            positions,
            self.weight_optimiser,
            lambda moved: nn.utils.clip_grad_norm_(moved, clip),
        )

    def _step(
        self,
        part: Part,
        positions: Tensor,
        optimiser: torch.optim.Optimizer,
        before: Callable[[list[Tensor]], object] = lambda _moved: None,
    ) -> tuple[float, float, float]:
        images = self.splits.normalisation(part.batch(positions, self.resolution))
        labels = part.labels[positions]
        logits = self.network(images)
        loss = nn.functional.cross_entropy(logits, labels)
        value = float(loss.detach())
        if math.isfinite(value):
            moved: list[Tensor] = optimiser.param_groups[0]["params"]
            # Only these get gradients: cheaper than backward(), and nothing is left for the other step.
            gradients = torch.autograd.grad(loss, moved, allow_unused=True)
            for parameter, gradient in zip(moved, gradients, strict=True):
                parameter.grad = gradient
            before(moved)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        right = int((logits.detach().argmax(dim=1) == labels).sum())
        return value * len(positions), right, len(positions)

    def judge(self, genotype: Genotype) -> float:
        """Accuracy of a genotype with the shared weights, on (at most 512 images of) the alphas part.

        Batch normalisation takes the statistics of the images themselves, as those of the search are of no
        single subnet.
        """
        part, mixture = self.splits.alphas, Mixture.of(genotype, self.network.relaxation.ops)
        right, n = 0, min(len(part), _JUDGED_IMAGES)
        before = copy.deepcopy(list(self.network.buffers()))
        with torch.no_grad():
            for positions in torch.arange(n).tensor_split(max(1, round(n / 128))):
                images = self.splits.normalisation(part.batch(positions, self.resolution))
                logits = self.network.train()(images, mixture)
                right += int((logits.argmax(dim=1) == part.labels[positions]).sum())
            for buffer, old in zip(self.network.buffers(), before, strict=True):
                buffer.copy_(old)
        return right / n

    def _record(self, weights: list[float], alphas: list[float], seconds: float) -> None:
        found = self.network.relaxation.probabilities()
        edges = [edge for _, edge in found.genotype().normal.edges()]
        moved = alphas[2] > 0
        decided = find_method(self.settings.method).derive is not None
        self.history.append(
            EpochRecord(
                weights[0] / weights[2],
                weights[1] / weights[2],
                alphas[0] / alphas[2] if moved else None,
                alphas[1] / alphas[2] if moved else None,
                None if decided else sum(edge.op == "skip_connect" for edge in edges) / len(edges),
                mean_entropy(found),
                seconds,
            )
        )

    def state(self) -> dict[str, Any]:
        """All that changes from epoch to epoch; not a copy."""
        return {
            "network": self.network.state_dict(),
            "weight_optimiser": self.weight_optimiser.state_dict(),
            "alpha_optimiser": self.alpha_optimiser.state_dict() if self.alpha_optimiser else {},
            "history": [asdict(record) for record in self.history],
            "scale": self.scale,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state of this search."""
        self.network.load_state_dict(state["network"])
        self.weight_optimiser.load_state_dict(copy.deepcopy(state["weight_optimiser"]))
        if self.alpha_optimiser is not None:
            self.alpha_optimiser.load_state_dict(copy.deepcopy(state["alpha_optimiser"]))
        self.history = [EpochRecord(**record) for record in state["history"]]
        self.scale = state["scale"]


def network_size(space: SearchSpace, settings: MethodSettings, multiple: int) -> tuple[int, int, int]:
    """Resolution, depth and width of the search network; the width a multiple of `multiple` unless given."""
    depths = sorted(space.depths)
    depth = settings.depth or next((d for d in depths if d >= 3), depths[-1])
    widths = sorted(space.widths)
    width = settings.width or math.ceil(widths[(len(widths) - 1) // 2] / multiple) * multiple
    return settings.resolution or min(space.resolutions), depth, width


def mean_entropy(probabilities: Probabilities) -> float:
    """Mean entropy of the ops on an edge, over that of a uniform choice; in [0, 1]."""
    if len(probabilities.ops) == 1:
        return 0.0
    rows = probabilities.normal + probabilities.reduction
    entropies = [-sum(p * math.log(p) for p in row if p > 0) for row in rows]
    return sum(entropies) / len(rows) / math.log(len(probabilities.ops))
