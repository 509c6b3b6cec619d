"""P-DARTS (Chen et al., 2019, https://arxiv.org/abs/1904.12760): deeper networks with ever fewer ops.

In three stages the search network grows to the depth of the networks searched for, while each edge keeps 8,
then 5, then 3 of 8 ops, and network and alphas start anew (section 3.2.1). Skip connections are dropped at
random, in later stages more often, and less and less along a stage (section 3.2.2); the limit on their number
is the guard ``skip_limit``.
"""

import math
from collections.abc import Sequence

import torch

from mobinas.supernet.narrowing import NarrowingRelaxation
from mobinas.supernet.relaxation import Method, Mixture, drop_skips, initial_alphas
from mobinas.supernet.stage import Stage

# Section 4.1.2, for CIFAR-10; the authors' code lets them fall to a twentieth along a stage.
_SKIP_DROPOUT = (0.0, 0.4, 0.7)
_DECAY = 3.0


class PDartsRelaxation(NarrowingRelaxation):
    """A softmax over the ops that an edge still has, with dropout of skip connections in training.

    Attributes:
        rate: Of the dropout, in this epoch.
    """

    def __init__(self, ops: Sequence[str], nodes: int, seed: int) -> None:
        super().__init__(ops, nodes, seed)
        self.rate = 0.0

    def begin_epoch(self, share: float, generator: torch.Generator) -> None:
        """Lowers the dropout along the stage."""
        super().begin_epoch(share, generator)
        self.rate = _SKIP_DROPOUT[min(int(self.stage), len(_SKIP_DROPOUT) - 1)] * math.exp(-_DECAY * share)

    def narrow(self, ops: int, generator: torch.Generator) -> None:
        """Keeps the likeliest ops and forgets how likely they were."""
        super().narrow(ops, generator)
        with torch.no_grad():
            for alphas in (self.normal, self.reduction):
                alphas.copy_(initial_alphas(self.nodes, len(self.ops), generator))

    def forward(self) -> Mixture:
        """Softmaxed alphas of the kept ops."""
        mixture = self.mixture(self.shares())
        return drop_skips(mixture, self.ops, self.rate, self.generator) if self.training else mixture


METHOD = Method(
    name="p-darts",
    summary="the network grows to full depth while weak ops are dropped; closes the gap between depths",
    when="deep networks, where cells that win in a shallow search disappoint",
    relax=PDartsRelaxation,
    # 10 of the 25 epochs of each stage.
    warm_up_share=0.4,
    learning_rate=6e-4,
    draws=True,
    guards=("skip_limit",),
    stages=(
        Stage(),
        Stage(deepening=0.5, kept_ops=5 / 8, anew=True),
        Stage(deepening=1.0, kept_ops=3 / 8, anew=True),
    ),
)
