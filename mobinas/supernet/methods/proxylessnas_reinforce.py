"""ProxylessNAS with REINFORCE (Cai, Zhu and Han, 2019, section 3.3.2): for objectives without a gradient."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mobinas.supernet.methods.proxylessnas import PathRelaxation
from mobinas.supernet.relaxation import Method, MovingBaseline, Run

_PATHS_PER_STEP = 4


class ReinforceRelaxation(PathRelaxation):
    """Each alpha moves by how much better than usual the paths were that were drawn by it (eq. 8).

    Attributes:
        baseline: Of the rewards.
    """

    def __init__(self, ops: Sequence[str], nodes: int, seed: int) -> None:
        super().__init__(ops, nodes, seed)
        self.baseline = MovingBaseline()

    def architecture_loss(self, run: Run) -> Tensor:
        """Whose gradient is the expected (baseline - reward) * d log p of several draws."""
        losses = []
        for _ in range(_PATHS_PER_STEP):
            mixture = self()
            with torch.no_grad():
                reward = run(mixture)[1]
            likelihood = sum(
                (torch.log_softmax(alphas, dim=1) * weights.ops).sum()
                for alphas, weights in ((self.normal, mixture.normal), (self.reduction, mixture.reduction))
            )
            losses.append(-self.baseline.advantage(reward) * likelihood)
        return torch.stack([torch.as_tensor(loss) for loss in losses]).mean()


METHOD = Method(
    name="proxylessnas-reinforce",
    summary="as proxylessnas, but learns from rewards alone, so from anything that can be measured",
    when="goals without a gradient",
    relax=ReinforceRelaxation,
    warm_up_share=0.3,
    learning_rate=6e-3,
    momentum=0.0,
    weight_decay=0.0,
    mixes=False,
    draws=True,
    latency_weight=0.07,
    rewards=True,
    guards=("skip_limit",),
)
