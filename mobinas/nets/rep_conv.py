"""Convolutions that are trained as a sum of branches, and networks with these merged."""

import torch
from torch import Tensor, nn

from mobinas.graph import layers
from mobinas.graph.rep import add_branch
from mobinas.nets.conv import Conv2d


class Branch(nn.Module):
    """A convolution, or the identity, and batch normalisation."""

    def __init__(self, conv: nn.Module, bn: nn.BatchNorm2d) -> None:
        """Takes both; `nn.Identity` for the identity."""
        super().__init__()
        self.conv, self.bn = conv, bn

    def forward(self, x: Tensor) -> Tensor:
        """Maps [batch, in_channels, height, width] to [batch, out_channels, ...]."""
        result: Tensor = self.bn(self.conv(x))
        return result

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of the batch normalisation by its running statistics, [out_channels] each."""
        bn = self.bn
        assert bn.running_mean is not None and bn.running_var is not None
        scale = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
        return scale, bn.bias - bn.running_mean * scale


class RepConv2d(nn.Module):
    """The sum of all branches; without gradients the merged convolution, which is the same.

    Attributes:
        layer: What is computed.
        branches: In the order of the layer.
    """

    def __init__(self, layer: layers.RepConv2d, branches: list[Branch]) -> None:
        """Takes the layer and a module for each of its branches."""
        super().__init__()
        self.layer = layer
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [batch, in_channels, height, width] to [batch, out_channels, ...]."""
        norms = [branch.bn for branch in self._branches()]
        fixed = all(isinstance(bn, nn.BatchNorm2d) and not bn.training for bn in norms)
        if fixed and not torch.is_grad_enabled():
            of = self.layer.merged
            dilation = (of.dilation, of.dilation)
            return nn.functional.conv2d(x, *self.merged(), of.stride, of.padding, dilation, of.groups)
        first, *rest = [branch(x) for branch in self._branches()]
        total: Tensor = sum(rest, first)
        return total

    def _branches(self) -> list[Branch]:
        return [branch for branch in self.branches if isinstance(branch, Branch)]

    @torch.no_grad()
    def merged(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that the branches amount to."""
        of, like = self.layer.merged, next(self.parameters())
        weight = like.new_zeros(of.out_channels, of.in_channels // of.groups, *of.kernel)
        bias = like.new_zeros(of.out_channels)
        for conv, branch in zip(self.layer.branches, self._branches(), strict=True):
            taps = branch.conv.weight if isinstance(branch.conv, Conv2d) else None
            add_branch(weight, bias, of, conv, taps, *branch.affine())
        return weight, bias
