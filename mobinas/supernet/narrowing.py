"""Alphas of which each stage of a search keeps fewer ops on each edge."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from mobinas.supernet.relaxation import AlphaRelaxation, CellWeights, Mixture


class NarrowingRelaxation(AlphaRelaxation):
    """A table of alphas for each cell, and which of their ops are still in the race.

    Attributes:
        kept: [2, edges, ops], for the normal and the reduction cells.
        stage: How often it was narrowed.
    """

    kept: Tensor
    stage: Tensor

    def __init__(self, ops: Sequence[str], nodes: int, seed: int) -> None:
        super().__init__(ops, nodes, seed)
        self.register_buffer("kept", torch.ones(2, *self.normal.shape, dtype=torch.bool))
        self.register_buffer("stage", torch.tensor(0))

    @torch.no_grad()
    def narrow(self, ops: int, generator: torch.Generator) -> None:
        """Keeps the likeliest ops on each edge, one of them not ``none``."""
        for mask, shares in zip(self.kept, self.shares(), strict=True):
            real = shares.clone()
            if "none" in self.ops:
                real[:, self.ops.index("none")] = -1.0
            # The best real op comes first, whatever else is stronger.
            ranks = shares.masked_fill(~mask, -1.0).scatter(1, real.argmax(dim=1, keepdim=True), 2.0)
            mask &= torch.zeros_like(mask).scatter(1, ranks.topk(ops, dim=1).indices, True)
        self.stage += 1

    def shares(self) -> tuple[Tensor, Tensor]:
        """[edges, ops] softmaxed alphas of the ops that are kept."""
        normal, reduction = (
            torch.softmax(alphas.masked_fill(~mask, -torch.inf), dim=1) for alphas, mask in self.tables()
        )
        return normal, reduction

    def tables(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """The alphas of each cell and which of their ops are kept."""
        yield from zip((self.normal, self.reduction), self.kept, strict=True)

    def mixture(self, tables: Iterable[Tensor]) -> Mixture:
        """Weights [edges, ops] of each cell, of which only kept ops are computed; nodes sum their edges."""
        return Mixture(
            *(
                CellWeights(table, torch.ones_like(table[:, 0]), None if bool(mask.all()) else mask)
                for table, mask in zip(tables, self.kept, strict=True)
            )
        )
