"""The search space: which cells, and which resolutions, depths and widths around them.

One generator, `SearchSpace.build`, states every choice by name. Sampling, an optimiser's suggestions,
decoding and neighbourhoods are that generator with different choosers, so they cannot disagree.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mobinas.arch.architecture import Architecture, CellBody, Stem, Task
from mobinas.arch.genotype import N_INPUTS, Cell, Edge, Genotype
from mobinas.arch.ops import op_set
from mobinas.errors import ArchitectureError, did_you_mean

Choice = int | str
CELL_NAMES = ("normal", "reduction")


class Chooser(Protocol):
    """Picks one of the options of a named choice."""

    def __call__(self, name: str, options: Sequence[Any], /) -> Any:
        """Returns one element of `options`."""
        ...


def look_up_in(choices: Mapping[str, Choice]) -> Chooser:
    """A chooser that takes what is chosen already; it raises ArchitectureError where that is no option."""

    def look_up(name: str, options: Sequence[Any], /) -> Any:
        if name not in choices:
            raise ArchitectureError(f"choice '{name}' is missing")
        if choices[name] not in options:
            raise ArchitectureError(f"choice '{name}' is {choices[name]!r}, not one of {list(options)}")
        return choices[name]

    return look_up


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """All cells with two edges from distinct inputs per node, times the macro space.

    Attributes:
        task: Channels in, classes out.
        resolutions: Input heights and widths in pixels.
        depths: Numbers of cells.
        widths: Channels of the first cells.
        op_sets: Sets of op names; with more than one, the set is searched too.
        nodes: Intermediate nodes per cell.
        stem: See `CellBody`.

    Raises:
        ArchitectureError: An empty or repeated choice, or one that no architecture can take.
    """

    task: Task
    resolutions: tuple[int, ...]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    op_sets: tuple[tuple[str, ...], ...]
    nodes: int = 4
    stem: Stem = "cifar"

    def __post_init__(self) -> None:
        for name in ("resolutions", "depths", "widths", "op_sets"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ArchitectureError(f"{name} is {list(values)}; it needs at least one value, each once")
        for ops in self.op_sets:
            op_set(ops)
        for resolution, depth, width in self.macros():
            self._architecture(self._any_genotype(), resolution, depth, width)

    def _any_genotype(self) -> Genotype:
        return self._genotype(lambda _name, options: options[0], self.op_sets[0], "")

    def _architecture(self, genotype: Genotype, resolution: int, depth: int, width: int) -> Architecture:
        return Architecture(CellBody(genotype, depth, width, self.stem), resolution, self.task)

    def macros(self) -> Iterator[tuple[int, int, int]]:
        """Yields every (resolution, depth, width)."""
        return itertools.product(self.resolutions, self.depths, self.widths)

    def middle_size(self) -> tuple[int, int, int]:
        """The median resolution, depth and width, the upper one of two."""
        return (
            sorted(self.resolutions)[len(self.resolutions) // 2],
            sorted(self.depths)[len(self.depths) // 2],
            sorted(self.widths)[len(self.widths) // 2],
        )

    def ops(self) -> tuple[str, ...]:
        """Real ops (without ``none``) of all sets, in a fixed order."""
        return tuple(dict.fromkeys(op for ops in self.op_sets for op in ops if op != "none"))

    def build(self, choose: Chooser) -> Architecture:
        """Makes one architecture, asking `choose` for every choice in a fixed order.

        Args:
            choose: Called as ``choose(name, options)``; must return one of the options.

        Returns:
            An architecture of this space.
        """
        resolution = choose("resolution", self.resolutions)
        depth = choose("depth", self.depths)
        width = choose("width", self.widths)
        chosen = choose("op_set", range(len(self.op_sets))) if len(self.op_sets) > 1 else 0
        suffix = f".set{chosen}" if len(self.op_sets) > 1 else ""
        genotype = self._genotype(choose, self.op_sets[chosen], suffix)
        return self._architecture(genotype, resolution, depth, width)

    def _genotype(self, choose: Chooser, ops: Sequence[str], suffix: str) -> Genotype:
        real = tuple(op for op in ops if op != "none")
        normal, reduction = (
            Cell(
                tuple(self._node(choose, real, f"{cell}.{number}", suffix) for number in self._numbers()),
                tuple(self._numbers()),
            )
            for cell in CELL_NAMES
        )
        return Genotype(normal, reduction)

    def _numbers(self) -> range:
        return range(N_INPUTS, N_INPUTS + self.nodes)

    def _node(self, choose: Chooser, ops: Sequence[str], where: str, suffix: str) -> tuple[Edge, ...]:
        number = int(where.rsplit(".", 1)[1])
        pairs = [f"{a},{b}" for a, b in itertools.combinations(range(number), 2)]
        sources = choose(f"{where}.sources", pairs).split(",")
        return tuple(
            Edge(int(source), choose(f"{where}.op{k}{suffix}", ops)) for k, source in enumerate(sources)
        )

    def sample(self, rng: random.Random) -> Architecture:
        """Draws uniformly over encodings."""
        return self.build(lambda _name, options: rng.choice(options))

    def contrasting(self, rng: random.Random, choose: Chooser | None = None) -> Chooser:
        """A chooser for one architecture whose ops are of one kind, of two, or of all.

        Of uniformly drawn cells nearly all mix all ops and are much alike; these differ as candidates do.

        Args:
            rng: Draws the kinds.
            choose: Chooses among what they leave; uniformly without.
        """
        few: list[str] = []

        def draw(ops: Sequence[str]) -> None:
            real = [op for op in ops if op != "none"]
            few[:] = rng.sample(real, min(rng.choice((1, 2, len(real))), len(real)))

        def chooser(name: str, options: Sequence[Any], /) -> Any:
            left = [option for option in options if option in few] or list(options)
            chosen = choose(name, left) if choose else rng.choice(left)
            if name == "op_set":
                draw(self.op_sets[chosen])
            return chosen

        draw(self.op_sets[0])
        return chooser

    def single_op_architectures(self) -> tuple[Architecture, ...]:
        """One per op: it alone on all edges, at the smallest size; the fastest of all is near one of them."""
        smallest = {"resolution": self.resolutions, "depth": self.depths, "width": self.widths}

        def of(op: str) -> Architecture:
            def choose(name: str, options: Sequence[Any], /) -> Any:
                if name in smallest:
                    return min(smallest[name])
                if name == "op_set":
                    return next(k for k in options if op in self.op_sets[k])
                return op if op in options else options[0]

            return self.build(choose)

        return tuple(of(op) for op in self.ops())

    def decode(self, choices: Mapping[str, Choice]) -> Architecture:
        """Builds the architecture that `encode` described.

        Raises:
            ArchitectureError: A choice is missing, or not an option.
        """
        return self.build(look_up_in(choices))

    def encode(self, architecture: Architecture) -> dict[str, Choice]:
        """The named choices that `decode` turns back into this architecture.

        Raises:
            ArchitectureError: The architecture does not lie in this space.
        """
        if not self.contains(architecture):
            raise ArchitectureError(f"{architecture.name} does not lie in this search space")
        body = architecture.cells
        choices: dict[str, Choice] = {
            "resolution": architecture.resolution,
            "depth": body.depth,
            "width": body.width,
        }
        suffix = ""
        if len(self.op_sets) > 1:
            choices["op_set"] = self._set_of(body.genotype)
            suffix = f".set{choices['op_set']}"
        for name, cell in zip(CELL_NAMES, (body.genotype.normal, body.genotype.reduction), strict=True):
            for number, edges in enumerate(cell.nodes, start=N_INPUTS):
                ordered = sorted(edges)
                choices[f"{name}.{number}.sources"] = ",".join(str(e.source) for e in ordered)
                for k, edge in enumerate(ordered):
                    choices[f"{name}.{number}.op{k}{suffix}"] = edge.op
        return choices

    def _set_of(self, genotype: Genotype) -> int:
        return next((i for i, ops in enumerate(self.op_sets) if genotype.ops() <= set(ops)), -1)

    def contains(self, architecture: Architecture) -> bool:
        """Whether the architecture (as written, not up to isomorphism) lies in this space."""
        body = architecture.body
        if not isinstance(body, CellBody):
            return False
        genotype = body.genotype
        macro = (architecture.resolution, body.depth, body.width)
        return (
            architecture.task == self.task
            and body.stem == self.stem
            and macro in set(self.macros())
            and self._set_of(genotype) >= 0
            and all(self._contains_cell(cell) for cell in (genotype.normal, genotype.reduction))
        )

    def _contains_cell(self, cell: Cell) -> bool:
        return cell.concat == tuple(self._numbers()) and all(
            len({edge.source for edge in edges}) == 2 == len(edges) for edges in cell.nodes
        )

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yields every architecture that differs in one choice (op sets are kept)."""
        choices = self.encode(architecture)
        options: dict[str, Sequence[Choice]] = {}

        def note(name: str, offered: Sequence[Any]) -> Any:
            options[name] = offered
            return choices[name]

        self.build(note)
        for name, offered in options.items():
            if name == "op_set":
                continue
            for option in offered:
                if option != choices[name]:
                    yield self.decode({**choices, name: option})

    def size(self) -> int:
        """Number of encodings; isomorphic architectures are counted apart."""
        pairs = math.prod(math.comb(number, 2) for number in self._numbers())
        cells: int = sum((pairs * len(set(ops) - {"none"}) ** (2 * self.nodes)) ** 2 for ops in self.op_sets)
        return cells * len(self.resolutions) * len(self.depths) * len(self.widths)

    def vector(self, architecture: Architecture) -> npt.NDArray[np.float64]:
        """One-hot features: macro choices, then each possible edge of both cells with its op.

        Returns:
            A vector of zeros and ones, of the same length for every architecture of the space.
        """
        body = architecture.cells
        macro: list[float] = []
        pairs = (
            (self.resolutions, architecture.resolution),
            (self.depths, body.depth),
            (self.widths, body.width),
        )
        for options, value in pairs:
            macro += [float(option == value) for option in options]
        ops = self.ops()
        slots = [(number, source) for number in self._numbers() for source in range(number)]
        cells = np.zeros((2, len(slots), len(ops)))
        for c, cell in enumerate((body.genotype.normal, body.genotype.reduction)):
            for number, edge in cell.edges():
                cells[c, slots.index((number, edge.source)), ops.index(edge.op)] = 1.0
        return np.concatenate([np.array(macro), cells.ravel()])


_Preset = Callable[[Task], SearchSpace]

PRESETS: dict[str, _Preset] = {
    "tiny": lambda task: SearchSpace(task, (8, 12, 16, 24, 32), (3, 4, 5), (2, 4, 8, 16), (op_set("darts"),)),
    "mobile": lambda task: SearchSpace(
        task, (224, 192, 160, 128), (3, 4, 5, 6), (32, 64, 96, 128), (op_set("darts"),), stem="imagenet"
    ),
}


def preset(name: str, task: Task) -> SearchSpace:
    """A named search space for a task.

    Raises:
        ArchitectureError: An unknown name.
    """
    if name not in PRESETS:
        raise ArchitectureError(f"unknown space '{name}'{did_you_mean(name, PRESETS)}")
    return PRESETS[name](task)
