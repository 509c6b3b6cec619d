"""What a one-shot method is made of: architecture parameters and how they weight ops and edges."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mobinas.arch.genotype import N_INPUTS, Cell, Genotype
from mobinas.arch.probabilities import Probabilities, edge_slots
from mobinas.arch.space import SearchSpace

# Xu et al. and Liu et al. start all alphas near zero, so that no op has a lead.
INITIAL_STD = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class CellWeights:
    """What multiplies each op on each edge of a cell.

    Attributes:
        ops: [edges, ops].
        edges: [edges].
        sampled: Whether ops of weight 0 are not even computed.
    """

    ops: Tensor
    edges: Tensor
    sampled: bool = False

    @classmethod
    def of(cls, cell: Cell, ops: Sequence[str]) -> "CellWeights":
        """1 for each edge and op of a cell, 0 for all others."""
        slots = {slot: k for k, slot in enumerate(edge_slots(len(cell.nodes)))}
        table = torch.zeros(len(slots), len(ops))
        for number, edge in cell.edges():
            table[slots[number, edge.source], ops.index(edge.op)] = 1.0
        return cls(table, torch.ones(len(slots)), sampled=True)


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Weights of both cells for one forward pass."""

    normal: CellWeights
    reduction: CellWeights

    @classmethod
    def of(cls, genotype: Genotype, ops: Sequence[str]) -> "Mixture":
        """The subnet of a genotype alone."""
        return cls(CellWeights.of(genotype.normal, ops), CellWeights.of(genotype.reduction, ops))


class Relaxation(nn.Module, ABC):
    """Architecture parameters of one method; registered, so that they are saved with the network.

    Attributes:
        ops: Names of the ops.
        nodes: Intermediate nodes per cell.
        partial: K, where 1/K of the channels enter the mixed ops.
    """

    partial: int = 1

    def __init__(self, ops: Sequence[str], nodes: int) -> None:
        super().__init__()
        self.ops, self.nodes = tuple(ops), nodes

    def begin_epoch(self, share: float, generator: torch.Generator) -> None:
        """Called before each epoch.

        Args:
            share: How far the search is: 0 in the first epoch, 1 in the last.
            generator: Whatever the epoch draws comes from it, so that a resumed search repeats it.
        """

    @abstractmethod
    def forward(self) -> Mixture:
        """The weights for the next forward pass, differentiable in the parameters."""

    @abstractmethod
    def probabilities(self) -> Probabilities:
        """What the parameters say at this point."""


# The accuracy of a mixture with the shared weights, on the part that trains the architecture.
Judge = Callable[[Mixture], float]


@dataclass(frozen=True, slots=True)
class Method:
    """A way to search, as chosen by name.

    Attributes:
        name: Key in `METHODS`.
        summary: One line for users.
        relax: Makes the relaxation from ops, nodes and a seed.
        warm_up_share: Share of the epochs before the architecture parameters move.
        learning_rate: Of the architecture parameters, as published.
        derive: Finds the genotype at the end from a judge of genotypes, the space and a seed; without one,
            it is the mode of the probabilities.
        mixes: Whether every edge computes all ops, weighted by differentiable parameters.
        guards: Against collapse, by default.
    """

    name: str
    summary: str
    relax: Callable[[Sequence[str], int, int], Relaxation]
    warm_up_share: float
    learning_rate: float
    derive: Callable[[Judge, SearchSpace, int], Genotype] | None = None
    mixes: bool = True
    guards: tuple[str, ...] = ()


def even_edges(ops: Sequence[str], normal: Tensor, reduction: Tensor) -> Probabilities:
    """Softmaxed alphas, [edges, ops] each; every edge has the same share."""
    with torch.no_grad():
        rows = [torch.softmax(alphas.double(), dim=1).tolist() for alphas in (normal, reduction)]
    even = [1.0] * len(normal)
    return Probabilities.of(ops, rows[0], rows[1], even, even)


def initial_alphas(nodes: int, ops: int, generator: torch.Generator) -> nn.Parameter:
    """[edges, ops] small random numbers."""
    return nn.Parameter(INITIAL_STD * torch.randn(len(edge_slots(nodes)), ops, generator=generator))


def initial_betas(nodes: int, generator: torch.Generator) -> nn.Parameter:
    """[edges] small random numbers."""
    return nn.Parameter(INITIAL_STD * torch.randn(len(edge_slots(nodes)), generator=generator))


def softmax_by_node(betas: Tensor, nodes: int) -> Tensor:
    """Softmax over the edges into each node: [edges] to [edges], each node's sum 1."""
    counts = [N_INPUTS + k for k in range(nodes)]
    return torch.cat([torch.softmax(part, dim=0) for part in torch.split(betas, counts)])
