"""How a network is trained, as data."""

import math
from dataclasses import dataclass, field

from mobinas.errors import ConfigError
from mobinas.train.augment import Augment
from mobinas.train.optimisation import one_cycle


@dataclass(frozen=True, slots=True)
class Recipe:
    """A short training: Nesterov SGD under one cycle of the learning rate (https://arxiv.org/abs/1708.07120).

    Attributes:
        epochs: Passes over the images.
        batch_size: Images a step; batches of an epoch differ by at most one image.
        learning_rate: At the peak of the cycle.
        momentum: Of SGD.
        weight_decay: On weights of convolutions and linear layers alone.
        warmup: Share of the steps that lead up to the peak.
        max_gradient_norm: Longer gradients are cut to this length, as in DARTS; narrow cells diverge without.
        label_smoothing: See https://arxiv.org/abs/1512.00567.
        augment: What is done to the images.
    """

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.2
    max_gradient_norm: float = 5.0
    label_smoothing: float = 0.1
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        rules = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 2, "at least 2, since batch normalisation needs two"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "above 0"),
            ("momentum", 0 <= self.momentum < 1, "from 0 to below 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("warmup", 0 <= self.warmup < 1, "from 0 to below 1"),
            ("max_gradient_norm", self.max_gradient_norm > 0, "above 0"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be {rule}")

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of one step, from 0 to `steps` - 1, of the whole training."""
        return one_cycle(self.learning_rate, self.warmup, step, steps)
