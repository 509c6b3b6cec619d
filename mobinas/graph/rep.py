"""Merges the branches of a convolution that is trained as their sum into that one convolution."""

from typing import Any

from mobinas.graph.layers import Conv2d


def add_branch(
    weight: Any, bias: Any, merged: Conv2d, branch: Conv2d | None, taps: Any, scale: Any, shift: Any
) -> None:
    """Adds a branch to the merged convolution, in place; exact but for rounding.

    Batch normalisation by running statistics is the affine map y = scale * x + shift with
    scale = gamma / sigma and shift = beta - mu * scale, per output channel (RepVGG,
    https://arxiv.org/abs/2101.03697, eq. 2). A convolution before it is linear, so

        bn(W * x) = (scale W) * x + shift                                        (eq. 3 and 4),

    the identity is the convolution whose filter i is 1 at its centre in channel i, and a smaller kernel is a
    larger one with zeros around, as both are padded by half (section 3.3, figure 4). Sums of convolutions of
    one input are the convolution with the sum of the kernels, and the biases add up.

    Args:
        weight: [out_channels, in_channels / groups, height, width], an array of NumPy or torch; changed.
        bias: [out_channels]; changed.
        merged: What they are weight and bias of.
        branch: The branch's convolution; None for the identity.
        taps: The branch's weight; unused for the identity.
        scale: [out_channels] of the branch's batch normalisation.
        shift: [out_channels] of the branch's batch normalisation.
    """
    bias += shift
    if branch is None:
        channels = list(range(merged.out_channels))
        per_group = merged.in_channels // merged.groups
        within = [channel % per_group for channel in channels]
        weight[channels, within, merged.kernel[0] // 2, merged.kernel[1] // 2] += scale
        return
    top, left = ((m - b) // 2 for m, b in zip(merged.kernel, branch.kernel, strict=True))
    height, width = branch.kernel
    weight[:, :, top : top + height, left : left + width] += taps * scale[:, None, None, None]
