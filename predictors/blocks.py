"""Kernel features of many architectures at once, without lowering each.

A cell network is a skeleton (stem, preprocessing, concatenations, classifier), which only the macro choices
decide, plus for each cell a count of parts: bodies of ops, and layers without parameters, which edges share.
Features are additive, so counts times tables of features give exactly what lowering the architecture gives,
about a hundred times faster; a test holds the two equal. What an op consists of is asked from the lowering.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mobinas.arch.architecture import CELL_STRIDE, Architecture
from mobinas.arch.genotype import N_INPUTS, Cell, Edge, Genotype
from mobinas.arch.ops import OPS
from mobinas.graph.layers import BatchNorm2d, Conv2d, Graph, Linear
from mobinas.graph.lowering import lower, lower_op
from predictors.kernels import FEATURE_NAMES, Kernel, feature_vector, kernels_of, kernels_of_node

Floats = npt.NDArray[np.float64]
_ANY_SHAPE = (8, 16, 16)


def architecture_features(architectures: Sequence[Architecture]) -> Floats:
    """Features of each architecture, as `feature_vector(kernels_of(lower(a)))` would give them.

    Args:
        architectures: Any; equal macro choices share tables.

    Returns:
        [n, len(FEATURE_NAMES)].
    """
    features = np.empty((len(architectures), len(FEATURE_NAMES)))
    groups: dict[Architecture, list[int]] = {}
    for i, architecture in enumerate(architectures):
        genotype = architecture.body.genotype
        if _is_regular(genotype.normal) and _is_regular(genotype.reduction):
            groups.setdefault(_skeleton_of(architecture), []).append(i)
        else:
            features[i] = _lowered_features(architecture)
    for skeleton, members in groups.items():
        base, normal_table, reduction_table = _tables(skeleton)
        cells = [architectures[i].body.genotype for i in members]
        normal = np.stack([_counts(genotype.normal, 1) for genotype in cells])
        reduction = np.stack([_counts(genotype.reduction, 2) for genotype in cells])
        features[members] = base + normal @ normal_table + reduction @ reduction_table
    return features


def _lowered_features(architecture: Architecture) -> Floats:
    return feature_vector(kernels_of(lower(architecture)))


@lru_cache(maxsize=65536)
def _is_regular(cell: Cell) -> bool:
    """Whether both inputs and all nodes live, and the output is a concatenation of its own."""
    return len(cell.concat) > 1 and len(cell.live()) == N_INPUTS + len(cell.nodes)


def _skeleton_of(architecture: Architecture) -> Architecture:
    genotype = architecture.body.genotype
    plain = Genotype(_plain_cell(len(genotype.normal.concat)), _plain_cell(len(genotype.reduction.concat)))
    return replace(architecture, body=replace(architecture.body, genotype=plain))


@lru_cache(maxsize=64)
def _plain_cell(outputs: int) -> Cell:
    edges = tuple(Edge(source, "max_pool_3x3") for source in range(N_INPUTS))
    numbers = tuple(range(N_INPUTS, N_INPUTS + outputs))
    return Cell((edges,) * outputs, numbers)


@lru_cache(maxsize=1024)
def _tables(skeleton: Architecture) -> tuple[Floats, Floats, Floats]:
    """What the skeleton costs without its cells' edges, and the sums of tables over both kinds of cells."""
    body = skeleton.body
    normal = np.zeros((len(_PARTS), len(FEATURE_NAMES)))
    reduction = np.zeros_like(normal)
    width = body.width
    size = skeleton.resolution * CELL_STRIDE // body.stride
    for index in range(body.depth):
        if index in body.reductions:
            width, size = width * 2, size // 2
            reduction += _table(width, size)
        else:
            normal += _table(width, size)
    genotype = body.genotype
    inner = _counts(genotype.normal, 1) @ normal + _counts(genotype.reduction, 2) @ reduction
    return _lowered_features(skeleton) - inner, normal, reduction


@dataclass(frozen=True, slots=True)
class _Part:
    """What cells are counted in: the body of an op, a shared chain of layers behind an edge's source, a sum.

    Attributes:
        op: An op that holds the part; empty for a sum.
        stride: Of the edge.
        nodes: Positions of the part's nodes in the op's own graph.
    """

    op: str
    stride: int
    nodes: tuple[int, ...]

    def features(self, width: int, size: int) -> Floats:
        """Features in a cell of so many channels whose output is so many pixels high and wide."""
        if not self.op:
            return feature_vector([Kernel("add", width * size**2, 3 * 4 * width * size**2)])
        graph = _op_graph(self.op, self.stride, (width, size * self.stride, size * self.stride))
        return feature_vector(k for i in self.nodes for k in kernels_of_node(graph, graph.nodes[i]))


@lru_cache(maxsize=4096)
def _op_graph(op: str, stride: int, shape: tuple[int, int, int]) -> Graph:
    return lower_op(op, shape, stride=stride)


@dataclass(frozen=True, slots=True)
class _OpParts:
    """An op's parts, as indices.

    Attributes:
        shared: Ends of the chains of layers without parameters that start at the input.
        body: What holds the rest; -1 if there is none.
        result: The end of the chain that the op's result is; -1 if it has a body, -2 if it changes nothing.
    """

    shared: tuple[int, ...]
    body: int
    result: int


_IDENTITY = -2


def _split(op: str, stride: int, parts: list[_Part], chain_parts: dict[Hashable, int]) -> _OpParts:
    graph = _op_graph(op, stride, _ANY_SHAPE)
    chains: dict[int, tuple[Hashable, ...]] = {0: ()}
    shared: list[int] = []
    body: list[int] = []
    for position, node in enumerate(graph.nodes[1:], start=1):
        own = isinstance(node.layer, Conv2d | BatchNorm2d | Linear)
        if own or len(node.inputs) != 1 or node.inputs[0] not in chains:
            body.append(position)
            continue
        chains[position] = (*chains[node.inputs[0]], node.layer)
        key = (stride, chains[position])
        if key not in chain_parts:
            chain_parts[key] = len(parts)
            parts.append(_Part(op, stride, (position,)))
        shared.append(chain_parts[key])
    if body:
        parts.append(_Part(op, stride, tuple(body)))
        return _OpParts(tuple(shared), len(parts) - 1, -1)
    return _OpParts(tuple(shared), -1, shared[-1] if shared else _IDENTITY)


def _all_parts() -> tuple[list[_Part], dict[tuple[str, int], _OpParts]]:
    parts = [_Part("", 1, ())]
    chain_parts: dict[Hashable, int] = {}
    real = [op for op in OPS if op != "none"]
    ops = {(op, stride): _split(op, stride, parts, chain_parts) for op in real for stride in (1, 2)}
    return parts, ops


_PARTS, _OPS = _all_parts()
_SUM = 0


@lru_cache(maxsize=4096)
def _table(width: int, size: int) -> Floats:
    return np.stack([part.features(width, size) for part in _PARTS])


@lru_cache(maxsize=65536)
def _counts(cell: Cell, stride: int) -> Floats:
    """How often each part occurs in a cell; `stride` is that of edges from the cell's inputs."""
    values: list[Hashable] = list(range(N_INPUTS))
    seen: set[Hashable] = set()
    counts: Counter[int] = Counter()
    for number, edges in enumerate(cell.nodes, start=N_INPUTS):
        results: list[Hashable] = []
        for place, edge in enumerate(edges):
            source = values[edge.source]
            op = _OPS[edge.op, stride if edge.source < N_INPUTS else 1]
            for part in op.shared:
                if (source, part) not in seen:
                    seen.add((source, part))
                    counts[part] += 1
            if op.body >= 0:
                counts[op.body] += 1
                results.append(("own", number, place))
            else:
                results.append(source if op.result == _IDENTITY else (source, op.result))
        value = results[0] if len(results) == 1 else tuple(results)
        if len(results) > 1 and ("sum", value) not in seen:
            seen.add(("sum", value))
            counts[_SUM] += len(results) - 1
        values.append(value)
    vector = np.zeros(len(_PARTS))
    vector[list(counts)] = list(counts.values())
    return vector
