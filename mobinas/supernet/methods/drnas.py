"""DrNAS (Chen et al., 2021, https://arxiv.org/abs/2006.10355): op weights of a Dirichlet distribution.

Its concentrations ``elu(alpha) + 1`` are learned through the draws (eq. 4 and 5); weight decay of the alphas
is the paper's l2 distance to a concentration of 1 (eq. 3). Half of the ops are dropped after the first stage,
when the share of channels in the mixed ops doubles (section 3.3). Here that is a quarter, then half, where
the paper has a sixth, then a third, so that small widths fit.
"""

import torch
from torch import Tensor

from mobinas.supernet.narrowing import NarrowingRelaxation
from mobinas.supernet.relaxation import Method, Mixture
from mobinas.supernet.stage import Stage

_LEAST_CONCENTRATION = 1e-6


class DirichletRelaxation(NarrowingRelaxation):
    """A draw from a Dirichlet distribution over the ops that an edge still has."""

    def shares(self) -> tuple[Tensor, Tensor]:
        """[edges, ops] means of the distributions of the normal and of the reduction cells."""
        normal, reduction = (self._concentrations(alphas) * mask for alphas, mask in self.tables())
        return normal / normal.sum(1, keepdim=True), reduction / reduction.sum(1, keepdim=True)

    def forward(self) -> Mixture:
        """One draw, differentiable in the concentrations; their mean where it is not trained."""
        if not self.training:
            return self.mixture(self.shares())
        return self.mixture(self._drawn(alphas, mask) for alphas, mask in self.tables())

    @staticmethod
    def _concentrations(alphas: Tensor) -> Tensor:
        return (torch.nn.functional.elu(alphas) + 1).clamp(min=_LEAST_CONCENTRATION)

    def _drawn(self, alphas: Tensor, mask: Tensor) -> Tensor:
        # Every edge has as many kept ops, so that their columns are a table of their own.
        columns = mask.nonzero()[:, 1].view(len(alphas), -1)
        # Drawn on the CPU, so that every device sees the same.
        concentrations = self._concentrations(alphas.gather(1, columns)).cpu()
        with torch.random.fork_rng(devices=[]):  # the distribution takes no generator
            torch.default_generator.manual_seed(int(torch.randint(2**31, (1,), generator=self.generator)))
            drawn = torch.distributions.Dirichlet(concentrations).rsample()
        return torch.zeros_like(alphas).scatter(1, columns, drawn.to(alphas.device))


METHOD = Method(
    name="drnas",
    summary="op weights drawn from learned Dirichlet distributions; channels grow as ops are dropped",
    when="research: exploration by sampling, few channels first; steadier than a plain softmax",
    relax=DirichletRelaxation,
    # 10 of 50 epochs.
    warm_up_share=0.2,
    learning_rate=6e-4,
    draws=True,
    stages=(Stage(partial=4), Stage(partial=2, kept_ops=0.5)),
)
