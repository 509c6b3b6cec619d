"""What a guard against collapse is made of: hooks into a search, each of which may be missing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mobinas.arch.genotype import Genotype
from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace
from mobinas.supernet.history import EpochRecord
from mobinas.supernet.relaxation import Judge, Mixture, Relaxation, Tune
from mobinas.supernet.stage import Stage


@dataclass(frozen=True, slots=True)
class Guard:
    """A remedy against collapse, as chosen by name.

    All hooks that get `share` are told how far the stage is: 0 in its first epoch, 1 in its last.

    Attributes:
        name: Key in `GUARDS`.
        summary: One line for users.
        penalty: Added to the loss of architecture steps, from the relaxation and the share.
        clip: Changes the gradients of architecture steps in place.
        mix: Changes the weights of ops and edges in weight steps, from a mixture, its ops, the share and a
            generator.
        stop: After each epoch, from the records so far and the probabilities after each of them: None to go
            on, or the number of epochs whose end is the result, and why.
        derive: Finds the genotype, from the probabilities, the space, a judge of mixtures and a way to tune
            the weights to one.
        mixed_only: Whether it needs a method whose edges mix all ops.
        eigenvalue: Whether each epoch must record the dominant eigenvalue.
        stages: Take the place of the method's, which must have a single one.
    """

    name: str
    summary: str
    penalty: Callable[[Relaxation, float], Tensor] | None = None
    clip: Callable[[Sequence[Tensor]], None] | None = None
    mix: Callable[[Mixture, Sequence[str], float, torch.Generator], Mixture] | None = None
    stop: Callable[[Sequence[EpochRecord], Sequence[Probabilities]], tuple[int, str] | None] | None = None
    derive: Callable[[Probabilities, SearchSpace, Judge, Tune], Genotype] | None = None
    mixed_only: bool = False
    eigenvalue: bool = False
    stages: tuple[Stage, ...] = ()
