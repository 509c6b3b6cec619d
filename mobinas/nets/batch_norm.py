"""Statistics of batch normalisation, taken anew for the weights as they are."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def recalibrate(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replaces all running means and variances by their averages over these batches.

    Statistics gathered in training lag behind the weights and, in a supernet, mix many networks. Only batch
    normalisation runs in training mode meanwhile (dropout stays off), and every mode is restored.

    Args:
        module: Changed in place; a network without batch normalisation is left alone.
        batches: Normalised images, [n, channels, height, width]; equal sizes make the average exact.
            Without any batch the statistics stay as they are.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    modes = {m: m.training for m in module.modules()}
    momenta = [norm.momentum for norm in norms]
    module.eval()
    fresh = False
    try:
        with torch.no_grad():
            for batch in batches if norms else ():
                if not fresh:
                    _start(norms)
                    fresh = True
                module(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for m, mode in modes.items():
            m.training = mode


def _start(norms: list[_BatchNorm]) -> None:
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's sign for a cumulative average
        norm.training = True
