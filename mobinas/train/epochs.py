"""The loop over epochs that all trainings share: checkpoints, and one second chance at half the rate."""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from mobinas.errors import Diverged, TrainingError
from mobinas.memory import reused_memory
from mobinas.train.checkpoint import load_state, save_state
from mobinas.train.parallel import from_first, is_first


class Training(Protocol):
    """A training under way.

    Attributes:
        scale: Factor on its learning rates.
    """

    scale: float

    @property
    def epochs_done(self) -> int:
        """Whole epochs so far."""
        ...

    def epoch(self) -> bool:
        """Runs one epoch; False (and an unusable state) when something was not finite."""
        ...

    def state(self) -> dict[str, Any]:
        """All that changes from epoch to epoch, `scale` included; not a copy."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state of this training, of which it keeps no part."""
        ...


def run_epochs(
    training: Training,
    epochs: int,
    *,
    name: str,
    learning_rate: float,
    smaller: str,
    identity: Mapping[str, str],
    checkpoint: Path | None,
) -> None:
    """Runs a training to its end.

    An epoch that was not finite is taken back, once, and the learning rate halved.

    Args:
        training: Where it stands, or at its start.
        epochs: In all.
        name: What the error message calls it.
        learning_rate: What the error message advises to lower.
        smaller: What the error message advises to halve where memory is short.
        identity: A checkpoint must have the same.
        checkpoint: Written after each epoch; where it exists the training goes on from it.

    Raises:
        Diverged: The loss was not finite again.
        TrainingError: Memory ran out, or the checkpoint is of another training.
        RunFolderError: The checkpoint cannot be written.
    """
    if checkpoint is not None:
        # Read by one process, since it may still be writing what another call of this function left.
        state = from_first(lambda: load_state(checkpoint, identity))
        if state is not None:
            training.restore(state)
    while training.epochs_done < epochs:
        with enough_memory(name, smaller, checkpoint), reused_memory():
            good = copy.deepcopy(training.state())
            went_well = training.epoch()
        if went_well:
            if checkpoint is not None and is_first():
                save_state(checkpoint, identity, training.state())
        elif training.scale < 1:
            raise Diverged(
                f"{name}: the loss was not finite in epoch {training.epochs_done + 1}, also at half the "
                f"learning rate of {learning_rate:g}; set learning_rate to {learning_rate / 10:g} or less, "
                "and check the images"
            )
        else:
            training.restore(good)
            training.scale = 0.5


@contextlib.contextmanager
def enough_memory(name: str, smaller: str, checkpoint: Path | None = None) -> Iterator[None]:
    """Where memory runs out inside, the error is one line that says what to halve.

    Args:
        name: What the error message calls the training.
        smaller: What it advises to halve.
        checkpoint: Of the last whole epoch; it stays.

    Raises:
        TrainingError: A GPU or the CPU has no more memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # A GPU has an exception of its own; that of the CPU is known by its text alone.
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in str(
            error
        ):
            raise
        again = "; the same command goes on from the last checkpoint" if checkpoint is not None else ""
        raise TrainingError(f"{name} ran out of memory: halve {smaller}{again}") from error
