"""Weights of a search network for one whose mixed ops see more channels."""

import torch
from torch import Tensor, nn

from mobinas.supernet.edge_op import EdgeConv, EdgeNorm
from mobinas.supernet.normed_sum import PointwiseNorm


@torch.no_grad()
def widen(narrow: nn.Module, wide: nn.Module) -> None:
    """Takes over the weights of a search network, or a part of one, whose mixed ops see fewer channels.

    Where the inputs of an op are copies of channels, so is what it computes (of a factorised reduce, in
    another order): copies of a filter share its weights to what follows (Net2Wider, Chen et al., 2016,
    https://arxiv.org/abs/1511.05641, eq. 4).

    Args:
        narrow: Where weights and statistics come from; of the same depth.
        wide: Gets them; its channels in mixed ops are a multiple of those of `narrow`.
    """
    state = narrow.state_dict()
    edges = {
        f"{path}.{name}": module.edges
        for path, module in wide.named_modules()
        if isinstance(module, EdgeConv | EdgeNorm | PointwiseNorm)
        for name in module.state_dict()
    }
    for name, target in wide.state_dict().items():
        source = state[name]
        target.copy_(source if source.shape == target.shape else _widened(source, target.shape, edges[name]))


def _widened(tensor: Tensor, shape: torch.Size, edges: int) -> Tensor:
    """Repeats the channels of each edge in [edges * channels, ...], and the inputs of filters."""
    rest = tensor.shape[1:]
    wider = tensor.view(edges, -1, *rest)
    wider = wider.repeat(1, shape[0] // tensor.shape[0], *(1 for _ in rest)).flatten(0, 1)
    if shape == wider.shape:
        return wider
    copies = shape[1] // rest[0]
    return wider.repeat(1, copies, *(1 for _ in rest[1:])) / copies
