"""The bilevel loop: architecture parameters on one part of the data, weights on another, in turns.

First order (Liu et al., 2019, section 2.3 with xi = 0): the architecture step takes the weights as they are.
Second order: through a step of the weights, see `unrolled`.
"""

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace
from mobinas.progress import Progress, silent
from mobinas.supernet.derivation import likeliest_genotype
from mobinas.supernet.guard import Guard
from mobinas.supernet.guards import find_guard
from mobinas.supernet.history import EpochRecord, SupernetResult, mean_entropy, skips
from mobinas.supernet.methods import find_method
from mobinas.supernet.network import SearchNetwork, search_ops
from mobinas.supernet.relaxation import Mixture
from mobinas.supernet.settings import MethodSettings, network_size
from mobinas.supernet.sharpness import dominant_eigenvalue
from mobinas.supernet.unrolled import unrolled_gradients
from mobinas.train.batches import check_batch_size, endless_batches, shuffled_batches
from mobinas.train.checkpoint import identity_of
from mobinas.train.epochs import run_epochs
from mobinas.train.optimisation import apply_gradients, half_cosine, shorten
from mobinas.train.splits import Part, Splits

# Liu et al.: 0.025 at batch 64; Xu et al.: 0.1 at batch 256. Both are this rate per image.
_LEARNING_RATE_PER_IMAGE = 0.025 / 64
# Steps of the published searches (50 epochs of 25,000 images at batch 64). Adam moves a parameter by about
# its learning rate each step, so a search of fewer steps takes longer ones to get as far, up to the bound.
_PUBLISHED_STEPS = 50 * 390
_MAX_ALPHA_LEARNING_RATE = 1e-2
_JUDGED_IMAGES = 512
# Judged every epoch, so that it must cost little.
_GAP_IMAGES = 256
_SHARPNESS_IMAGES = 128


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
    return search.result()


@dataclass(slots=True)
class BilevelSearch:
    """A search under way.

    Attributes:
        history: Of the epochs done.
        found: The probabilities after each of them.
        stopped: How many epochs count, and why, once a guard has ended the search.
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
    found: list[Probabilities] = field(default_factory=list)
    stopped: tuple[int, str] | None = None
    scale: float = 1.0
    guards: tuple[Guard, ...] = field(init=False)
    network: SearchNetwork = field(init=False)
    learning_rate: float = field(init=False)
    alpha_learning_rate: float = field(init=False)
    warm_up_epochs: int = field(init=False)
    resolution: int = field(init=False)
    weight_optimiser: torch.optim.SGD = field(init=False)
    alpha_optimiser: torch.optim.Adam | None = field(init=False)
    # Draws what guards draw in the steps of an epoch.
    _chance: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        space, settings = self.space, self.settings
        self._chance = torch.Generator().manual_seed(self.seed)
        method = find_method(settings.method)
        names = method.guards if settings.guards is None else settings.guards
        self.guards = tuple(find_guard(name) for name in names)
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

    @property
    def _share(self) -> float:
        return len(self.history) / max(self.settings.epochs - 1, 1)

    def _steps(self) -> int:
        return max(1, round(len(self.splits.weights) / self.settings.batch_size))

    @property
    def epochs_done(self) -> int:
        """Whole epochs so far; all of them once a guard has ended the search."""
        return self.settings.epochs if self.stopped else len(self.history)

    def epoch(self) -> bool:
        """Runs one epoch; False (and an unusable state) when something was not finite."""
        number, started = len(self.history), time.perf_counter()
        # Draws depend on seed and epoch alone, so a search that is resumed repeats them.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        batch_size, steps = self.settings.batch_size, self._steps()
        alpha_batches = endless_batches(len(self.splits.alphas), batch_size, generator)
        moves = number >= self.warm_up_epochs and self.alpha_optimiser is not None
        self.network.relaxation.begin_epoch(self._share, generator)
        self._chance = generator
        weight_sums, alpha_sums = torch.zeros(3), torch.zeros(3)
        self.network.train()
        for k, positions in enumerate(shuffled_batches(len(self.splits.weights), batch_size, generator)):
            rate = self.scale * half_cosine(
                self.learning_rate,
                self.settings.learning_rate_end,
                number * steps + k,
                steps * self.settings.epochs,
            )
            if moves:
                alpha_sums += torch.tensor(self.alpha_step(next(alpha_batches), positions, rate))
            weight_sums += torch.tensor(self.weight_step(positions, rate))
            if not bool(torch.isfinite(weight_sums).all() and torch.isfinite(alpha_sums).all()):
                return False
        if not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
            return False
        self._record(weight_sums.tolist(), alpha_sums.tolist(), started)
        loss = self.history[-1].weight_loss
        self.progress(number + 1, self.settings.epochs, f"supernet epoch {number + 1}, loss {loss:.3f}")
        return True

    def alpha_step(
        self, positions: Tensor, weight_positions: Tensor | None = None, rate: float = 0.0
    ) -> tuple[float, float, float]:
        """Moves the architecture by one batch of the alphas part; the weights get no gradient.

        Args:
            positions: Of the images.
            weight_positions: Those of the weight step to come, for the second order.
            rate: Its learning rate.

        Returns:
            Sum of the losses, right answers, images.
        """
        assert self.alpha_optimiser is not None, "a method without architecture parameters has no such step"
        for group in self.alpha_optimiser.param_groups:
            group["lr"] = self.alpha_learning_rate * self.scale
        alphas: list[nn.Parameter] = self.alpha_optimiser.param_groups[0]["params"]
        seen: list[tuple[float, float, float]] = []

        def run(mixture: Mixture) -> tuple[Tensor, float]:
            value, counted = self._loss(self.splits.alphas, positions, mixture)
            seen.append(counted)
            return value, counted[1] / counted[2]

        def loss() -> Tensor:
            value = self.network.relaxation.architecture_loss(run)
            for guard in self.guards:
                if guard.penalty:
                    value = value + guard.penalty(self.network.relaxation, self._share)
            return value

        # Only these get gradients: cheaper than backward(), and nothing is left for the other step.
        gradients: Sequence[Tensor | None]
        if self.settings.order == 1:
            gradients = torch.autograd.grad(loss(), alphas, allow_unused=True)
        else:
            assert weight_positions is not None, "the second order steps on a batch of the weights part"
            gradients = unrolled_gradients(
                alphas,
                self.weight_optimiser.param_groups[0]["params"],
                weight_loss=lambda: self._loss(self.splits.weights, weight_positions)[0],
                alpha_loss=loss,
                rate=rate,
                optimiser=self.weight_optimiser,
            )
        for guard in self.guards:
            if guard.clip:
                guard.clip([gradient for gradient in gradients if gradient is not None])
        apply_gradients(self.alpha_optimiser, alphas, gradients)
        return seen[0]

    def weight_step(self, positions: Tensor, rate: float) -> tuple[float, float, float]:
        """Moves the weights by one batch of the weights part; the architecture gets no gradient.

        Args:
            positions: Of the images.
            rate: The learning rate.

        Returns:
            Sum of the losses, right answers, images.
        """
        for group in self.weight_optimiser.param_groups:
            group["lr"] = rate
        mixture = None
        for guard in self.guards:
            if guard.mix:
                relaxation = self.network.relaxation
                mixture = guard.mix(mixture or relaxation(), relaxation.ops, self._share, self._chance)
        weights: list[nn.Parameter] = self.weight_optimiser.param_groups[0]["params"]
        loss, counted = self._loss(self.splits.weights, positions, mixture)
        if math.isfinite(counted[0]):
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            shorten([g for g in gradients if g is not None], self.settings.gradient_clip)
            apply_gradients(self.weight_optimiser, weights, gradients)
        return counted

    def _loss(
        self, part: Part, positions: Tensor, mixture: Mixture | None = None
    ) -> tuple[Tensor, tuple[float, float, float]]:
        """The mean loss; and the sum of the losses, right answers, images."""
        labels = part.labels[positions]
        logits = self.network(self.splits.normalisation(part.batch(positions, self.resolution)), mixture)
        loss = nn.functional.cross_entropy(logits, labels)
        right = int((logits.detach().argmax(dim=1) == labels).sum())
        return loss, (float(loss.detach()) * len(positions), right, len(positions))

    def judge(self, mixture: Mixture | None, images: int = _JUDGED_IMAGES) -> float:
        """Accuracy of a mixture with the shared weights, on (at most so many images of) the alphas part.

        Batch normalisation takes the statistics of the images themselves, as those of the search are of no
        single subnet.

        Args:
            mixture: `Mixture.of` a genotype judges this; None the network as it stands.
            images: The first so many of the part.
        """
        part, right, n = self.splits.alphas, 0.0, min(len(self.splits.alphas), images)
        before = copy.deepcopy(list(self.network.buffers()))
        self.network.train()
        with torch.no_grad():
            for positions in torch.arange(n).tensor_split(max(1, round(n / 128))):
                right += self._loss(part, positions, mixture)[1][1]
            for buffer, old in zip(self.network.buffers(), before, strict=True):
                buffer.copy_(old)
        return right / n

    def result(self) -> SupernetResult:
        """What the search found: at its end, or where a guard went back to."""
        epochs, reason = self.stopped or (len(self.history), "")
        found = self.found[epochs - 1]
        events = [f"stopped after epoch {epochs}: {reason}"] if self.stopped else []
        method = find_method(self.settings.method)
        if method.derive:
            genotype = method.derive(self.network.relaxation, self.judge, self.space, self.seed)
            return SupernetResult(found, genotype, tuple(self.history), tuple(events))
        genotype = plain = likeliest_genotype(found, self.space)
        for guard in self.guards:
            if guard.derive:
                genotype = guard.derive(found, self.space, self.judge)
                if genotype != plain:
                    events.append(
                        f"{guard.name} changed the cells: {skips(genotype)} instead of {skips(plain)} skip "
                        "connections in the normal one"
                    )
        return SupernetResult(found, genotype, tuple(self.history), tuple(events))

    def _record(self, weights: list[float], alphas: list[float], started: float) -> None:
        found = self.network.relaxation.probabilities()
        genotype, moved = found.genotype(), alphas[2] > 0
        method = find_method(self.settings.method)
        gap = eigenvalue = None
        if method.mixes:
            cell = Mixture.of(genotype, self.network.relaxation.ops)
            gap = self.judge(None, _GAP_IMAGES) - self.judge(cell, _GAP_IMAGES)
            if any(guard.eigenvalue for guard in self.guards):
                eigenvalue = self._eigenvalue()
        self.history.append(
            EpochRecord(
                weights[0] / weights[2],
                weights[1] / weights[2],
                alphas[0] / alphas[2] if moved else None,
                alphas[1] / alphas[2] if moved else None,
                None if method.derive else skips(genotype) / sum(1 for _ in genotype.normal.edges()),
                mean_entropy(found),
                time.perf_counter() - started,
                gap,
                eigenvalue,
            )
        )
        self.found.append(found)
        for guard in self.guards:
            if guard.stop and not self.stopped and (end := guard.stop(self.history, self.found)):
                self.stopped = end

    def _eigenvalue(self) -> float:
        positions = torch.arange(min(len(self.splits.alphas), _SHARPNESS_IMAGES))
        return dominant_eigenvalue(
            lambda: self._loss(self.splits.alphas, positions)[0],
            list(self.network.relaxation.parameters()),
            torch.Generator().manual_seed(self.seed),
        )

    def state(self) -> dict[str, Any]:
        """All that changes from epoch to epoch; not a copy."""
        return {
            "network": self.network.state_dict(),
            "weight_optimiser": self.weight_optimiser.state_dict(),
            "alpha_optimiser": self.alpha_optimiser.state_dict() if self.alpha_optimiser else {},
            "history": [asdict(record) for record in self.history],
            "found": [one.to_json() for one in self.found],
            "stopped": None if self.stopped is None else list(self.stopped),
            "scale": self.scale,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state of this search."""
        self.network.load_state_dict(state["network"])
        self.weight_optimiser.load_state_dict(copy.deepcopy(state["weight_optimiser"]))
        if self.alpha_optimiser is not None:
            self.alpha_optimiser.load_state_dict(copy.deepcopy(state["alpha_optimiser"]))
        self.history = [EpochRecord(**record) for record in state["history"]]
        self.found = [Probabilities.from_json(one) for one in state["found"]]
        self.stopped = None if state["stopped"] is None else (state["stopped"][0], state["stopped"][1])
        self.scale = state["scale"]
