"""Cells and genotypes: what a search over cells finds.

Nodes 0 and 1 of a cell are the outputs of the two previous cells (0 the older one). Node ``k >= 2`` sums its
edges; an edge applies one op to an earlier node. The cell's output concatenates some of the nodes.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from mobinas.arch.ops import OPS
from mobinas.errors import ArchitectureError, did_you_mean

N_INPUTS = 2


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """One op applied to one earlier node of the cell."""

    source: int
    op: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: for each intermediate node its edges, and the nodes that form the output.

    Attributes:
        nodes: ``nodes[k]`` are the edges into node ``k + 2``.
        concat: Node numbers whose values are concatenated, in this order.

    Raises:
        ArchitectureError: A rule is broken; the text names value and rule.
    """

    nodes: tuple[tuple[Edge, ...], ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise ArchitectureError("a cell needs at least one intermediate node")
        for number, edges in enumerate(self.nodes, start=N_INPUTS):
            if not edges:
                raise ArchitectureError(f"node {number} has no edge; every node needs at least one")
            for edge in edges:
                _check_edge(edge, number)
        known = range(N_INPUTS, N_INPUTS + len(self.nodes))
        if not self.concat or len(set(self.concat)) != len(self.concat):
            raise ArchitectureError(f"concat {list(self.concat)} must name at least one node, each once")
        for number in self.concat:
            if number not in known:
                raise ArchitectureError(f"concat names node {number}; nodes are {known[0]} to {known[-1]}")

    def edges(self) -> Iterable[tuple[int, Edge]]:
        """Yields (node number, edge) in order."""
        for number, edges in enumerate(self.nodes, start=N_INPUTS):
            for edge in edges:
                yield number, edge

    def live(self) -> frozenset[int]:
        """The nodes, inputs among them, that the output depends on."""
        live = set(self.concat)
        for number in reversed(range(N_INPUTS, N_INPUTS + len(self.nodes))):
            if number in live:
                live.update(edge.source for edge in self.nodes[number - N_INPUTS])
        return frozenset(live)

    def canonical(self) -> "Cell":
        """The one representative of all cells that differ only in names and order.

        Dead nodes (that no output depends on) are dropped, nodes renumbered, edges and concat sorted.
        """
        return _canonical(self)


def _check_edge(edge: Edge, number: int) -> None:
    if not 0 <= edge.source < number:
        raise ArchitectureError(f"node {number} reads node {edge.source}; it may read 0 to {number - 1}")
    if edge.op not in OPS:
        raise ArchitectureError(f"unknown op '{edge.op}' in a genotype{did_you_mean(edge.op, OPS)}")
    if edge.op == "none":
        raise ArchitectureError(f"node {number} has op 'none'; a genotype holds real ops only, drop the edge")


@lru_cache(maxsize=65536)
def _canonical(cell: Cell) -> Cell:
    # All topological renumberings are tried: tree hashes alone cannot tell a shared node from two equal ones.
    live = sorted(number for number in cell.live() if number >= N_INPUTS)
    best: tuple[Any, ...] | None = None
    for order in itertools.permutations(live):
        number_of = {0: 0, 1: 1} | {old: new for new, old in enumerate(order, start=N_INPUTS)}
        nodes = []
        for new, old in enumerate(order, start=N_INPUTS):
            edges = tuple(sorted((number_of[e.source], e.op) for e in cell.nodes[old - N_INPUTS]))
            if any(source >= new for source, _ in edges):
                break
            nodes.append(edges)
        else:
            form = (tuple(nodes), tuple(sorted(number_of[n] for n in cell.concat)))
            best = form if best is None or form < best else best
    assert best is not None, "the given order is itself topological"
    return Cell(tuple(tuple(Edge(s, op) for s, op in edges) for edges in best[0]), best[1])


@dataclass(frozen=True, slots=True)
class Genotype:
    """A normal and a reduction cell.

    Equality is literal; `digest` is shared by isomorphic genotypes.
    """

    normal: Cell
    reduction: Cell

    def canonical(self) -> "Genotype":
        """The representative of all isomorphic genotypes."""
        return Genotype(self.normal.canonical(), self.reduction.canonical())

    @property
    def digest(self) -> str:
        """64 hex digits, equal for isomorphic genotypes."""
        return digest_of(self.canonical().to_json())

    def ops(self) -> frozenset[str]:
        """The names of all ops used."""
        return frozenset(e.op for cell in (self.normal, self.reduction) for _, e in cell.edges())

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal genotype."""
        return {"normal": _cell_to_json(self.normal), "reduction": _cell_to_json(self.reduction)}

    @classmethod
    def from_json(cls, data: Any) -> "Genotype":
        """Reads what `to_json` wrote.

        Raises:
            ArchitectureError: The data are not of that form, or break a rule of cells.
        """
        if not isinstance(data, Mapping) or set(data) != {"normal", "reduction"}:
            text = "a genotype is an object with exactly the keys 'normal' and 'reduction'"
            if isinstance(data, Mapping) and ("stages" in data or "body" in data):
                text += "; these data are a network of stages" if "stages" in data else "; take its body's"
            raise ArchitectureError(text)
        return cls(_cell_from_json(data["normal"], "normal"), _cell_from_json(data["reduction"], "reduction"))

    @classmethod
    def load(cls, path: Path) -> "Genotype":
        """Reads a genotype from a JSON file.

        Raises:
            ArchitectureError: The file is missing, not JSON, or not a genotype.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ArchitectureError(f"cannot read genotype file {path}: {error.strerror}") from error
        except ValueError as error:
            raise ArchitectureError(f"genotype file {path} is not valid JSON: {error}") from error
        try:
            return cls.from_json(data)
        except ArchitectureError as error:
            raise ArchitectureError(f"genotype file {path}: {error}") from error


def _cell_to_json(cell: Cell) -> dict[str, Any]:
    return {
        "nodes": [[[edge.source, edge.op] for edge in edges] for edges in cell.nodes],
        "concat": list(cell.concat),
    }


def _cell_from_json(data: Any, where: str) -> Cell:
    wanted = f"cell '{where}' must be {{'nodes': [[[source, op], ...], ...], 'concat': [number, ...]}}"
    if not isinstance(data, Mapping) or set(data) != {"nodes", "concat"}:
        raise ArchitectureError(wanted)
    try:
        nodes = tuple(tuple(Edge(source, op) for source, op in edges) for edges in data["nodes"])
        concat = tuple(data["concat"])
    except (TypeError, ValueError):
        raise ArchitectureError(wanted) from None
    numbers = [edge.source for edges in nodes for edge in edges] + list(concat)
    if not all(type(n) is int for n in numbers) or not all(isinstance(e.op, str) for es in nodes for e in es):
        raise ArchitectureError(wanted)
    return Cell(nodes, concat)


def digest_of(data: Any) -> str:
    """SHA-256 of plain data in one fixed JSON spelling, as 64 hex digits."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@lru_cache(maxsize=1)
def _published() -> dict[str, Genotype]:
    text = resources.files("mobinas.arch").joinpath("published_genotypes.json").read_text(encoding="utf-8")
    return {name: Genotype.from_json(entry["genotype"]) for name, entry in json.loads(text).items()}


def published_names() -> tuple[str, ...]:
    """The names that `published` knows."""
    return tuple(_published())


def published(name: str) -> Genotype:
    """A cell from the literature, by its name there.

    The nine are NASNet, AmoebaNet, DARTS_V1, DARTS_V2, PC_DARTS_cifar, PC_DARTS_image, PDARTS,
    DrNAS_cifar10 and DrNAS_imagenet; `published_genotypes.json` names where each was published.

    Raises:
        ArchitectureError: An unknown name.
    """
    if name not in _published():
        raise ArchitectureError(f"unknown published genotype '{name}'{did_you_mean(name, _published())}")
    return _published()[name]
