"""Entropy regularisation: even ops are favoured early, decided ones late."""

import torch
from torch import Tensor

from mobinas.supernet.guard import Guard
from mobinas.supernet.relaxation import Relaxation

# Weight of the mean entropy (in units of a uniform choice's) in the first epoch; its negative in the last.
_WEIGHT = 0.2


def _penalty(relaxation: Relaxation, share: float) -> Tensor:
    mixture = relaxation()
    rows = torch.cat([mixture.normal.ops, mixture.reduction.ops])
    rows = rows / rows.sum(dim=1, keepdim=True)
    entropy = -(rows * torch.log(rows.clamp(min=1e-12))).sum(dim=1).mean() / max(
        torch.log(torch.tensor(float(rows.shape[1]))), torch.tensor(1e-12)
    )
    return -_WEIGHT * (1 - 2 * share) * entropy


GUARD = Guard(
    name="entropy",
    summary="favours even ops early and decided ones late, by the entropy of the op weights",
    penalty=_penalty,
    mixed_only=True,
)
