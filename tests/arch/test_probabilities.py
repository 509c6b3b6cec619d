import itertools
import json
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobinas.arch.architecture import Task
from mobinas.arch.probabilities import Probabilities, edge_slots
from mobinas.arch.space import SearchSpace
from mobinas.errors import ArchitectureError

OPS = ("none", "skip_connect", "conv_3x3", "max_pool_3x3")


def _random(seed: int, nodes: int = 3, ops: tuple[str, ...] = OPS) -> Probabilities:
    rng = np.random.default_rng(seed)
    edges = len(edge_slots(nodes))
    rows = [rng.dirichlet(np.ones(len(ops)), edges) for _ in range(2)]
    return Probabilities.of(ops, rows[0], rows[1], rng.random(edges), rng.random(edges))


def _space(nodes: int = 3) -> SearchSpace:
    return SearchSpace(Task(10, 1), (8, 16), (3, 4), (4, 8), (OPS,), nodes=nodes)


def test_edges_are_listed_node_by_node() -> None:
    assert edge_slots(2) == ((2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
    assert len(edge_slots(4)) == 14


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_json_round_trip(seed: int, nodes: int) -> None:
    p = _random(seed, nodes)
    assert p.nodes == nodes
    assert Probabilities.from_json(json.loads(json.dumps(p.to_json()))) == p


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_discretisation_against_the_written_rule(seed: int, nodes: int) -> None:
    p = _random(seed, nodes)
    slots = edge_slots(nodes)
    for rows, shares, cell in (
        (p.normal, p.normal_edges, p.genotype().normal),
        (p.reduction, p.reduction_edges, p.genotype().reduction),
    ):
        for number, edges in enumerate(cell.nodes, start=2):
            best = max(
                itertools.combinations(range(number), 2),
                key=lambda pair: sum(
                    shares[slots.index((number, s))] * max(rows[slots.index((number, s))][1:]) for s in pair
                ),
            )
            assert tuple(e.source for e in edges) == best
            for edge in edges:
                row = rows[slots.index((number, edge.source))]
                assert edge.op != "none"
                assert row[OPS.index(edge.op)] == max(row[1:])


def test_none_is_never_chosen_even_when_it_is_nearly_certain() -> None:
    row = [0.97, 0.01, 0.02, 0.0]
    p = Probabilities.of(OPS, [row] * 5, [row] * 5, [1] * 5, [1] * 5)
    assert p.genotype().ops() == {"conv_3x3"}
    assert p.genotype(ops=("none", "skip_connect")).ops() == {"skip_connect"}


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_what_the_chooser_draws_lies_in_the_space(seed: int, uniform: float) -> None:
    space = _space()
    assert space.contains(space.build(_random(seed).chooser(random.Random(seed), uniform)))


def test_chooser_frequencies_follow_strengths_and_probabilities() -> None:
    p, space, n = _random(5), _space(), 20000
    choose = p.chooser(random.Random(1), uniform=0.25)
    cells = [space.build(choose).body.genotype.reduction for _ in range(n // 4)]
    slots = edge_slots(3)
    strength = [p.reduction_edges[k] * max(p.reduction[k][1:]) for k in range(len(slots))]
    pairs = list(itertools.combinations(range(3), 2))
    products = [strength[slots.index((3, a))] * strength[slots.index((3, b))] for a, b in pairs]
    seen = Counter(tuple(e.source for e in cell.nodes[1]) for cell in cells)
    for pair, product in zip(pairs, products, strict=True):
        expected = 0.25 / 3 + 0.75 * product / sum(products)
        assert seen[pair] / len(cells) == pytest.approx(expected, abs=0.025)
    ops = Counter(cell.nodes[0][1].op for cell in cells)
    row = p.reduction[1]
    for k, op in enumerate(OPS[1:], start=1):
        expected = 0.25 / 3 + 0.75 * row[k] / sum(row[1:])
        assert ops[op] / len(cells) == pytest.approx(expected, abs=0.025)


def test_macro_choices_are_uniform() -> None:
    space, choose = _space(), _random(2).chooser(random.Random(3))
    counts = Counter(space.build(choose).resolution for _ in range(2000))
    assert counts[8] == pytest.approx(1000, abs=100)


def test_several_op_sets_are_drawn_within_the_chosen_one() -> None:
    sets = (("none", "skip_connect"), ("conv_3x3", "max_pool_3x3"))
    space = SearchSpace(Task(10, 1), (8,), (3,), (4,), sets, nodes=3)
    choose = _random(4).chooser(random.Random(0))
    for _ in range(30):
        assert space.contains(space.build(choose))


def test_likelihood_prefers_the_mode_when_edges_are_alike() -> None:
    p = _random(8)
    rng = random.Random(0)
    best = p.log_likelihood(p.genotype())
    assert all(best >= p.log_likelihood(_space().sample(rng).body.genotype) for _ in range(200))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ops": ["none", "skip_connect", "conv_3x3", "max_pool"]}, "max_pool_3x3"),
        ({"normal": [[1, 0, 0, 0]] * 4}, "edges"),
        ({"normal": [[1, 0, 0]] * 5}, "4 ops"),
        ({"normal": [[0.5, 0, 0, 0]] * 5}, "sum to 1"),
        ({"normal": [[float("nan"), 0, 0, 0]] * 5}, "probabilities"),
        ({"normal": [[2, -1, 0, 0]] * 5}, ">= 0"),
        ({"normal": "abc"}, "numbers"),
        ({"normal_edges": [1, 1, 1, 1, 1]}, "into node 2"),
        ({"extra": 1}, "keys"),
    ],
)
def test_bad_data_are_refused(change: dict[str, object], message: str) -> None:
    data = Probabilities.uniform(OPS, 2).to_json() | change
    with pytest.raises(ArchitectureError, match=message):
        Probabilities.from_json(data)


def test_uniform_share_out_of_range() -> None:
    with pytest.raises(ArchitectureError, match="between 0 and 1"):
        _random(0).chooser(random.Random(0), uniform=1.5)
