"""An L1 term on exp(-alpha), which keeps any op from being given up early."""

import torch
from torch import Tensor

from mobinas.supernet.guard import Guard
from mobinas.supernet.relaxation import Relaxation

_WEIGHT = 1e-2


def _penalty(relaxation: Relaxation, share: float) -> Tensor:
    return _WEIGHT * torch.stack([torch.exp(-alphas).mean() for alphas in relaxation.parameters()]).sum()


GUARD = Guard(
    name="exp_alpha",
    summary="an L1 term on exp(-alpha): the further an op falls behind, the stronger it is held",
    penalty=_penalty,
    mixed_only=True,
)
