"""ProxylessNAS (Cai, Zhu and Han, 2019, https://arxiv.org/abs/1812.00332): binarised paths, gradient form.

Weight steps run one path per edge, drawn by its probability. Architecture steps draw two per edge, without
repetition, and run both: one drawn by their renormalised probabilities passes, the other has a gate of 0,
whose gradient counts too (eq. 4). Only these two alphas move, by an Adam without momentum or decay, and are
shifted afterwards so that the probabilities of the others stay (section 3.2.1).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mobinas.supernet.relaxation import AlphaRelaxation, CellWeights, Method, Mixture, Run


class PathRelaxation(AlphaRelaxation):
    """Alphas of which one path per edge is drawn."""

    def forward(self) -> Mixture:
        """One path per edge, by its probability."""
        return Mixture(*(self._one(alphas) for alphas in (self.normal, self.reduction)))

    def draw(self, alphas: Tensor, number: int) -> Tensor:
        """[edges, number] different columns for each edge, by their probabilities."""
        probabilities = torch.softmax(alphas.detach(), dim=1).cpu()
        return torch.multinomial(probabilities, number, generator=self.generator).to(alphas.device)

    def _one(self, alphas: Tensor) -> CellWeights:
        gates = torch.zeros_like(alphas).scatter(1, self.draw(alphas, 1), 1.0)
        return CellWeights(gates, torch.ones_like(gates[:, 0]), gates != 0)


class ProxylessRelaxation(PathRelaxation):
    """Architecture steps through the gates of two paths per edge."""

    def __init__(self, ops: Sequence[str], nodes: int, seed: int) -> None:
        super().__init__(ops, nodes, seed)
        # Of the step under way, for each cell: which columns move, and all alphas before.
        self._moving: list[tuple[nn.Parameter, Tensor, Tensor]] = []

    def architecture_loss(self, run: Run) -> Tensor:
        """The loss of one of two paths, differentiable in the probabilities of both."""
        self._moving = []
        return run(Mixture(*(self._two(alphas) for alphas in (self.normal, self.reduction))))[0]

    @torch.no_grad()
    def end_step(self) -> None:
        """Shifts the two alphas of each edge so that their exponentials sum to what they did; others stay."""
        for alphas, columns, before in self._moving:
            after, old = alphas.gather(1, columns), before.gather(1, columns)
            shift = torch.logsumexp(after, dim=1, keepdim=True) - torch.logsumexp(old, dim=1, keepdim=True)
            alphas.copy_(before.scatter(1, columns, after - shift))
        self._moving = []

    def _two(self, alphas: nn.Parameter) -> CellWeights:
        if alphas.shape[1] == 1:
            return self._one(alphas)
        columns = self.draw(alphas, 2)
        self._moving.append((alphas, columns, alphas.detach().clone()))
        shares = torch.softmax(alphas.gather(1, columns), dim=1)
        first = torch.rand(len(shares), generator=self.generator).to(shares) < shares[:, 0].detach()
        passing = torch.stack([first, ~first], dim=1).to(shares)
        # In this order, the gate of the path that does not pass is exactly 0.
        gates = (passing - shares.detach()) + shares
        computed = torch.zeros_like(alphas, dtype=torch.bool).scatter(1, columns, True)
        table = torch.zeros_like(alphas).scatter(1, columns, gates)
        return CellWeights(table, torch.ones_like(table[:, 0]), computed)


METHOD = Method(
    name="proxylessnas",
    summary="one path a weight step, two an architecture step; little memory, for mobile deployment",
    when="mobile deployment: full-width paths, little memory",
    relax=ProxylessRelaxation,
    warm_up_share=0.3,
    learning_rate=6e-3,
    momentum=0.0,
    weight_decay=0.0,
    mixes=False,
    draws=True,
    latency_weight=0.07,
    guards=("skip_limit",),
)
