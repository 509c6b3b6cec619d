"""DARTS (Liu, Simonyan and Yang, 2019, https://arxiv.org/abs/1806.09055)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mobinas.arch.probabilities import Probabilities
from mobinas.supernet.relaxation import CellWeights, Method, Mixture, Relaxation, even_edges, initial_alphas


class DartsRelaxation(Relaxation):
    """A softmax over the ops of each edge (eq. 2); separate alphas for normal and reduction cells.

    Attributes:
        normal: [edges, ops] alphas of the normal cells.
        reduction: [edges, ops] alphas of the reduction cells.
    """

    def __init__(self, ops: Sequence[str], nodes: int, seed: int) -> None:
        super().__init__(ops, nodes)
        generator = torch.Generator().manual_seed(seed)
        self.normal = initial_alphas(nodes, len(self.ops), generator)
        self.reduction = initial_alphas(nodes, len(self.ops), generator)

    def forward(self) -> Mixture:
        """Softmaxed alphas; a node is the plain sum of its edges."""
        return Mixture(_softmax(self.normal), _softmax(self.reduction))

    def probabilities(self) -> Probabilities:
        """Softmaxed alphas; every edge has the same share."""
        return even_edges(self.ops, self.normal, self.reduction)


def _softmax(alphas: Tensor) -> CellWeights:
    return CellWeights(torch.softmax(alphas, dim=1), torch.ones_like(alphas[:, 0]))


METHOD = Method(
    name="darts",
    summary="softmax over all ops on every edge; the reference of the family",
    when="research: the reference that others are compared with; holds every op in memory",
    relax=DartsRelaxation,
    warm_up_share=0.0,
    learning_rate=3e-4,
    guards=("skip_dropout", "skip_limit"),
)
