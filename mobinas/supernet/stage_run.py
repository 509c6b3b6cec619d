"""One stage of a bilevel search: its network, optimisers and schedules."""

import copy
from dataclasses import dataclass
from typing import Any

import torch

from mobinas.arch.space import SearchSpace
from mobinas.supernet.methods import find_method
from mobinas.supernet.network import SearchNetwork
from mobinas.supernet.relaxation import Relaxation
from mobinas.supernet.settings import MethodSettings, network_size
from mobinas.supernet.stage import stage_starts
from mobinas.supernet.widening import widen
from mobinas.train.optimisation import half_cosine
from mobinas.train.splits import Part

# Liu et al.: 0.025 at batch 64; Xu et al.: 0.1 at batch 256. Both are this rate per image.
_LEARNING_RATE_PER_IMAGE = 0.025 / 64
# Steps of the published searches (50 epochs of 25,000 images at batch 64). Adam moves a parameter by about
# its learning rate each step, so a search of fewer steps takes longer ones to get as far, up to the bound.
_PUBLISHED_STEPS = 50 * 390
_MAX_ALPHA_LEARNING_RATE = 1e-2


@dataclass(slots=True)
class StageRun:
    """One stage under way.

    Attributes:
        number: Its position among the stages.
        first_epoch: Of the search, that it begins with.
        epochs: How many it has.
        warm_up_epochs: The first of them, in which the architecture rests.
        steps: Of an epoch.
        resolution: Pixels of its input along one axis.
        network: The search network.
        learning_rate: Of the weights, at the start.
        learning_rate_end: Of the weights, at the end.
        alpha_learning_rate: Of the architecture parameters.
        weight_optimiser: SGD on all parameters but the architecture's.
        alpha_optimiser: Adam on the architecture's; None where the method has none.
    """

    number: int
    first_epoch: int
    epochs: int
    warm_up_epochs: int
    steps: int
    resolution: int
    network: SearchNetwork
    learning_rate: float
    learning_rate_end: float
    alpha_learning_rate: float
    weight_optimiser: torch.optim.SGD
    alpha_optimiser: torch.optim.Adam | None

    @classmethod
    def begin(
        cls,
        number: int,
        space: SearchSpace,
        settings: MethodSettings,
        relaxation: Relaxation,
        *,
        part: Part,
        seed: int,
        before: SearchNetwork | None = None,
    ) -> "StageRun":
        """Builds the stage's network and optimisers.

        Args:
            number: Position among the stages.
            space: Gives ops, nodes, stem and task.
            settings: How the search runs.
            relaxation: The search's, taken along from stage to stage.
            part: Trains the weights; the network lies on the same device.
            seed: Draws initial weights, the same for every device.
            before: The network of the stage before; unless the stage starts anew, its weights are taken over.
        """
        method, stage = find_method(settings.method), settings.stages[number]
        bounds = (*stage_starts(settings.epochs, len(settings.stages)), settings.epochs)
        epochs = bounds[number + 1] - bounds[number]
        resolution, shallow, width = network_size(space, settings)
        network = SearchNetwork(
            space,
            relaxation,
            resolution=resolution,
            depth=stage.depth(shallow, max(space.depths)),
            width=width,
            seed=seed + number,
            partial=stage.partial,
        ).to(part.images.device)
        if before is not None and not stage.anew:
            widen(before, network)
        share = method.warm_up_share if settings.warm_up_share is None else settings.warm_up_share
        warm_up_epochs = min(round(share * epochs), epochs - 1)
        steps = max(1, round(len(part) / settings.batch_size))
        rate = settings.learning_rate or _LEARNING_RATE_PER_IMAGE * settings.batch_size
        alpha_rate = _alpha_rate(settings, steps * (epochs - warm_up_epochs) * len(settings.stages))
        weights = list(network.weight_parameters())
        return cls(
            number,
            bounds[number],
            epochs,
            warm_up_epochs,
            steps,
            resolution,
            network,
            rate,
            settings.learning_rate_end,
            alpha_rate,
            torch.optim.SGD(weights, rate, settings.momentum, weight_decay=settings.weight_decay),
            _alpha_optimiser(settings, relaxation, alpha_rate),
        )

    def share(self, epoch: int) -> float:
        """How far the stage is: 0 in its first epoch, 1 in its last."""
        return (epoch - self.first_epoch) / max(self.epochs - 1, 1)

    def moves(self, epoch: int) -> bool:
        """Whether the architecture parameters move in an epoch of the search."""
        return epoch >= self.first_epoch + self.warm_up_epochs and self.alpha_optimiser is not None

    def rate(self, epoch: int, step: int) -> float:
        """Learning rate of the weights in one step of an epoch of the search."""
        done = (epoch - self.first_epoch) * self.steps + step
        return half_cosine(self.learning_rate, self.learning_rate_end, done, self.steps * self.epochs)

    def state(self) -> dict[str, Any]:
        """All that changes from epoch to epoch; not a copy."""
        return {
            "network": self.network.state_dict(),
            "weight_optimiser": self.weight_optimiser.state_dict(),
            "alpha_optimiser": self.alpha_optimiser.state_dict() if self.alpha_optimiser else {},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state of this stage."""
        self.network.load_state_dict(state["network"])
        self.weight_optimiser.load_state_dict(copy.deepcopy(state["weight_optimiser"]))
        if self.alpha_optimiser is not None:
            self.alpha_optimiser.load_state_dict(copy.deepcopy(state["alpha_optimiser"]))


def _alpha_rate(settings: MethodSettings, moving_steps: int) -> float:
    travelled = find_method(settings.method).learning_rate * max(1.0, _PUBLISHED_STEPS / max(1, moving_steps))
    return settings.alpha_learning_rate or min(travelled, _MAX_ALPHA_LEARNING_RATE)


def _alpha_optimiser(
    settings: MethodSettings, relaxation: Relaxation, rate: float
) -> torch.optim.Adam | None:
    alphas, method = list(relaxation.parameters()), find_method(settings.method)
    decay = method.weight_decay if settings.alpha_weight_decay is None else settings.alpha_weight_decay
    return torch.optim.Adam(alphas, rate, (method.momentum, 0.999), weight_decay=decay) if alphas else None
