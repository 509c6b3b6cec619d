"""What a one-shot method found: how likely each op is on each edge of the two cells.

A genotype is the mode of such probabilities; a search around the method's result draws from them.
"""

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log
from typing import Any

from mobinas.arch.genotype import N_INPUTS, Cell, Edge, Genotype
from mobinas.arch.ops import op_set
from mobinas.arch.space import CELL_NAMES, Chooser
from mobinas.errors import ArchitectureError

Rows = tuple[tuple[float, ...], ...]
_SUM_TOLERANCE = 1e-4


def edge_slots(nodes: int) -> tuple[tuple[int, int], ...]:
    """Every possible edge of a cell as (node number, source), in the order of all tables of edges.

    Args:
        nodes: Intermediate nodes of the cell; node ``k`` may read each earlier one.

    Returns:
        ``nodes * (nodes + 3) / 2`` pairs: (2, 0), (2, 1), (3, 0), (3, 1), (3, 2), ...
    """
    return tuple((n, s) for n in range(N_INPUTS, N_INPUTS + nodes) for s in range(n))


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Probabilities of ops and edges in a normal and a reduction cell.

    Attributes:
        ops: Names of the ops, ``none`` possibly among them; the columns.
        normal: For each edge (see `edge_slots`) the probability of each op; rows sum to 1.
        reduction: The same for the reduction cell.
        normal_edges: For each edge its share among the edges into its node; sums to 1 for each node.
        reduction_edges: The same for the reduction cell.

    Raises:
        ArchitectureError: An unknown op, a wrong number of rows or columns, or numbers that are no shares.
    """

    ops: tuple[str, ...]
    normal: Rows
    reduction: Rows
    normal_edges: tuple[float, ...]
    reduction_edges: tuple[float, ...]

    def __post_init__(self) -> None:
        op_set(self.ops)
        slots = edge_slots(self.nodes)
        for name in CELL_NAMES:
            rows, edges = self._cell(name)
            if not slots or len(rows) != len(slots) or len(edges) != len(slots):
                raise ArchitectureError(
                    f"{name} has {len(rows)} rows and {len(edges)} edge shares; "
                    f"a cell of {self.nodes} nodes has {len(slots)} edges"
                )
            for slot, row in zip(slots, rows, strict=True):
                if len(row) != len(self.ops):
                    raise ArchitectureError(
                        f"{name} edge {slot} has {len(row)} values for {len(self.ops)} ops"
                    )
                _check_shares(row, f"{name} edge {slot}")
            for number in range(N_INPUTS, N_INPUTS + self.nodes):
                shares = [e for (n, _), e in zip(slots, edges, strict=True) if n == number]
                _check_shares(shares, f"{name} edges into node {number}")

    @property
    def nodes(self) -> int:
        """Intermediate nodes of each cell, as the number of rows tells."""
        return next((n for n in itertools.count() if n * (n + 3) // 2 >= len(self.normal)), 0)

    def _cell(self, name: str) -> tuple[Rows, tuple[float, ...]]:
        if name == CELL_NAMES[0]:
            return self.normal, self.normal_edges
        return self.reduction, self.reduction_edges

    @classmethod
    def of(
        cls,
        ops: Sequence[str],
        normal: Iterable[Iterable[float]],
        reduction: Iterable[Iterable[float]],
        normal_edges: Iterable[float],
        reduction_edges: Iterable[float],
    ) -> "Probabilities":
        """From tables of any kind (lists, arrays); each row and each node's edges are scaled to sum to 1."""
        tables = [[[float(x) for x in row] for row in rows] for rows in (normal, reduction)]
        rows = [tuple(tuple(_shares(row)) for row in table) for table in tables]
        edges = [_shares_by_node([float(x) for x in e]) for e in (normal_edges, reduction_edges)]
        return cls(tuple(ops), rows[0], rows[1], edges[0], edges[1])

    @classmethod
    def uniform(cls, ops: Sequence[str], nodes: int) -> "Probabilities":
        """Every op and every edge equally likely."""
        slots = edge_slots(nodes)
        rows = [[1.0] * len(ops)] * len(slots)
        return cls.of(ops, rows, rows, [1.0] * len(slots), [1.0] * len(slots))

    def genotype(self, ops: Sequence[str] | None = None) -> Genotype:
        """The discrete cells: per node the two strongest edges from distinct inputs, each with its best op.

        An edge is as strong as its share times its most likely real op (Liu et al., 2019, section 2.4; with
        edge shares as in PC-DARTS, Xu et al., 2020, section 3.3). ``none`` is never chosen; ties go to the
        earlier source and the earlier op.

        Args:
            ops: Only these may be chosen; without it all of them.
        """
        allowed = self._columns(ops)
        return Genotype(*(self._discrete(name, allowed) for name in CELL_NAMES))

    def log_likelihood(self, genotype: Genotype) -> float:
        """Sum of the logarithms of the strengths of the genotype's edges; larger is likelier.

        Raises:
            ArchitectureError: The genotype has an op or a node that these probabilities do not know.
        """
        total, place = 0.0, {slot: k for k, slot in enumerate(edge_slots(self.nodes))}
        for name, cell in zip(CELL_NAMES, (genotype.normal, genotype.reduction), strict=True):
            rows, edges = self._cell(name)
            for number, edge in cell.edges():
                if (number, edge.source) not in place or edge.op not in self.ops:
                    raise ArchitectureError(f"no probability for '{edge.op}' into node {number}")
                k = place[number, edge.source]
                total += log(max(edges[k] * rows[k][self.ops.index(edge.op)], 1e-300))
        return total

    def _columns(self, ops: Sequence[str] | None) -> tuple[int, ...]:
        columns = tuple(
            k for k, op in enumerate(self.ops) if op != "none" and (ops is None or op in set(ops))
        )
        if not columns:
            raise ArchitectureError(
                f"none of {list(ops or ())} has a probability; known are {list(self.ops)}"
            )
        return columns

    def _discrete(self, name: str, allowed: tuple[int, ...]) -> Cell:
        nodes = []
        for number in range(N_INPUTS, N_INPUTS + self.nodes):
            strengths = self._strengths(name, number, allowed)
            sources = sorted(sorted(range(number), key=lambda s: (-strengths[s], s))[:2])
            nodes.append(tuple(Edge(s, self._best_op(name, number, s, allowed)) for s in sources))
        return Cell(tuple(nodes), tuple(range(N_INPUTS, N_INPUTS + self.nodes)))

    def _row(self, name: str, number: int, source: int) -> tuple[tuple[float, ...], float]:
        rows, edges = self._cell(name)
        k = edge_slots(self.nodes).index((number, source))
        return rows[k], edges[k]

    def _strengths(self, name: str, number: int, allowed: tuple[int, ...]) -> list[float]:
        found = (self._row(name, number, source) for source in range(number))
        return [share * max(row[k] for k in allowed) for row, share in found]

    def _best_op(self, name: str, number: int, source: int, allowed: tuple[int, ...]) -> str:
        row, _ = self._row(name, number, source)
        return self.ops[max(allowed, key=lambda k: row[k])]

    def chooser(self, rng: random.Random, uniform: float = 0.0) -> Chooser:
        """Draws architectures of a space around these probabilities, for `SearchSpace.build`.

        A pair of sources is as likely as the product of its edges' strengths, an op as its probability among
        the real ops offered; everything about the macro space is drawn uniformly.

        Args:
            rng: Where chance comes from.
            uniform: Share in [0, 1] of choices that are drawn uniformly all the same.

        Raises:
            ArchitectureError: `uniform` is no share, or (from the chooser) a cell has more nodes than these.
        """
        if not 0.0 <= uniform <= 1.0:
            raise ArchitectureError(f"uniform is {uniform}; it is a share between 0 and 1")
        sources: dict[str, tuple[int, ...]] = {}

        def choose(name: str, options: Sequence[Any], /) -> Any:
            parts = name.split(".")
            if parts[0] not in CELL_NAMES:
                return rng.choice(options)
            where, number, what = f"{parts[0]}.{parts[1]}", int(parts[1]), parts[2]
            plain = rng.random() < uniform
            if what == "sources":
                pairs = [tuple(int(s) for s in str(option).split(",")) for option in options]
                weights = [1.0] * len(pairs) if plain else self._pair_weights(parts[0], number, pairs)
                chosen = rng.choices(range(len(pairs)), weights)[0]
                sources[where] = pairs[chosen]
                return options[chosen]
            source = sources[where][int(what.removeprefix("op"))]
            weights = [1.0] * len(options) if plain else self._op_weights(parts[0], number, source, options)
            return rng.choices(options, weights)[0]

        return choose

    def _pair_weights(self, name: str, number: int, pairs: Sequence[tuple[int, ...]]) -> list[float]:
        if number >= N_INPUTS + self.nodes:
            raise ArchitectureError(
                f"no probabilities for node {number}; the cells here have {self.nodes} nodes"
            )
        strengths = self._strengths(name, number, self._columns(None))
        return _or_uniform([strengths[a] * strengths[b] for a, b in pairs])

    def _op_weights(self, name: str, number: int, source: int, options: Sequence[str]) -> list[float]:
        row, _ = self._row(name, number, source)
        known = dict(zip(self.ops, row, strict=True))
        return _or_uniform([known.get(option, 0.0) for option in options])

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to equal probabilities."""
        return {
            "ops": list(self.ops),
            "normal": [list(row) for row in self.normal],
            "reduction": [list(row) for row in self.reduction],
            "normal_edges": list(self.normal_edges),
            "reduction_edges": list(self.reduction_edges),
        }

    @classmethod
    def from_json(cls, data: Any) -> "Probabilities":
        """Reads what `to_json` wrote.

        Raises:
            ArchitectureError: The data are not of that form, or break a rule.
        """
        keys = {"ops", "normal", "reduction", "normal_edges", "reduction_edges"}
        if not isinstance(data, Mapping) or set(data) != keys:
            raise ArchitectureError(f"probabilities are an object with exactly the keys {sorted(keys)}")
        try:
            rows = [tuple(tuple(float(x) for x in row) for row in data[name]) for name in CELL_NAMES]
            edges = [tuple(float(x) for x in data[f"{name}_edges"]) for name in CELL_NAMES]
            return cls(tuple(str(op) for op in data["ops"]), rows[0], rows[1], edges[0], edges[1])
        except (TypeError, ValueError):
            raise ArchitectureError("probabilities must be tables of numbers") from None


def _check_shares(shares: Sequence[float], where: str) -> None:
    if not all(isfinite(x) and x >= 0 for x in shares) or abs(sum(shares) - 1) > _SUM_TOLERANCE:
        raise ArchitectureError(
            f"{where}: {list(shares)} are no probabilities; they must be >= 0 and sum to 1"
        )


def _shares(values: Sequence[float]) -> list[float]:
    total = sum(values)
    return [x / total for x in values] if total > 0 else list(values)


def _shares_by_node(values: Sequence[float]) -> tuple[float, ...]:
    shares: list[float] = []
    for number in itertools.count(N_INPUTS):
        if len(shares) >= len(values):
            return tuple(shares)
        shares += _shares(values[len(shares) : len(shares) + number])
    raise AssertionError("itertools.count does not end")


def _or_uniform(weights: list[float]) -> list[float]:
    return weights if sum(weights) > 0 else [1.0] * len(weights)
