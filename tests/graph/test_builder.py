"""The builder of graphs: what is shared, and what is not."""

import pytest

from mobinas.graph.builder import GraphBuilder
from mobinas.graph.layers import Add, BatchNorm2d, Pool2d


@pytest.mark.parametrize(("share", "pools"), [(True, 1), (False, 2)])
def test_only_layers_without_parameters_are_shared(share: bool, pools: int) -> None:
    net = GraphBuilder((4, 8, 8), share=share)
    left, right = (net.add(f"pool{k}", Pool2d("avg", 3, 1, 1), 0) for k in range(2))
    ends = [net.add(f"norm{k}", BatchNorm2d(4), source) for k, source in enumerate((left, right))]
    layers = [node.layer for node in net.finish(net.add("sum", Add(), *ends)).nodes]
    assert sum(isinstance(layer, Pool2d) for layer in layers) == pools
    assert sum(isinstance(layer, BatchNorm2d) for layer in layers) == 2
