"""What the parts of a cell add, by where the cell stands."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mobinas.arch.ops import OPS
from mobinas.graph.layers import Crop, Pool2d, ReLU
from mobinas.graph.lowering import lower_op
from predictors.cells.skeleton import Place
from predictors.layout import Call, LayoutWalk

Floats = npt.NDArray[np.float64]

EDGES = 2
OP_NAMES = tuple(op for op in OPS if op != "none")
POOLS = ("max", "avg")
# Facts about an op on an edge, to be combined over edges by `or`.
RECTIFIES, NEEDS_BLOCKED, NEEDS_PLAIN, CROPS = 1, 2, 4, 8
IDENTITY, BODY, BLOCKED, FUSABLE = 16, 32, 64, 128
POOLED = (256, 512)
PLAIN_FUSABLE = 1024


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
        bits = IDENTITY * identity | BODY * bool(self.body) | BLOCKED * self.blocked
        bits |= RECTIFIES * self.rectifies | CROPS * self.crops
        bits |= NEEDS_BLOCKED * self.needs_blocked | NEEDS_PLAIN * self.needs_plain
        bits |= (FUSABLE if self.blocked else PLAIN_FUSABLE) * (self.last is not None)
        return bits | (POOLED[self.pool] if self.pool >= 0 else 0)


def _facts(op: str, width: int, size: int, stride: int, block: int, batch: int) -> _OpFacts:
    graph = lower_op(op, (width, size * stride, size * stride), stride=stride)
    walks = [LayoutWalk(graph, block, batch, blocked_input=blocked) for blocked in (False, block > 1)]
    plain, blocked = walks
    shared: Counter[Call] = Counter()
    rectified = next((i for i, n in enumerate(graph.nodes) if isinstance(n.layer, ReLU)), -1)
    rectifies = rectified > 0 and graph.nodes[rectified].inputs == (0,)
    cropped = next((i for i, n in enumerate(graph.nodes) if isinstance(n.layer, Crop)), -1)
    kinds = [POOLS.index(n.layer.kind) for n in graph.nodes if isinstance(n.layer, Pool2d)]
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


class Tables:
    """What the parts of a cell at a place add, [width] each."""

    def __init__(
        self, place: Place, block: int, batch: int, add_up: Callable[[Sequence[Call]], Floats]
    ) -> None:
        self.place = place
        self.blocks = block > 1
        self.whole = self.blocks and place.width % block == 0
        self._add_up = add_up
        strides = (1, 2) if place.reduces else (1,)
        # By code: the op's index, and after all ops those of stride 2.
        self.facts = [
            _facts(op, place.width, place.size, s, block, batch) for s in strides for op in OP_NAMES
        ]
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
        if conv is None:
            return 0 * self._add_up([])
        more = Call("Conv" if blocked else "FusedConv", (*conv.inputs, conv.output), conv.output, blocked)
        return self._add_up([more]) - self._add_up([conv])

    def concat(self, nodes: int) -> tuple[Floats, Floats]:
        """The output, plain and blocked."""
        plain, blocked = (self._add_up(self._sizer.joined(nodes, b)) for b in (False, True))
        return plain, blocked


class _ValueTable:
    """What happens to one value of a cell, [width] each."""

    def __init__(
        self, sizer: Sizer, size: int, tables: Tables, add_up: Callable[[Sequence[Call]], Floats]
    ) -> None:
        self.relu = tuple(add_up(sizer.rectified(blocked)) for blocked in (False, True))
        self.into = add_up(sizer.into_blocks())
        self.out = add_up(sizer.out_of_blocks())
        self.pools = [add_up(sizer.pooled(kind, tables.whole, size)) for kind in POOLS]
        crops = next((fact for fact in tables.facts if fact.crops), None)
        reordered = crops is not None and crops.needs_blocked
        self.crop = add_up(sizer.cropped(reordered))
