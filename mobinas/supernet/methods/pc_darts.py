"""PC-DARTS (Xu et al., 2020, https://arxiv.org/abs/1907.05737): partial channels and edge normalisation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mobinas.arch.probabilities import Probabilities
from mobinas.supernet.relaxation import (
    AlphaRelaxation,
    CellWeights,
    Method,
    Mixture,
    initial_betas,
    softmax_by_node,
)
from mobinas.supernet.stage import Stage


class PcDartsRelaxation(AlphaRelaxation):
    """Softmax over ops (alphas) and over the edges into each node (betas, eq. 2); 1/4 of the channels.

    Attributes:
        normal_edges: [edges] betas of the normal cells.
        reduction_edges: [edges] betas of the reduction cells.
    """

    def __init__(self, ops: Sequence[str], nodes: int, seed: int) -> None:
        super().__init__(ops, nodes, seed)
        self.normal_edges = initial_betas(nodes, self.generator)
        self.reduction_edges = initial_betas(nodes, self.generator)

    def forward(self) -> Mixture:
        """Softmaxed alphas and betas."""
        return Mixture(
            self._weights(self.normal, self.normal_edges), self._weights(self.reduction, self.reduction_edges)
        )

    def strengths(self) -> tuple[Tensor, Tensor]:
        """Softmaxed alphas times softmaxed betas."""
        cells = self()
        normal, reduction = (c.ops * c.edges.unsqueeze(1) for c in (cells.normal, cells.reduction))
        return normal, reduction

    def probabilities(self) -> Probabilities:
        """Softmaxed alphas, and softmaxed betas as the edges' shares."""
        with torch.no_grad():
            normal = self._weights(self.normal.double(), self.normal_edges.double())
            reduction = self._weights(self.reduction.double(), self.reduction_edges.double())
        return Probabilities.of(
            self.ops,
            normal.ops.tolist(),
            reduction.ops.tolist(),
            normal.edges.tolist(),
            reduction.edges.tolist(),
        )

    def _weights(self, alphas: Tensor, betas: Tensor) -> CellWeights:
        return CellWeights(torch.softmax(alphas, dim=1), softmax_by_node(betas, self.nodes))


METHOD = Method(
    name="pc-darts",
    summary="a quarter of the channels in the mixed ops, edges weighted too; faster, steadier, less memory",
    when="the usual choice: quick and steady also in short searches",
    relax=PcDartsRelaxation,
    # 15 of 50 epochs, section 4.2 of the paper.
    warm_up_share=0.3,
    learning_rate=6e-4,
    guards=("skip_limit",),
    stages=(Stage(partial=4),),
)
