"""GDAS (Dong and Yang, 2019, https://arxiv.org/abs/1910.04465): one op per edge by a hard Gumbel-softmax."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mobinas.supernet.relaxation import AlphaRelaxation, CellWeights, Method, Mixture

# The temperature falls along the epochs, as in the authors' code.
_FIRST_TEMPERATURE = 10.0
_LAST_TEMPERATURE = 0.1


class GdasRelaxation(AlphaRelaxation):
    """A one-hot draw per edge forward, the gradient of the softened draw backward (eq. 5 to 7).

    Attributes:
        temperature: Of the softened draw.
    """

    def __init__(self, ops: Sequence[str], nodes: int, seed: int) -> None:
        super().__init__(ops, nodes, seed)
        self.temperature = _FIRST_TEMPERATURE

    def begin_epoch(self, share: float, generator: torch.Generator) -> None:
        """Lowers the temperature, and draws from the epoch's generator from here on."""
        self.temperature = _FIRST_TEMPERATURE + share * (_LAST_TEMPERATURE - _FIRST_TEMPERATURE)
        super().begin_epoch(share, generator)

    def forward(self) -> Mixture:
        """One op per edge; only these are computed."""
        return Mixture(self._drawn(self.normal), self._drawn(self.reduction))

    def _drawn(self, alphas: Tensor) -> CellWeights:
        exponential = torch.empty(alphas.shape).exponential_(generator=self.generator)
        noise = -torch.log(exponential.clamp(min=1e-20)).to(alphas)  # of a standard Gumbel distribution
        soft = torch.softmax((torch.log_softmax(alphas, dim=1) + noise) / self.temperature, dim=1)
        chosen = torch.zeros_like(soft).scatter(1, soft.argmax(dim=1, keepdim=True), 1.0)
        # In this order, what is not chosen is exactly 0.
        hard = (chosen - soft.detach()) + soft
        return CellWeights(hard, torch.ones_like(hard[:, 0]), chosen != 0)


METHOD = Method(
    name="gdas",
    summary="one op per edge and step by a hard Gumbel-softmax; little time and memory a step",
    when="many ops, large images or little memory",
    relax=GdasRelaxation,
    warm_up_share=0.0,
    learning_rate=3e-4,
    mixes=False,
    draws=True,
    guards=("skip_limit",),
)
