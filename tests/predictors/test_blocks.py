import random

import numpy as np
import pytest

from mobinas.arch.architecture import Architecture, CellBody, Stem, Task
from mobinas.arch.genotype import Cell, Edge, Genotype, published, published_names
from mobinas.arch.ops import op_set
from mobinas.arch.space import SearchSpace
from mobinas.graph.lowering import lower
from predictors.blocks import architecture_features
from predictors.kernels import feature_vector, kernels_of

SPACE = SearchSpace(Task(10, 1), (8, 16), (3, 4, 5), (2, 4, 8), (op_set("all"),))


def slow(architecture: Architecture) -> np.ndarray:
    return feature_vector(kernels_of(lower(architecture)))


@pytest.mark.parametrize("seed", range(5))
def test_tables_equal_lowering_on_random_cells(seed: int) -> None:
    rng = random.Random(seed)
    architectures = [SPACE.sample(rng) for _ in range(12)]
    np.testing.assert_array_equal(architecture_features(architectures), [slow(a) for a in architectures])


@pytest.mark.parametrize("stem", ["strided", "imagenet"])
@pytest.mark.parametrize("seed", range(3))
def test_tables_equal_lowering_where_edges_share_pools_and_skips(seed: int, stem: Stem) -> None:
    ops = ("skip_connect", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3")
    rng = random.Random(seed)
    space = SearchSpace(Task(10, 3), (32,), (2, 6), (4,), (ops,), stem=stem)
    architectures = [space.sample(rng) for _ in range(15)]
    np.testing.assert_array_equal(architecture_features(architectures), [slow(a) for a in architectures])


@pytest.mark.parametrize("name", published_names())
def test_tables_equal_lowering_on_published_cells(name: str) -> None:
    architectures = [Architecture(CellBody(published(name), depth, 8), 16, Task(10)) for depth in (2, 5)]
    np.testing.assert_array_equal(architecture_features(architectures), [slow(a) for a in architectures])


def test_irregular_cells_are_lowered() -> None:
    only_old = Cell(((Edge(0, "conv_3x3"),), (Edge(0, "skip_connect"), Edge(0, "skip_connect"))), (2, 3))
    one_output = Cell(((Edge(0, "conv_3x3"), Edge(1, "conv_3x3")), (Edge(0, "avg_pool_3x3"),)), (2,))
    architectures = [
        Architecture(CellBody(Genotype(a, b), 5, 4), 8, Task(10))
        for a in (only_old, one_output)
        for b in (only_old, one_output)
    ]
    np.testing.assert_array_equal(architecture_features(architectures), [slow(a) for a in architectures])


def test_no_architectures_give_an_empty_matrix() -> None:
    assert architecture_features([]).shape[0] == 0
