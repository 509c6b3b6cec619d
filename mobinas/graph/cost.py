"""Exact costs of a Graph: parameters and multiply-accumulates."""

from dataclasses import dataclass
from typing import assert_never

from mobinas.graph.layers import (
    Add,
    BatchNorm2d,
    Concat,
    Conv2d,
    Crop,
    GlobalAvgPool,
    Graph,
    HardSigmoid,
    HardSwish,
    Input,
    Layer,
    Linear,
    Pool2d,
    ReLU,
    RepConv2d,
    Scale,
    Shape,
    Zeros,
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Counts for one image.

    Attributes:
        params: Trainable numbers, batch normalisation included; of convolutions that are trained in branches
            those of the merged one.
        macs: Multiply-accumulates of convolutions and linear layers.
    """

    params: int
    macs: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.params + other.params, self.macs + other.macs)


def layer_cost(layer: Layer, shape: Shape) -> Cost:
    """Cost of one layer whose result has this (channels, height, width)."""
    match layer:
        case RepConv2d():
            return layer_cost(layer.merged, shape)
        case Conv2d():
            taps = layer.kernel[0] * layer.kernel[1] * (layer.in_channels // layer.groups)
            weights = layer.out_channels * taps
            return Cost(weights + layer.out_channels * layer.bias, weights * shape[1] * shape[2])
        case BatchNorm2d():
            return Cost(2 * layer.channels if layer.affine else 0, 0)
        case Linear():
            weights = layer.in_features * layer.out_features
            return Cost(weights + layer.out_features, weights)
        case Input() | ReLU() | HardSwish() | HardSigmoid() | Pool2d() | Crop() | Zeros():
            return Cost(0, 0)
        case Add() | Scale() | Concat() | GlobalAvgPool():
            return Cost(0, 0)
        case _:
            assert_never(layer)


def cost(graph: Graph) -> Cost:
    """Cost of the whole Graph, auxiliary outputs included if it has them."""
    return sum((layer_cost(node.layer, node.shape) for node in graph.nodes), Cost(0, 0))
