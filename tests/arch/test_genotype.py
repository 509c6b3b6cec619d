"""Cells and genotypes: canonical form, digests, JSON, bad input."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cells, genotypes, renamed

from mobinas.arch.genotype import N_INPUTS, Cell, Edge, Genotype, digest_of, published, published_names
from mobinas.errors import ArchitectureError


def with_dead_node(cell: Cell) -> Cell:
    return Cell((*cell.nodes, (Edge(0, "conv_3x3"),)), cell.concat)


def computation(cell: Cell) -> Any:
    """What the cell computes, as nested sorted data that no naming can change (sharing aside)."""

    def value(number: int) -> Any:
        if number < N_INPUTS:
            return number
        return sorted([e.op, json.dumps(value(e.source))] for e in cell.nodes[number - N_INPUTS])

    return sorted(json.dumps(value(n)) for n in cell.concat)


@given(genotypes(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_isomorphic_genotypes_share_the_digest(genotype: Genotype, rng: random.Random) -> None:
    other = Genotype(renamed(genotype.normal, rng), with_dead_node(renamed(genotype.reduction, rng)))
    assert other.digest == genotype.digest
    assert other.canonical() == genotype.canonical()


@given(cells())
@settings(deadline=None, max_examples=40)
def test_canonical_form_is_idempotent_and_computes_the_same(cell: Cell) -> None:
    canonical = cell.canonical()
    assert canonical.canonical() == canonical
    assert computation(canonical) == computation(cell)


@given(cells(3), cells(3))
@settings(deadline=None, max_examples=40)
def test_cells_that_compute_different_things_differ(a: Cell, b: Cell) -> None:
    if computation(a) != computation(b):
        assert a.canonical() != b.canonical()


def test_a_shared_node_is_not_two_equal_ones() -> None:
    shared = Cell(((Edge(0, "conv_3x3"),), (Edge(2, "skip_connect"), Edge(2, "skip_connect"))), (3,))
    double = Cell(
        ((Edge(0, "conv_3x3"),), (Edge(0, "conv_3x3"),), (Edge(2, "skip_connect"), Edge(3, "skip_connect"))),
        (4,),
    )
    assert computation(shared) == computation(double)
    assert shared.canonical() != double.canonical()


def test_the_two_inputs_are_not_interchangeable() -> None:
    older, newer = (Cell(((Edge(source, "conv_3x3"),),), (2,)) for source in (0, 1))
    assert older.canonical() != newer.canonical()


@given(genotypes())
@settings(deadline=None, max_examples=40)
def test_json_round_trip(genotype: Genotype) -> None:
    text = json.dumps(genotype.to_json())
    assert Genotype.from_json(json.loads(text)) == genotype


@pytest.mark.parametrize("name", published_names())
def test_published_cells_are_distinct_and_round_trip(name: str) -> None:
    genotype = published(name)
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert [n for n in published_names() if published(n).digest == genotype.digest] == [name]


def test_unknown_published_name() -> None:
    with pytest.raises(ArchitectureError, match="did you mean 'PDARTS'"):
        published("PDART")


GOOD = {"nodes": [[[0, "conv_3x3"], [1, "skip_connect"]]], "concat": [2]}


def cell_with(**changes: Any) -> dict[str, Any]:
    return {"normal": {**GOOD, **changes}, "reduction": GOOD}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "exactly the keys"),
        ([], "exactly the keys"),
        ({"normal": GOOD}, "exactly the keys"),
        ({"normal": GOOD, "reduction": GOOD, "extra": 1}, "exactly the keys"),
        ({"normal": [], "reduction": GOOD}, "cell 'normal' must be"),
        (cell_with(extra=1), "cell 'normal' must be"),
        (cell_with(nodes=3), "cell 'normal' must be"),
        (cell_with(nodes=[[["0", "conv_3x3"]]]), "cell 'normal' must be"),
        (cell_with(nodes=[[[True, "conv_3x3"]]]), "cell 'normal' must be"),
        (cell_with(nodes=[[[0.0, "conv_3x3"]]]), "cell 'normal' must be"),
        (cell_with(nodes=[[[0, 3]]]), "cell 'normal' must be"),
        (cell_with(nodes=[[[0, ["conv_3x3"]]]]), "cell 'normal' must be"),
        (cell_with(nodes=[[[0]]]), "cell 'normal' must be"),
        (cell_with(nodes=[]), "at least one intermediate node"),
        (cell_with(nodes=[[]]), "node 2 has no edge"),
        (cell_with(nodes=[[[2, "conv_3x3"]]]), "node 2 reads node 2; it may read 0 to 1"),
        (cell_with(nodes=[[[-1, "conv_3x3"]]]), "node 2 reads node -1"),
        (cell_with(nodes=[[[0, "conv3x3"]]]), "unknown op 'conv3x3' .*did you mean 'conv_3x3'"),
        (cell_with(nodes=[[[0, "none"]]]), "has op 'none'"),
        (cell_with(concat=[]), "at least one node, each once"),
        (cell_with(concat=[2, 2]), "each once"),
        (cell_with(concat=[1]), "concat names node 1"),
        (cell_with(concat=[3]), "concat names node 3"),
        (cell_with(concat="2"), "must be"),
    ],
)
def test_bad_genotypes(tmp_path: Path, data: Any, text: str) -> None:
    with pytest.raises(ArchitectureError, match=text):
        Genotype.from_json(data)
    path = tmp_path / "g.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ArchitectureError, match=rf"g\.json.*{text}"):
        Genotype.load(path)


def test_genotype_files(tmp_path: Path) -> None:
    path = tmp_path / "g.json"
    with pytest.raises(ArchitectureError, match=r"cannot read .*No such file"):
        Genotype.load(path)
    path.write_text("Genotype(normal=[])")
    with pytest.raises(ArchitectureError, match="not valid JSON"):
        Genotype.load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ArchitectureError, match="not valid JSON"):
        Genotype.load(path)
    path.write_text(json.dumps(cell_with()))
    assert Genotype.load(path) == Genotype.from_json(cell_with())


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["nodes", "concat", "x"]), inner)
    ),
    max_leaves=8,
)


@given(json_data, json_data)
def test_whatever_json_gives_a_genotype_or_our_error(normal: Any, reduction: Any) -> None:
    with pytest.raises(ArchitectureError):
        Genotype.from_json({"normal": normal, "reduction": reduction})


def test_digests_depend_on_content_alone() -> None:
    for a, b in itertools.permutations([("x", 1), ("y", 2)]):
        assert digest_of(dict([a, b])) == digest_of({"x": 1, "y": 2})
