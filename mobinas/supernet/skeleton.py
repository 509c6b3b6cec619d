"""What surrounds the cells of a search network: stem, preprocessing and head, cut out of the one lowering.

A template architecture, whose cells hold nothing but poolings, is lowered; the parts between its cells are
taken as graphs of their own. So the search network is wired as the networks that come out of it are.
"""

from dataclasses import dataclass, replace

from mobinas.arch.architecture import Architecture, CellBody
from mobinas.arch.genotype import N_INPUTS, Cell, Edge, Genotype
from mobinas.arch.space import SearchSpace
from mobinas.graph.layers import BatchNorm2d, Graph, Input, Node, Shape
from mobinas.graph.lowering import lower

_TEMPLATE_OP = "max_pool_3x3"


@dataclass(frozen=True, slots=True)
class CellSite:
    """Where a cell belongs.

    Attributes:
        name: Of the cell, as in the lowering.
        reduces: Whether it is a reduction cell.
        sources: Keys of the two values that the preprocessing reads (older first).
        preprocessing: One graph for each of them; its batch normalisation has no parameters.
        shape: (channels, height, width) of the cell's two inputs.
        key: Key of the cell's output.
    """

    name: str
    reduces: bool
    sources: tuple[int, int]
    preprocessing: tuple[Graph, Graph]
    shape: Shape
    key: int


@dataclass(frozen=True, slots=True)
class Skeleton:
    """All of a network except the inside of its cells.

    Attributes:
        stem: From the image to the values with the keys `stem_keys`.
        stem_keys: Keys of the stem's outputs.
        cells: In order.
        head: From the last cell's output to the logits.
    """

    stem: Graph
    stem_keys: tuple[int, ...]
    cells: tuple[CellSite, ...]
    head: Graph


def skeleton(space: SearchSpace, *, resolution: int, depth: int, width: int) -> Skeleton:
    """The surroundings of the cells, for networks of this size.

    Args:
        space: Gives task, stem and the number of nodes per cell.
        resolution: Pixels of the input along one axis.
        depth: Number of cells.
        width: Channels of a node in the first cells.
    """
    numbers = tuple(range(N_INPUTS, N_INPUTS + space.nodes))
    cell = Cell(tuple((Edge(0, _TEMPLATE_OP), Edge(1, _TEMPLATE_OP)) for _ in numbers), numbers)
    body = CellBody(Genotype(cell, cell), depth, width, space.stem)
    graph = lower(Architecture(body, resolution, space.task))
    place = {node.name: position for position, node in enumerate(graph.nodes)}
    # A cell of a single node has no concatenation.
    end = "/concat" if space.nodes > 1 else "/node2/sum"
    outputs = [p for p, n in enumerate(graph.nodes) if n.name.endswith(end) and "/pre" not in n.name]
    sites = []
    for index, key in enumerate(outputs):
        name = graph.nodes[key].name.removesuffix(end)
        pools = [place[f"{name}/node2/{source}:{_TEMPLATE_OP}/0"] for source in range(N_INPUTS)]
        inputs = [graph.nodes[pool].inputs[0] for pool in pools]
        roots = [_root(graph, position) for position in inputs]
        preprocessing = [_cut(graph, root, (p,), affine=False) for root, p in zip(roots, inputs, strict=True)]
        sites.append(
            CellSite(
                name,
                index in body.reductions,
                (roots[0], roots[1]),
                (preprocessing[0], preprocessing[1]),
                graph.nodes[inputs[0]].shape,
                key,
            )
        )
    stem_keys = tuple(sorted({s for site in sites for s in site.sources} - set(outputs)))
    stem = _cut(graph, 0, stem_keys)
    return Skeleton(stem, stem_keys, tuple(sites), _cut(graph, outputs[-1], graph.outputs))


def _root(graph: Graph, position: int) -> int:
    while "/pre" in graph.nodes[position].name:
        position = graph.nodes[position].inputs[0]
    return position


def _cut(graph: Graph, root: int, outputs: tuple[int, ...], *, affine: bool = True) -> Graph:
    """The part of a graph between one node, which becomes the input, and its outputs."""
    live = set(outputs)
    for position in reversed(range(root + 1, max(outputs) + 1)):
        if position in live:
            live.update(graph.nodes[position].inputs)
    order = [root, *sorted(p for p in live if p > root)]
    new = {old: position for position, old in enumerate(order)}
    start = graph.nodes[root]
    nodes = [Node("input", Input(), (), start.shape, start.segments)]
    for old in order[1:]:
        node = graph.nodes[old]
        layer = node.layer
        if isinstance(layer, BatchNorm2d):
            layer = replace(layer, affine=affine)
        nodes.append(replace(node, layer=layer, inputs=tuple(new[i] for i in node.inputs)))
    return Graph(tuple(nodes), tuple(new[i] for i in outputs))
