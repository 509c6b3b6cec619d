"""Kernel sums of many architectures at once, without lowering each.

What a cell costs follows from its edges by the rules of `predictors.layout`: who reads a value decides
whether a rectification or a sum moves into the convolution before it, and which reorderings appear. Here
these rules are evaluated with arrays over all architectures of equal macro choices, one operation of NumPy
for thousands of them, with tables for what ops, links between cells, stem and classifier consist of. A test
holds the sums equal to those of lowering each architecture.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mobinas.arch.architecture import Architecture
from mobinas.arch.genotype import N_INPUTS, Cell, Edge, Genotype
from mobinas.arch.ops import OPS
from mobinas.graph.layers import Crop, Graph, Node, Pool2d, ReLU
from mobinas.graph.lowering import lower, lower_op
from predictors.kernels import Kernel, kernel_of
from predictors.layout import Call, LayoutWalk

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.int16]
Bools = npt.NDArray[np.bool_]
SumOf = Callable[[Sequence[Kernel]], Floats]

_EDGES = 2
# So many networks of equal macro choices are lowered one by one in less time than arrays take to set up.
_FEW = 3
_OPS = tuple(op for op in OPS if op != "none")
_INDEX = {op: i for i, op in enumerate(_OPS)}
_POOLS = ("max", "avg")
# Facts about an op on an edge, to be combined over edges by `or`.
_RECTIFIES, _NEEDS_BLOCKED, _NEEDS_PLAIN, _CROPS = 1, 2, 4, 8
_IDENTITY, _BODY, _BLOCKED, _FUSABLE = 16, 32, 64, 128
_POOLED = (256, 512)


@dataclass(frozen=True, slots=True)
class _Input:
    """A cell's input, as its preprocessing leaves it.

    Attributes:
        blocked: Whether in blocks.
        conv: The convolution that made it; none where two were concatenated.
    """

    blocked: bool
    conv: Call | None


@dataclass(frozen=True, slots=True)
class _Place:
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
    inputs: tuple[_Input, _Input]

    def size_of(self, value: int) -> int:
        """Height and width of a value: of an input, or of a node."""
        return self.size * 2 if self.reduces and value < N_INPUTS else self.size


class CellSums:
    """Sums over the kernels of cell networks."""

    def __init__(self, block: int, batch: int, sum_of: SumOf, width: int) -> None:
        """Takes channels per block, images per inference, and what adds up kernels into [width]."""
        self._block = block
        self._batch = batch
        self._sum_of = sum_of
        self._width = width
        self._skeletons: dict[Architecture, _Skeleton] = {}
        self._tables: dict[_Place, _Tables] = {}

    def of(self, architectures: Sequence[Architecture]) -> tuple[Floats, Bools]:
        """Sums for cells of two edges from distinct values per node and all nodes in the output, if many.

        Returns:
            [n, width], and [n] whether the row is filled.
        """
        sums = np.zeros((len(architectures), self._width))
        filled = np.zeros(len(architectures), dtype=np.bool_)
        groups: dict[tuple[object, ...], list[int]] = {}
        for i, a in enumerate(architectures):
            body = a.body
            nodes = _regular(body.genotype)
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
            genotypes = [architectures[i].body.genotype for i in members]
            edges = _edges(genotypes)
            good = np.array(members)
            distinct = (edges[..., 0, 0] != edges[..., 1, 0]).all(axis=(1, 2))
            if not distinct.all():
                good, edges = good[distinct], edges[distinct]
            if len(good):
                skeleton = self._skeleton(architectures[good[0]])
                sums[good] = self._network(skeleton, edges)
                filled[good] = True
        return sums, filled

    def _skeleton(self, architecture: Architecture) -> "_Skeleton":
        genotype = architecture.body.genotype
        plain = _plain_genotype(len(genotype.normal.nodes))
        key = replace(architecture, body=replace(architecture.body, genotype=plain))
        if key not in self._skeletons:
            self._skeletons[key] = _Skeleton(key, self._block, self._batch, self._add_up)
        return self._skeletons[key]

    def _add_up(self, calls: Sequence[Call]) -> Floats:
        return self._sum_of([kernel_of(call) for call in calls])

    def _network(self, skeleton: "_Skeleton", edges: Ints) -> Floats:
        """Sums for [n, cells, nodes, 2, (source, op)] edges."""
        total = np.tile(skeleton.fixed, (len(edges), 1))
        known: dict[_Place, tuple[Floats, Bools]] = {}
        for place, link in zip(skeleton.places, skeleton.links, strict=True):
            if place not in known:
                if place not in self._tables:
                    self._tables[place] = _Tables(place, self._block, self._batch, self._add_up)
                cell = edges[:, int(place.reduces)]
                known[place] = _CellRules(self._tables[place], cell[..., 0], cell[..., 1]).sums()
            inside, blocked = known[place]
            total += inside
            total += np.where(blocked[:, None], link[1], link[0])
        return total


def _regular(genotype: Genotype) -> int:
    """Nodes per cell of a genotype that the array rules cover, 0 for others."""
    nodes = len(genotype.normal.nodes)
    for cell in (genotype.normal, genotype.reduction):
        if len(cell.nodes) != nodes or nodes < _EDGES or cell.concat != _all_nodes(nodes):
            return 0
        for edges in cell.nodes:
            if len(edges) != _EDGES:
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


def _edges(genotypes: Sequence[Genotype]) -> Ints:
    """[n, (normal, reduction), nodes, 2, (source, op)]."""
    index = _INDEX
    numbers = [
        number
        for genotype in genotypes
        for cell in (genotype.normal, genotype.reduction)
        for node in cell.nodes
        for edge in node
        for number in (edge.source, index[edge.op])
    ]
    nodes = len(genotypes[0].normal.nodes)
    return np.array(numbers, dtype=np.int64).reshape(len(genotypes), 2, nodes, _EDGES, 2)


class _Skeleton:
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
        inputs: dict[str, _Input] = {}

        def walked(source: int, *, blocked: bool) -> Floats:
            part, positions = _part(graph, owner, source)
            walk = LayoutWalk(part, block, batch, blocked_input=blocked)
            for name, position in positions.items():
                value = walk.values[position]
                inputs[name] = _Input(value.blocked, walk.calls[value.conv] if value.conv >= 0 else None)
            return add_up(walk.made())

        self.fixed = walked(0, blocked=False)
        outputs = [_output_of(graph, cell) for cell in cells]
        self.links = [(walked(end, blocked=False), walked(end, blocked=block > 1)) for end in outputs]
        self.places = []
        for cell, end in zip(cells, outputs, strict=True):
            channels, size, _ = graph.nodes[end].shape
            width = channels // len(architecture.body.genotype.normal.concat)
            reduces = cell.endswith("/reduce")
            pair = inputs[f"{cell}/pre0"], inputs[f"{cell}/pre1"]
            self.places.append(_Place(reduces, width, size, pair))


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


@dataclass(frozen=True, slots=True)
class _OpFacts:
    """An op on an edge, beyond what edges share.

    Attributes:
        rectifies: Whether it begins with a rectification of its source, which edges share.
        needs_blocked: Whether it then reads that in blocks.
        needs_plain: Or in the plain layout.
        crops: Whether it also reads a cropped copy, which edges share.
        pool: Index into the kinds of pooling; -1 for other ops.
        body: Calls of its own.
        blocked: Whether its result is in blocks.
        last: The convolution that gives the result, where one does.
    """

    rectifies: bool
    needs_blocked: bool
    needs_plain: bool
    crops: bool
    pool: int
    body: tuple[Call, ...]
    blocked: bool
    last: Call | None

    def bits(self) -> int:
        """What the array rules ask, as one number."""
        identity = not self.body and self.pool < 0
        bits = _IDENTITY * identity | _BODY * bool(self.body) | _BLOCKED * self.blocked
        bits |= _RECTIFIES * self.rectifies | _CROPS * self.crops
        bits |= _NEEDS_BLOCKED * self.needs_blocked | _NEEDS_PLAIN * self.needs_plain
        bits |= _FUSABLE * (self.last is not None and self.blocked)
        return bits | (_POOLED[self.pool] if self.pool >= 0 else 0)


def _facts(op: str, width: int, size: int, stride: int, block: int, batch: int) -> _OpFacts:
    graph = lower_op(op, (width, size * stride, size * stride), stride=stride)
    walks = [LayoutWalk(graph, block, batch, blocked_input=blocked) for blocked in (False, block > 1)]
    plain, blocked = walks
    shared: Counter[Call] = Counter()
    rectified = next((i for i, n in enumerate(graph.nodes) if isinstance(n.layer, ReLU)), -1)
    rectifies = rectified > 0 and graph.nodes[rectified].inputs == (0,)
    cropped = next((i for i, n in enumerate(graph.nodes) if isinstance(n.layer, Crop)), -1)
    kinds = [_POOLS.index(n.layer.kind) for n in graph.nodes if isinstance(n.layer, Pool2d)]
    end = graph.outputs[0]
    if kinds or end == 0:
        return _OpFacts(False, False, False, False, kinds[0] if kinds else -1, (), False, None)
    needs_blocked = rectifies and plain.values[rectified].reordered
    needs_plain = rectifies and (blocked.values[rectified].plain if block > 1 else True)
    if rectifies:
        sizes = Sizer(width, size * stride, block, batch)
        shared.update(sizes.rectified(False))
        if needs_blocked:
            shared.update(sizes.into_blocks())
        if cropped > 0:
            shared.update(sizes.cropped(plain.values[cropped].reordered))
    body = Counter(plain.made()) - shared
    value = plain.values[end]
    last = plain.calls[value.conv] if value.conv >= 0 else None
    return _OpFacts(
        rectifies, needs_blocked, needs_plain, cropped > 0, -1, tuple(body.elements()), value.blocked, last
    )


@dataclass(frozen=True, slots=True)
class Sizer:
    """Calls on one value of so many channels and pixels."""

    width: int
    size: int
    block: int
    batch: int

    def sizes(self, *, blocked: bool) -> tuple[int, int, int, int]:
        """Shape of the value."""
        padded = -(-self.width // self.block) * self.block
        return (self.batch, padded if blocked else self.width, self.size, self.size)

    def rectified(self, blocked: bool) -> list[Call]:
        """A rectification."""
        sizes = self.sizes(blocked=blocked)
        return [Call("Relu", (sizes,), sizes)]

    def into_blocks(self) -> list[Call]:
        """A plain value into blocks."""
        return [Call("ReorderInput", (self.sizes(blocked=False),), self.sizes(blocked=True), True)]

    def out_of_blocks(self) -> list[Call]:
        """A blocked value into the plain layout."""
        return [Call("ReorderOutput", (self.sizes(blocked=True),), self.sizes(blocked=False), True)]

    def cropped(self, reordered: bool) -> list[Call]:
        """A copy without the first row and column, and the same in blocks."""
        less = Sizer(self.width, self.size - 1, self.block, self.batch)
        call = Call("Slice", (self.sizes(blocked=False), (2,), (2,), (2,)), less.sizes(blocked=False))
        return [call, *(less.into_blocks() if reordered else [])]

    def added(self, blocked: bool) -> list[Call]:
        """A sum of two."""
        sizes = self.sizes(blocked=blocked)
        return [Call("Add", (sizes, sizes), sizes)]

    def pooled(self, kind: str, blocked: bool, size: int) -> list[Call]:
        """A pooling to so many pixels."""
        result = Sizer(self.width, size, self.block, self.batch).sizes(blocked=blocked)
        op = "MaxPool" if kind == "max" else "AveragePool"
        return [Call(op, (self.sizes(blocked=blocked),), result, blocked)]

    def joined(self, parts: int, blocked: bool) -> list[Call]:
        """A concatenation of equal parts."""
        sizes = self.sizes(blocked=blocked)
        return [Call("Concat", (sizes,) * parts, (sizes[0], parts * sizes[1], *sizes[2:]))]


class _Tables:
    """What the parts of a cell at a place add, [width] each."""

    def __init__(
        self, place: _Place, block: int, batch: int, add_up: Callable[[Sequence[Call]], Floats]
    ) -> None:
        self.place = place
        self.blocks = block > 1
        self.whole = self.blocks and place.width % block == 0
        self._add_up = add_up
        strides = (1, 2) if place.reduces else (1,)
        # By code: the op's index, and after all ops those of stride 2.
        self.facts = [_facts(op, place.width, place.size, s, block, batch) for s in strides for op in _OPS]
        self.bodies = np.stack([add_up(fact.body) for fact in self.facts])
        self.bits = np.array([fact.bits() for fact in self.facts], dtype=np.int16)
        self.takes_sum = np.stack([self._with_sum(fact.last, fact.blocked) for fact in self.facts])
        self.input_takes_sum = [self._with_sum(given.conv, given.blocked) for given in place.inputs]
        inner = Sizer(place.width, place.size, block, batch)
        outer = Sizer(place.width, place.size_of(0), block, batch)
        self.node, self.input = (_ValueTable(sizer, place.size, self, add_up) for sizer in (inner, outer))
        self.add = tuple(add_up(inner.added(blocked)) for blocked in (False, True))
        self._sizer = inner

    def _with_sum(self, conv: Call | None, blocked: bool) -> Floats:
        """What a convolution takes more if a sum moves into it."""
        if conv is None or not blocked:
            return 0 * self._add_up([])
        more = Call("Conv", (*conv.inputs, conv.output), conv.output, True)
        return self._add_up([more]) - self._add_up([conv])

    def concat(self, nodes: int) -> tuple[Floats, Floats]:
        """The output, plain and blocked."""
        plain, blocked = (self._add_up(self._sizer.joined(nodes, b)) for b in (False, True))
        return plain, blocked


class _ValueTable:
    """What happens to one value of a cell, [width] each."""

    def __init__(
        self, sizer: Sizer, size: int, tables: _Tables, add_up: Callable[[Sequence[Call]], Floats]
    ) -> None:
        self.relu = tuple(add_up(sizer.rectified(blocked)) for blocked in (False, True))
        self.into = add_up(sizer.into_blocks())
        self.out = add_up(sizer.out_of_blocks())
        self.pools = [add_up(sizer.pooled(kind, tables.whole, size)) for kind in _POOLS]
        crops = next((fact for fact in tables.facts if fact.crops), None)
        reordered = crops is not None and crops.needs_blocked
        self.crop = add_up(sizer.cropped(reordered))


class _CellRules:
    """The rules of the layout for one cell of many architectures at once."""

    def __init__(self, tables: _Tables, sources: Ints, ops: Ints) -> None:
        """Takes [n, nodes, 2] sources and ops."""
        self.tables = tables
        self.n, self.nodes, _ = sources.shape
        self.values = N_INPUTS + self.nodes
        self.sources = sources.astype(np.int8)
        self.alive = np.ones((self.n, self.nodes), dtype=np.bool_)
        self.names = np.tile(np.arange(self.values, dtype=np.int8), (self.n, 1))
        self.codes = ops + len(_OPS) * (sources < N_INPUTS) if tables.place.reduces else ops
        self.facts = tables.bits[self.codes]
        self._share_equal_sums(ops)
        self.facts *= self.alive[:, :, None]
        self.read_by = [self._reads(v) for v in range(self.values)]
        self.take_sum = np.zeros(self.codes.shape, dtype=np.bool_)
        self.events: list[tuple[Bools, Floats]] = []

    def _share_equal_sums(self, ops: Ints) -> None:
        """Nodes of the same sum of pooled or unchanged values are one."""
        bare = (self.facts[..., 0] | self.facts[..., 1]) & _BODY == 0
        for k in range(1, self.nodes):
            if not self.alive.all():
                self.sources[:, k] = np.take_along_axis(self.names, self.sources[:, k], axis=1)
            for j in range(k):
                same = bare[:, j] & bare[:, k] & self.alive[:, j]
                for e in range(_EDGES):
                    same &= ops[:, j, e] == ops[:, k, e]
                    same &= self.sources[:, j, e] == self.sources[:, k, e]
                if same.any():
                    self.names[same, N_INPUTS + k] = N_INPUTS + j
                    self.alive[same, k] = False

    def _reads(self, value: int) -> Bits:
        """[n] facts about all edges that read a value."""
        result: Bits = np.zeros(self.n, dtype=np.int16)
        for k in range(max(0, value - N_INPUTS + 1), self.nodes):
            for e in range(_EDGES):
                result |= self.facts[:, k, e] * (self.sources[:, k, e] == value)
        return result

    def _count(self, mask: Bools, row: Floats) -> None:
        self.events.append((mask, row))

    def sums(self) -> tuple[Floats, Bools]:
        """[n, width] of all kernels inside, and [n] whether the output is in blocks."""
        tables, place = self.tables, self.tables.place
        blocked = np.zeros((self.n, self.values), dtype=np.bool_)
        fusable = np.zeros_like(blocked)
        for v, given in enumerate(place.inputs):
            blocked[:, v] = given.blocked
            fusable[:, v] = self._only_reader(v) & (given.conv is not None)
        plain_use = np.zeros_like(blocked)
        plain_pools = [np.zeros_like(blocked) for _ in _POOLS]
        for k in range(self.nodes):
            self._node(k, blocked, fusable, plain_use, plain_pools)
        joined = self._join(blocked, plain_use)
        for v in range(self.values):
            uses = plain_use[:, v], [pools[:, v] for pools in plain_pools]
            self._value(v, blocked[:, v], fusable[:, v], *uses)
        alive = np.broadcast_to(self.alive[:, :, None], self.codes.shape)
        masks, rows = zip(*self.events, strict=True)
        sums: Floats = np.stack(masks, axis=1).astype(np.float64) @ np.stack(rows)
        sums += self._counted(alive) @ tables.bodies + self._counted(self.take_sum) @ tables.takes_sum
        return sums, joined

    def _counted(self, edges: Bools) -> Ints:
        """[n, codes] how many of these edges have each code."""
        kinds = len(self.tables.facts)
        places = (np.arange(self.n)[:, None, None] * kinds + self.codes)[edges]
        return np.bincount(places, minlength=self.n * kinds).reshape(self.n, kinds)

    def _only_reader(self, value: int) -> Bools:
        """Whether one node alone reads a cell's input."""
        facts = self.read_by[value]
        unchanged = ((self.sources == value) & (self.facts & _IDENTITY != 0)).sum(axis=(1, 2))
        readers = unchanged + sum((facts & flag != 0).astype(np.int64) for flag in (_RECTIFIES, *_POOLED))
        result: Bools = readers == 1
        return result

    def _node(
        self, k: int, blocked: Bools, fusable: Bools, plain_use: Bools, plain_pools: list[Bools]
    ) -> None:
        """What a node's sum adds, and which of its terms must come in the plain layout."""
        tables, alive = self.tables, self.alive[:, k]
        facts, source = self.facts[:, k], self.sources[:, k]
        identity = facts & _IDENTITY != 0
        pooled = facts & (_POOLED[0] | _POOLED[1]) != 0
        there = np.take_along_axis(blocked, source, axis=1)
        forms = np.where(identity, there, np.where(pooled, tables.whole, facts & _BLOCKED != 0))
        both = alive & forms[:, 0] & forms[:, 1] & tables.blocks
        blocked[:, N_INPUTS + k] = both
        # A sum moves into the first term that is a convolution nobody else reads.
        into_body = facts & _FUSABLE != 0
        into_input = identity & there & np.take_along_axis(fusable, source, axis=1)
        fits = into_body | into_input
        chosen = both & fits[:, 0], both & fits[:, 1] & ~fits[:, 0]
        self._count(both & ~fits[:, 0] & ~fits[:, 1], tables.add[True])
        apart = alive & ~both
        self._count(apart, tables.add[False])
        for e, mine in enumerate(chosen):
            self.take_sum[:, k, e] = mine & into_body[:, e]
            for v, row in enumerate(tables.input_takes_sum):
                self._count(mine & into_input[:, e] & (source[:, e] == v), row)
            out = apart & forms[:, e]
            self._count(out & (facts[:, e] & _BODY != 0), tables.node.out)
            for flag, uses in zip((_IDENTITY, *_POOLED), (plain_use, *plain_pools), strict=True):
                rows = np.flatnonzero(out & (facts[:, e] & flag != 0))
                uses[rows, source[rows, e]] = True

    def _join(self, blocked: Bools, plain_use: Bools) -> Bools:
        ends = np.take_along_axis(blocked, self.names, axis=1)[:, N_INPUTS:]
        joined: Bools = np.logical_and(ends.all(axis=1), self.tables.whole)
        plain, whole = self.tables.concat(self.nodes)
        self._count(joined, whole)
        self._count(~joined, plain)
        plain_use[:, N_INPUTS:] |= ~joined[:, None] & self.alive
        return joined

    def _value(
        self, v: int, blocked: Bools, fusable: Bools, plain_use: Bools, plain_pools: list[Bools]
    ) -> None:
        """What is made of a value once, however many edges read it."""
        whole, facts = self.tables.whole, self.read_by[v]
        table = self.tables.input if v < N_INPUTS else self.tables.node
        rectified, pooled = facts & _RECTIFIES != 0, facts & (_POOLED[0] | _POOLED[1]) != 0
        crops = facts & _CROPS != 0
        relu = rectified & ~fusable
        self._count(relu & blocked, table.relu[True])
        self._count(relu & ~blocked, table.relu[False])
        self._count(blocked & (facts & (_NEEDS_PLAIN | _CROPS) != 0), table.out)
        self._count(~blocked & (facts & _NEEDS_BLOCKED != 0), table.into)
        self._count(crops, table.crop)
        self._count(blocked & (plain_use | (pooled & (not whole))), table.out)
        self._count(~blocked & pooled & whole, table.into)
        for flag, row, plain in zip(_POOLED, table.pools, plain_pools, strict=True):
            self._count(facts & flag != 0, row)
            self._count(plain, self.tables.node.out)
