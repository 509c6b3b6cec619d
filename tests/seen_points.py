"""What samplers see, made by hand, for the tests of several files."""

from typing import Any

import numpy as np

from mobinas.metrics.objective import Objective
from mobinas.search.choice_space import Choices
from mobinas.search.seen import Ints, Seen

AXES = (Objective("accuracy", "maximize"), Objective("latency_s", "minimize", "s"))
SIZES = (3, 2, 4, 3)


def seen_of(points: Any, losses: Any, violations: Any = None, metrics: tuple[str, ...] = ()) -> Seen:
    """Points of four choices, with losses, and violations of ``bound0``, ``bound1``, ..."""
    rows = np.array(points, dtype=np.int64)
    options: dict[str, tuple[Any, ...]] = {f"c{k}": tuple(range(size)) for k, size in enumerate(SIZES)}
    beyond = np.zeros((len(rows), 0)) if violations is None else np.array(violations, dtype=float)
    asked = frozenset(row.tobytes() for row in rows)
    bounds = tuple(f"bound{k}" for k in range(beyond.shape[1]))
    return Seen(options, rows, np.array(losses, dtype=float), beyond, asked, metrics, bounds=bounds)


def some_points(n: int, seed: int = 0) -> Ints:
    """Uniform draws."""
    return np.random.default_rng(seed).integers(0, SIZES, (n, len(SIZES)))


def conditional(choose: Any) -> Choices:
    """A choice that exists only beside another's option, and one that exists only beside that."""
    chosen: dict[str, Any] = {"kind": choose("kind", ("leaf", "branch", "tree"))}
    if chosen["kind"] != "leaf":
        chosen["depth"] = choose("depth", (1, 2, 3))
        if chosen["depth"] == 3:
            chosen["crown"] = choose("crown", ("a", "b"))
    chosen["size"] = choose("size", (1, 2, 3, 4))
    return Choices(chosen)


class Conditional:
    """A space of `conditional`."""

    def build(self, choose: Any) -> Choices:
        """Makes one."""
        return conditional(choose)

    def encode(self, candidate: Choices) -> dict[str, Any]:
        """Its choices."""
        return dict(candidate)
