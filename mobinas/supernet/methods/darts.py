"""DARTS (Liu, Simonyan and Yang, 2019, https://arxiv.org/abs/1806.09055)."""

import torch
from torch import Tensor

from mobinas.supernet.relaxation import AlphaRelaxation, CellWeights, Method, Mixture


class DartsRelaxation(AlphaRelaxation):
    """A softmax over the ops of each edge (eq. 2); separate alphas for normal and reduction cells."""

    def forward(self) -> Mixture:
        """Softmaxed alphas; a node is the plain sum of its edges."""
        return Mixture(_softmax(self.normal), _softmax(self.reduction))


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
