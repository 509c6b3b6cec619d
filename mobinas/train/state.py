"""Everything that changes while a network is trained."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mobinas.train.checkpoint import load_state, save_state


class TrainingState:
    """Everything that changes while a network is trained.

    Attributes:
        optimiser: Of the network's parameters.
        epoch: Whole epochs done.
        losses: Of each epoch.
        accuracies: Of each epoch, on training images.
        seconds: Spent in them.
        scale: Factor on the learning rate.
    """

    def __init__(
        self, module: nn.Module, optimiser: torch.optim.Optimizer, identity: Mapping[str, str]
    ) -> None:
        """Starts before the first epoch.

        Args:
            module: The network.
            optimiser: Of its parameters.
            identity: Tells this training from others; a checkpoint of another one is refused.
        """
        self._module = module
        self._identity = identity
        self.optimiser = optimiser
        self.epoch = 0
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self.seconds = 0.0
        self.scale = 1.0

    def record(self, loss: float, accuracy: float, seconds: float) -> None:
        """Notes one more whole epoch."""
        self.epoch += 1
        self.losses.append(loss)
        self.accuracies.append(accuracy)
        self.seconds += seconds

    def snapshot(self) -> dict[str, Any]:
        """A copy of the state that later steps do not change."""
        return copy.deepcopy(self._state())

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a snapshot of this training."""
        self._module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self.epoch, self.seconds, self.scale = state["epoch"], state["seconds"], state["scale"]
        self.losses, self.accuracies = list(state["losses"]), list(state["accuracies"])

    def save(self, path: Path) -> None:
        """Writes the state in one step.

        Raises:
            RunFolderError: The file cannot be written.
        """
        save_state(path, self._identity, self._state())

    def load(self, path: Path) -> None:
        """Takes the state from a file; a missing or torn one leaves the training at its start.

        Raises:
            TrainingError: The file is of another training.
        """
        state = load_state(path, self._identity)
        if state is not None:
            self.restore(state)

    def _state(self) -> dict[str, Any]:
        return {
            "module": self._module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "losses": list(self.losses),
            "accuracies": list(self.accuracies),
            "seconds": self.seconds,
            "scale": self.scale,
        }
