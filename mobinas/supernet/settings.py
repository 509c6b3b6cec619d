"""How a one-shot search runs."""

import math
from dataclasses import dataclass

from mobinas.arch.space import SearchSpace
from mobinas.errors import ConfigError
from mobinas.supernet.guard import Guard
from mobinas.supernet.guards import find_guard
from mobinas.supernet.methods import find_method
from mobinas.supernet.relaxation import Method
from mobinas.supernet.stage import Stage

_HOOKS = {"derive": "cells", "stages": "stages"}


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
        alpha_weight_decay: Of Adam; by default the method's.
        warm_up_share: Share of the epochs in which the architecture rests; by default the method's.
        order: 2 for architecture gradients through a step of the weights (Liu et al., 2019, eq. 7), about
            three times the time of 1, which takes the weights as they are.
        guards: Keys in `GUARDS`; by default the method's.
        latency_weight: Exponent of the expected latency, see `LatencyTerm`; by default the method's.
        target_latency_s: Below which no saving counts; None for all savings.
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
    alpha_weight_decay: float | None = None
    warm_up_share: float | None = None
    order: int = 1
    guards: tuple[str, ...] | None = None
    latency_weight: float | None = None
    target_latency_s: float | None = None

    def __post_init__(self) -> None:
        method = find_method(self.method)
        if self.order not in (1, 2) or (self.order == 2 and (method.draws or not method.mixes)):
            takes = method.mixes and not method.draws
            raise ConfigError(
                f"order is {self.order}; it is 1, or 2 for methods whose edges mix all ops without a draw"
                f"{'' if takes else f', which {method.name} does not'}"
            )
        self._check_guards(method)
        if len(self.stages) > 1 and self.epochs < len(self.stages):
            raise ConfigError(
                f"epochs is {self.epochs}; a search in {len(self.stages)} stages needs at least as many"
            )
        for name in ("epochs", "batch_size", "learning_rate", "gradient_clip", "alpha_learning_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}; it must be above 0")
        if (self.latency_weight or 0) < 0:
            raise ConfigError(f"latency_weight is {self.latency_weight}; it must be 0 or above")
        if self.latency_weight and not method.learning_rate:
            raise ConfigError(
                f"latency_weight is {self.latency_weight}, but {method.name} learns nothing from it"
            )
        if self.batch_size < 2:
            raise ConfigError(f"batch_size is {self.batch_size}; batch normalisation needs at least 2")
        if self.warm_up_share is not None and not 0 <= self.warm_up_share < 1:
            raise ConfigError(f"warm_up_share is {self.warm_up_share}; it must be from 0 to below 1")

    def _check_guards(self, method: Method) -> None:
        guards = [find_guard(name) for name in self.guards or ()]
        for hook in ("derive", "stages"):
            both = [guard.name for guard in guards if getattr(guard, hook)]
            if len(both) > 1:
                raise ConfigError(
                    f"guards {' and '.join(both)} each set the {_HOOKS[hook]}; keep one of them"
                )
        for guard in guards:
            if guard.stages and len(method.stages) > 1:
                raise ConfigError(
                    f"guard '{guard.name}' sets the stages of a search, but {method.name} has its own; "
                    "leave it out"
                )
            if guard.stop and method.derive:
                raise ConfigError(
                    f"guard '{guard.name}' goes back to earlier probabilities, but {method.name} takes the "
                    "best of many cells at its end; leave it out"
                )
            if guard.derive and method.derive:
                raise ConfigError(
                    f"guard '{guard.name}' sets the cells, but {method.name} takes the best of many; "
                    "leave it out"
                )
            if guard.eigenvalue and method.draws:
                raise ConfigError(
                    f"guard '{guard.name}' needs a loss that two passes agree on, but {method.name} draws; "
                    "leave it out"
                )
            if guard.mixed_only and not method.mixes:
                raise ConfigError(
                    f"guard '{guard.name}' needs a method whose edges mix all ops, which {method.name} does "
                    "not; leave it out"
                )

    @property
    def latency_exponent(self) -> float:
        """`latency_weight`, or the method's."""
        return find_method(self.method).latency_weight if self.latency_weight is None else self.latency_weight

    @property
    def active_guards(self) -> tuple[Guard, ...]:
        """Those of `guards`, or the method's."""
        names = find_method(self.method).guards if self.guards is None else self.guards
        return tuple(map(find_guard, names))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Those of a guard that sets them, else the method's."""
        own = find_method(self.method).stages
        return next((guard.stages for guard in self.active_guards if guard.stages), own)


def network_size(space: SearchSpace, settings: MethodSettings) -> tuple[int, int, int]:
    """Resolution, depth and width of the search network in the first stage."""
    multiple = 2 * max(stage.partial for stage in settings.stages)
    depths = sorted(space.depths)
    depth = settings.depth or next((d for d in depths if d >= 3), depths[-1])
    widths = sorted(space.widths)
    width = settings.width or math.ceil(widths[(len(widths) - 1) // 2] / multiple) * multiple
    return settings.resolution or min(space.resolutions), depth, width
