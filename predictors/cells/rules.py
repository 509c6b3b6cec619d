"""The rules of the layout, for one cell of many architectures at once."""

import numpy as np
import numpy.typing as npt

from mobinas.arch.genotype import N_INPUTS
from predictors.cells.tables import (
    BLOCKED,
    BODY,
    CROPS,
    EDGES,
    FUSABLE,
    IDENTITY,
    NEEDS_BLOCKED,
    NEEDS_PLAIN,
    OP_NAMES,
    PLAIN_FUSABLE,
    POOLED,
    POOLS,
    RECTIFIES,
    Tables,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.int16]
Bools = npt.NDArray[np.bool_]


class CellRules:
    """The rules of the layout for one cell of many architectures at once."""

    def __init__(self, tables: Tables, sources: Ints, ops: Ints) -> None:
        """Takes [n, nodes, 2] sources and ops."""
        self.tables = tables
        self.n, self.nodes, _ = sources.shape
        self.values = N_INPUTS + self.nodes
        self.sources = sources.astype(np.int8)
        self.alive = np.ones((self.n, self.nodes), dtype=np.bool_)
        self.names = np.tile(np.arange(self.values, dtype=np.int8), (self.n, 1))
        self.codes = ops + len(OP_NAMES) * (sources < N_INPUTS) if tables.place.reduces else ops
        self.facts = tables.bits[self.codes]
        self._share_equal_sums(ops)
        self.facts *= self.alive[:, :, None]
        self.read_by = [self._reads(v) for v in range(self.values)]
        self.take_sum = np.zeros(self.codes.shape, dtype=np.bool_)
        self.events: list[tuple[Bools, Floats]] = []

    def _share_equal_sums(self, ops: Ints) -> None:
        """Nodes of the same sum of pooled or unchanged values are one."""
        bare = (self.facts[..., 0] | self.facts[..., 1]) & BODY == 0
        for k in range(1, self.nodes):
            if not self.alive.all():
                self.sources[:, k] = np.take_along_axis(self.names, self.sources[:, k], axis=1)
            for j in range(k):
                same = bare[:, j] & bare[:, k] & self.alive[:, j]
                for e in range(EDGES):
                    same &= ops[:, j, e] == ops[:, k, e]
                    same &= self.sources[:, j, e] == self.sources[:, k, e]
                if same.any():
                    self.names[same, N_INPUTS + k] = N_INPUTS + j
                    self.alive[same, k] = False

    def _reads(self, value: int) -> Bits:
        """[n] facts about all edges that read a value."""
        result: Bits = np.zeros(self.n, dtype=np.int16)
        for k in range(max(0, value - N_INPUTS + 1), self.nodes):
            for e in range(EDGES):
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
        plain_pools = [np.zeros_like(blocked) for _ in POOLS]
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
        unchanged = ((self.sources == value) & (self.facts & IDENTITY != 0)).sum(axis=(1, 2))
        readers = unchanged + sum((facts & flag != 0).astype(np.int64) for flag in (RECTIFIES, *POOLED))
        result: Bools = readers == 1
        return result

    def _node(
        self, k: int, blocked: Bools, fusable: Bools, plain_use: Bools, plain_pools: list[Bools]
    ) -> None:
        """What a node's sum adds, and which of its terms must come in the plain layout."""
        tables, alive = self.tables, self.alive[:, k]
        facts, source = self.facts[:, k], self.sources[:, k]
        identity = facts & IDENTITY != 0
        pooled = facts & (POOLED[0] | POOLED[1]) != 0
        there = np.take_along_axis(blocked, source, axis=1)
        forms = np.where(identity, there, np.where(pooled, tables.whole, facts & BLOCKED != 0))
        both = alive & forms[:, 0] & forms[:, 1] & tables.blocks
        blocked[:, N_INPUTS + k] = both
        # A sum moves into the first term that is a convolution nobody else reads, in the sum's own layout.
        apart, blocks = alive & ~both, both[:, None]
        into_body = facts & np.where(blocks, FUSABLE, PLAIN_FUSABLE) != 0
        into_input = identity & (there == blocks) & np.take_along_axis(fusable, source, axis=1)
        fits = (into_body | into_input) & (alive & tables.blocks)[:, None]
        chosen = fits[:, 0], fits[:, 1] & ~fits[:, 0]
        self._count(both & ~fits.any(axis=1), tables.add[True])
        self._count(apart & ~fits.any(axis=1), tables.add[False])
        for e, mine in enumerate(chosen):
            self.take_sum[:, k, e] = mine & into_body[:, e]
            for v, row in enumerate(tables.input_takes_sum):
                self._count(mine & into_input[:, e] & (source[:, e] == v), row)
            out = apart & forms[:, e]
            self._count(out & (facts[:, e] & BODY != 0), tables.node.out)
            for flag, uses in zip((IDENTITY, *POOLED), (plain_use, *plain_pools), strict=True):
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
        rectified, pooled = facts & RECTIFIES != 0, facts & (POOLED[0] | POOLED[1]) != 0
        crops = facts & CROPS != 0
        relu = rectified & ~fusable
        self._count(relu & blocked, table.relu[True])
        self._count(relu & ~blocked, table.relu[False])
        self._count(blocked & (facts & (NEEDS_PLAIN | CROPS) != 0), table.out)
        self._count(~blocked & (facts & NEEDS_BLOCKED != 0), table.into)
        self._count(crops, table.crop)
        self._count(blocked & (plain_use | (pooled & (not whole))), table.out)
        self._count(~blocked & pooled & whole, table.into)
        for flag, row, plain in zip(POOLED, table.pools, plain_pools, strict=True):
            self._count(facts & flag != 0, row)
            self._count(plain, self.tables.node.out)
