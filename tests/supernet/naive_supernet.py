"""The oracle: mixed cells written as in the papers, one op on one edge at a time, weights copied over."""

import torch
from torch import Tensor, nn

from mobinas.arch.probabilities import edge_slots
from mobinas.graph.layers import BatchNorm2d, Conv2d
from mobinas.nets.module import GraphModule
from mobinas.supernet.edge_op import EdgeOp
from mobinas.supernet.mixed import MixedEdges
from mobinas.supernet.network import MixedCell, SearchNetwork
from mobinas.supernet.relaxation import CellWeights


def edge_module(op: EdgeOp, edge: int) -> GraphModule:
    """The op on one edge as a plain module that holds the same weights."""
    module = GraphModule(op.graph, seed=0)
    for node in op.graph.nodes:
        if isinstance(node.layer, Conv2d):
            weight = op.layers[node.name].weight
            if op.edges == 1:  # the very parameter, so that its gradient can be compared
                module.layers[node.name].weight = weight
            else:
                module.layers[node.name].weight.data.copy_(weight.detach().chunk(op.edges)[edge])
        elif isinstance(node.layer, BatchNorm2d):
            assert not node.layer.affine
    return module


def mixed_op(edges: MixedEdges, edge: int, x: Tensor, weights: Tensor) -> Tensor:
    total = torch.zeros((), dtype=x.dtype)
    for column, op in enumerate(edges.ops):
        if op == "none":
            continue
        result = weights[column] * edge_module(edges.by_op[op], edge).to(x.dtype)(x)
        total = total + result
    return total


def cell(module: MixedCell, older: Tensor, newer: Tensor, weights: CellWeights) -> Tensor:
    states = [
        edge_module(one.op, 0).to(x.dtype)(x)
        for one, x in zip(module.preprocessing, (older, newer), strict=True)
    ]
    slots, k = edge_slots(module.nodes), module.partial
    for number in range(2, 2 + module.nodes):
        total = None
        for source in range(number):
            x, row = states[source], slots.index((number, source))
            edge = number - max(2, source + 1)
            active, rest = x[:, : x.shape[1] // k], x[:, x.shape[1] // k :]
            result = mixed_op(module.sources[source], edge, active, weights.ops[row])
            if k > 1:
                if result.shape[2] != rest.shape[2]:
                    rest = nn.functional.max_pool2d(rest, 2, 2)
                result = shuffle(torch.cat([result, rest], dim=1), k)
            result = weights.edges[row] * result
            total = result if total is None else total + result
        states.append(total)
    return torch.cat(states[2:], dim=1)


def shuffle(x: Tensor, groups: int) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.reshape(batch, groups, channels // groups, height, width)
    return x.transpose(1, 2).reshape(batch, channels, height, width)


def network(module: SearchNetwork, image: Tensor) -> Tensor:
    mixture = module.relaxation()
    stem = module.stem(image)
    assert isinstance(stem, Tensor)
    older = newer = stem
    for one in module.cells:
        weights = mixture.reduction if one.site.reduces else mixture.normal
        older, newer = newer, cell(one, older, newer, weights)
    return module.head(newer)
