"""Kernel sums of many architectures at once, without lowering each.

What a cell costs follows from its edges by the rules of `predictors.layout`: who reads a value decides
whether a rectification or a sum moves into the convolution before it, and which reorderings appear. Here
these rules are evaluated with arrays over all architectures of equal macro choices, one operation of NumPy
for thousands of them, with tables for what ops, links between cells, stem and classifier consist of. A test
holds the sums equal to those of lowering each architecture.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mobinas.arch.architecture import Architecture, CellBody
from mobinas.arch.genotype import N_INPUTS, Cell, Edge, Genotype
from predictors.cells.rules import CellRules
from predictors.cells.skeleton import Place, Skeleton
from predictors.cells.tables import EDGES, OP_NAMES, Tables
from predictors.kernels import Kernel, kernel_of
from predictors.layout import Call

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
SumOf = Callable[[Sequence[Kernel]], Floats]

# So many networks of equal macro choices are lowered one by one in less time than arrays take to set up.
_FEW = 3
_INDEX = {op: i for i, op in enumerate(OP_NAMES)}
_NO_EDGES = np.zeros((2, 0, EDGES, 2), dtype=np.int64)


class CellSums:
    """Sums over the kernels of cell networks."""

    def __init__(self, block: int, batch: int, sum_of: SumOf, width: int) -> None:
        """Takes channels per block, images per inference, and what adds up kernels into [width]."""
        self._block = block
        self._batch = batch
        self._sum_of = sum_of
        self._width = width
        self._skeletons: dict[Architecture, Skeleton] = {}
        self._tables: dict[Place, Tables] = {}

    def of(self, architectures: Sequence[Architecture]) -> tuple[Floats, Bools]:
        """Sums for cells of two edges from distinct values per node and all nodes in the output, if many.

        Returns:
            [n, width], and [n] whether the row is filled.
        """
        sums = np.zeros((len(architectures), self._width))
        filled = np.zeros(len(architectures), dtype=np.bool_)
        groups: dict[tuple[object, ...], list[int]] = {}
        # The same cells come in many sizes; what they consist of is read once.
        read: dict[int, tuple[int, Ints]] = {}
        for i, a in enumerate(architectures):
            body = a.body
            if not isinstance(body, CellBody):
                continue
            own = id(body.genotype)
            if own not in read:
                read[own] = _read(body.genotype)
            nodes = read[own][0]
            if nodes:
                key = (
                    nodes,
                    a.resolution,
                    body.depth,
                    body.width,
                    body.stem,
                    a.task.classes,
                    a.task.in_channels,
                )
                groups.setdefault(key, []).append(i)
        for members in groups.values():
            if len(members) < _FEW:
                continue
            edges = np.stack([read[id(architectures[i].cells.genotype)][1] for i in members])
            good = np.array(members)
            distinct = (edges[..., 0, 0] != edges[..., 1, 0]).all(axis=(1, 2))
            if not distinct.all():
                good, edges = good[distinct], edges[distinct]
            if len(good):
                skeleton = self._skeleton(architectures[good[0]])
                sums[good] = self._network(skeleton, edges)
                filled[good] = True
        return sums, filled

    def _skeleton(self, architecture: Architecture) -> "Skeleton":
        genotype = architecture.cells.genotype
        plain = _plain_genotype(len(genotype.normal.nodes))
        key = replace(architecture, body=replace(architecture.cells, genotype=plain))
        if key not in self._skeletons:
            self._skeletons[key] = Skeleton(key, self._block, self._batch, self._add_up)
        return self._skeletons[key]

    def _add_up(self, calls: Sequence[Call]) -> Floats:
        return self._sum_of([kernel_of(call) for call in calls])

    def _network(self, skeleton: "Skeleton", edges: Ints) -> Floats:
        """Sums for [n, cells, nodes, 2, (source, op)] edges."""
        total = np.tile(skeleton.fixed, (len(edges), 1))
        known: dict[Place, tuple[Floats, Bools]] = {}
        for place, link in zip(skeleton.places, skeleton.links, strict=True):
            if place not in known:
                if place not in self._tables:
                    self._tables[place] = Tables(place, self._block, self._batch, self._add_up)
                cell = edges[:, int(place.reduces)]
                known[place] = CellRules(self._tables[place], cell[..., 0], cell[..., 1]).sums()
            inside, blocked = known[place]
            total += inside
            total += np.where(blocked[:, None], link[1], link[0])
        return total


def _regular(genotype: Genotype) -> int:
    """Nodes per cell of a genotype that the array rules cover, 0 for others."""
    nodes = len(genotype.normal.nodes)
    for cell in (genotype.normal, genotype.reduction):
        if len(cell.nodes) != nodes or nodes < EDGES or cell.concat != _all_nodes(nodes):
            return 0
        for edges in cell.nodes:
            if len(edges) != EDGES:
                return 0
        first = cell.nodes[0]
        if first[0].source == first[1].source:  # an input may be dead
            return 0
    return nodes


@lru_cache(maxsize=16)
def _all_nodes(nodes: int) -> tuple[int, ...]:
    return tuple(range(N_INPUTS, N_INPUTS + nodes))


@lru_cache(maxsize=16)
def _plain_genotype(nodes: int) -> Genotype:
    edges = tuple(Edge(source, "max_pool_3x3") for source in range(N_INPUTS))
    cell = Cell((edges,) * nodes, _all_nodes(nodes))
    return Genotype(cell, cell)


def _read(genotype: Genotype) -> tuple[int, Ints]:
    """Nodes per cell as `_regular` counts them, and [(normal, reduction), nodes, 2, (source, op)]."""
    nodes = _regular(genotype)
    if not nodes:
        return 0, _NO_EDGES
    numbers = [
        number
        for cell in (genotype.normal, genotype.reduction)
        for node in cell.nodes
        for edge in node
        for number in (edge.source, _INDEX[edge.op])
    ]
    return nodes, np.array(numbers, dtype=np.int64).reshape(2, nodes, EDGES, 2)
