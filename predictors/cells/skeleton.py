"""What a cell network consists of beside the edges of its cells: stem, links between cells, classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mobinas.arch.architecture import Architecture
from mobinas.arch.genotype import N_INPUTS
from mobinas.graph.layers import Graph, Node
from mobinas.graph.lowering import lower
from predictors.layout import Call, LayoutWalk

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CellInput:
    """A cell's input, as its preprocessing leaves it.

    Attributes:
        blocked: Whether in blocks.
        conv: The convolution that made it; none where two were concatenated.
    """

    blocked: bool
    conv: Call | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell stands; cells of equal places cost the same.

    Attributes:
        reduces: Whether edges from its inputs have stride 2.
        width: Channels of a node.
        size: Height and width of a node's values.
        inputs: The two.
    """

    reduces: bool
    width: int
    size: int
    inputs: tuple[CellInput, CellInput]

    def size_of(self, value: int) -> int:
        """Height and width of a value: of an input, or of a node."""
        return self.size * 2 if self.reduces and value < N_INPUTS else self.size


class Skeleton:
    """What a network costs beside its cells' edges.

    Attributes:
        fixed: Stem, and what reads it outside of cells: [width].
        places: Of its cells, in order.
        links: For each cell, what reads its output outside of cells (preprocessing, classifier), for a plain
            and for a blocked output: [width] each.
    """

    def __init__(
        self, architecture: Architecture, block: int, batch: int, add_up: Callable[[Sequence[Call]], Floats]
    ) -> None:
        graph = lower(architecture)
        cells = list(dict.fromkeys(_cell_of(node) for node in graph.nodes if _cell_of(node)))
        owner = _owners(graph)
        inputs: dict[str, CellInput] = {}

        def walked(source: int, *, blocked: bool) -> Floats:
            part, positions = _part(graph, owner, source)
            walk = LayoutWalk(part, block, batch, blocked_input=blocked)
            for name, position in positions.items():
                value = walk.values[position]
                inputs[name] = CellInput(value.blocked, walk.calls[value.conv] if value.conv >= 0 else None)
            return add_up(walk.made())

        self.fixed = walked(0, blocked=False)
        outputs = [_output_of(graph, cell) for cell in cells]
        self.links = [(walked(end, blocked=False), walked(end, blocked=block > 1)) for end in outputs]
        self.places = []
        for cell, end in zip(cells, outputs, strict=True):
            channels, size, _ = graph.nodes[end].shape
            width = channels // len(architecture.cells.genotype.normal.concat)
            reduces = cell.endswith("/reduce")
            pair = inputs[f"{cell}/pre0"], inputs[f"{cell}/pre1"]
            self.places.append(Place(reduces, width, size, pair))


def _cell_of(node: Node) -> str:
    stage, _, rest = node.name.partition("/")
    return f"{stage}/{rest.partition('/')[0]}" if stage.startswith("stage") else ""


def _inside(node: Node) -> bool:
    """Whether a node belongs to a cell proper, not to its preprocessing."""
    return bool(_cell_of(node)) and "/pre" not in node.name


def _owners(graph: Graph) -> list[int]:
    """For each node outside of cells, the cell output (or 0, the image) that it is computed from."""
    owner: list[int] = []
    for position, node in enumerate(graph.nodes):
        if _inside(node):
            owner.append(position)
        else:
            owner.append(owner[node.inputs[0]] if node.inputs else 0)
    return owner


def _output_of(graph: Graph, cell: str) -> int:
    return next(i for i, node in enumerate(graph.nodes) if node.name == f"{cell}/concat")


def _part(graph: Graph, owner: list[int], source: int) -> tuple[Graph, dict[str, int]]:
    """All that is computed from a source outside of cells, and where in it the inputs of cells are."""
    mine = [
        i for i, node in enumerate(graph.nodes) if i == source or (owner[i] == source and not _inside(node))
    ]
    place = {old: new for new, old in enumerate(mine)}
    nodes = [
        replace(graph.nodes[old], inputs=tuple(place[i] for i in graph.nodes[old].inputs))
        if new
        else replace(graph.nodes[old], inputs=(), layer=graph.nodes[0].layer)
        for new, old in enumerate(mine)
    ]
    readers = graph.readers()
    positions = {}
    for old, new in place.items():
        if "/pre" in graph.nodes[old].name and any(_inside(graph.nodes[i]) for i in readers.get(old, ())):
            cell, _, rest = graph.nodes[old].name.partition("/pre")
            positions[f"{cell}/pre{rest[0]}"] = new
    return Graph(tuple(nodes), (len(nodes) - 1,)), positions
