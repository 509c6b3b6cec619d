"""Selection by perturbation: an op counts as much as its removal hurts (DARTS-PT, Wang et al., 2021)."""

from collections.abc import Callable

import torch
from torch import Tensor

from mobinas.arch.genotype import N_INPUTS, Cell, Edge, Genotype
from mobinas.arch.probabilities import Probabilities, edge_slots
from mobinas.arch.space import SearchSpace
from mobinas.supernet.guard import Guard
from mobinas.supernet.relaxation import CellWeights, Judge, Mixture, Tune


def _derive(probabilities: Probabilities, space: SearchSpace, judge: Judge, tune: Tune) -> Genotype:
    """https://arxiv.org/abs/2108.04392, algorithm 1.

    One edge after the other keeps the op without which the accuracy falls most, then each node the two edges
    without which it falls most; after each decision the weights are tuned to what is left. Only the first
    op set of a space is looked at where it has several.
    """
    ops = [k for k, op in enumerate(probabilities.ops) if op != "none" and op in space.op_sets[0]]
    table = [torch.tensor(rows) for rows in (probabilities.normal, probabilities.reduction)]
    shares = [torch.tensor(s) for s in (probabilities.normal_edges, probabilities.reduction_edges)]
    slots = edge_slots(probabilities.nodes)
    counts = torch.tensor([float(number) for number, _ in slots])
    # Even shares stand for the plain sum of a node's edges.
    shares = [s * counts if torch.allclose(s * counts, torch.ones_like(s)) else s for s in shares]

    def left() -> Mixture:
        return Mixture(*(CellWeights(t, s, t > 0) for t, s in zip(table, shares, strict=True)))

    def accuracy() -> float:
        return judge(left())

    cells = []
    for which in range(2):
        for edge in range(len(slots)):
            row = table[which][edge]
            best = _most_needed([k for k in ops if row[k] > 0] or ops, row, accuracy)
            table[which][edge] = torch.zeros_like(row).index_fill(0, torch.tensor([best]), float(row.sum()))
            tune(left())
        nodes = []
        for number in range(N_INPUTS, N_INPUTS + probabilities.nodes):
            into = [k for k, (n, _) in enumerate(slots) if n == number]
            kept = _two_most_needed(into, table[which], accuracy)
            nodes.append(
                tuple(Edge(slots[k][1], probabilities.ops[int(table[which][k].argmax())]) for k in kept)
            )
            for k in set(into) - set(kept):
                table[which][k].zero_()
            tune(left())
        cells.append(Cell(tuple(nodes), tuple(range(N_INPUTS, N_INPUTS + probabilities.nodes))))
    return Genotype(*cells)


def _most_needed(ops: list[int], row: Tensor, accuracy: Callable[[], float]) -> int:
    without = {}
    for op in ops:
        before = row.clone()
        row[op] = 0.0
        without[op] = accuracy()
        row.copy_(before)
    return min(ops, key=lambda op: without[op])


def _two_most_needed(into: list[int], table: Tensor, accuracy: Callable[[], float]) -> list[int]:
    without = {}
    for k in into:
        before = table[k].clone()
        table[k].zero_()
        without[k] = accuracy()
        table[k] = before
    return sorted(sorted(into, key=lambda k: without[k])[:2])


GUARD = Guard(
    name="perturbation",
    summary="chooses each op by how much the accuracy falls without it, not by its alpha",
    derive=_derive,
    mixed_only=True,
)
