"""The search space: every road through its one generator agrees."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import spaced_architectures

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import published
from mobinas.arch.ops import OP_SETS, OPS, op_set
from mobinas.arch.space import PRESETS, SearchSpace, preset
from mobinas.errors import ArchitectureError

Pair = tuple[SearchSpace, Architecture]


@given(spaced_architectures())
@settings(deadline=None, max_examples=30)
def test_samples_lie_in_the_space_and_encode(pair: Pair) -> None:
    space, architecture = pair
    assert space.contains(architecture)
    choices = space.encode(architecture)
    assert space.decode(choices) == architecture
    assert space.encode(space.decode(choices)) == choices


@given(spaced_architectures())
@settings(deadline=None, max_examples=30)
def test_neighbours_differ_in_one_choice(pair: Pair) -> None:
    space, architecture = pair
    here = space.encode(architecture)
    for neighbour in space.neighbours(architecture):
        there = space.encode(neighbour)
        if there.get("op_set") == here.get("op_set"):
            assert sum(there[name] != here[name] for name in here) == 1


@given(spaced_architectures())
@settings(deadline=None, max_examples=30)
def test_neighbours_are_mutual_and_distinct(pair: Pair) -> None:
    space, architecture = pair
    if len(space.op_sets) > 1:
        return
    neighbours = list(space.neighbours(architecture))
    assert len(set(neighbours)) == len(neighbours)
    assert architecture not in neighbours
    if neighbours:
        assert architecture in list(space.neighbours(neighbours[-1]))


@given(spaced_architectures())
@settings(deadline=None, max_examples=30)
def test_vectors_are_one_hot_and_tell_architectures_apart(pair: Pair) -> None:
    space, architecture = pair
    vector = space.vector(architecture)
    assert set(np.unique(vector)) <= {0.0, 1.0}
    assert vector.sum() == 3 + 2 * 2 * space.nodes
    for neighbour in space.neighbours(architecture):
        other = space.vector(neighbour)
        assert other.shape == vector.shape
        assert not np.array_equal(other, vector)


def test_size_counts_every_encoding() -> None:
    space = SearchSpace(Task(2), (4, 8), (2, 3), (2,), (("none", "skip_connect", "conv_3x3"),), nodes=2)
    per_cell = (1 * 2**2) * (3 * 2**2)
    assert space.size() == per_cell**2 * 4
    rng = random.Random(0)
    drawn = {tuple(space.encode(space.sample(rng)).items()) for _ in range(2000)}
    assert len(drawn) > space.size() / 8


def test_sampling_is_seeded() -> None:
    space = preset("tiny", Task(10))
    a, b = random.Random(5), random.Random(5)
    assert [space.sample(a) for _ in range(5)] == [space.sample(b) for _ in range(5)]


def test_architectures_outside() -> None:
    space = preset("tiny", Task(10, 3))
    inside = space.sample(random.Random(0))
    genotype = inside.body.genotype
    outside = [
        Architecture(CellBody(genotype, 7, inside.body.width), inside.resolution, inside.task),
        Architecture(inside.body, inside.resolution, Task(9, 3)),
        Architecture(CellBody(published("NASNet"), 3, 4), 8, Task(10, 3)),
        Architecture(CellBody(genotype, 3, 4, "imagenet"), 32, Task(10, 3)),
    ]
    for architecture in outside:
        assert not space.contains(architecture)
        with pytest.raises(ArchitectureError, match="does not lie in this search space"):
            space.encode(architecture)


def test_decode_names_what_is_wrong() -> None:
    space = preset("tiny", Task(10))
    choices = space.encode(space.sample(random.Random(0)))
    with pytest.raises(ArchitectureError, match="choice 'depth' is 9, not one of"):
        space.decode({**choices, "depth": 9})
    del choices["normal.2.op0"]
    with pytest.raises(ArchitectureError, match=r"choice 'normal\.2\.op0' is missing"):
        space.decode(choices)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build(name: str) -> None:
    space = preset(name, Task(10))
    assert space.contains(space.sample(random.Random(0)))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"resolutions": ()}, r"resolutions is \[\]"),
        ({"depths": (3, 3)}, "depths is"),
        ({"widths": (3,)}, "width is 3"),
        ({"resolutions": (9,)}, "multiple of 4"),
        ({"op_sets": (("conv3",),)}, "unknown op 'conv3'"),
        ({"op_sets": (("none",),)}, "at least one op besides 'none'"),
        ({"op_sets": (("conv_3x3", "conv_3x3"),)}, "listed twice"),
    ],
)
def test_bad_spaces(changes: dict[str, object], text: str) -> None:
    settings: dict[str, object] = {
        "task": Task(2),
        "resolutions": (8,),
        "depths": (3,),
        "widths": (4,),
        "op_sets": (("conv_3x3",),),
    }
    with pytest.raises(ArchitectureError, match=text):
        SearchSpace(**{**settings, **changes})  # type: ignore[arg-type]


def test_op_sets_by_name_and_list() -> None:
    assert op_set("all") == tuple(OPS)
    assert op_set(["conv_3x3", "none"]) == ("conv_3x3", "none")
    assert all(set(ops) <= set(OPS) and "none" in ops for ops in OP_SETS.values())
    with pytest.raises(ArchitectureError, match="unknown op set 'dart'; did you mean 'darts'"):
        op_set("dart")
    with pytest.raises(ArchitectureError, match="unknown space 'tinny'; did you mean 'tiny'"):
        preset("tinny", Task(2))


@pytest.mark.parametrize(
    "op_sets",
    [
        (op_set("darts"),),
        (("none", "skip_connect", "conv_3x3", "conv_5x5"), ("max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3")),
    ],
)
def test_contrasting_draws_hold_one_kind_of_op_two_or_all(op_sets: tuple[tuple[str, ...], ...]) -> None:
    space, rng = SearchSpace(Task(10), (8,), (3,), (4,), op_sets), random.Random(0)
    kinds = [len(space.build(space.contrasting(rng)).body.genotype.ops()) for _ in range(300)]
    for few in (1, 2):  # a third of the draws each
        assert 70 <= kinds.count(few) <= 130
    assert sum(n > 2 for n in kinds) >= 70


def test_contrasting_draws_leave_the_choice_to_another_chooser() -> None:
    space, rng = SearchSpace(Task(10), (8, 16), (3, 4), (4,), (op_set("darts"),)), random.Random(0)
    drawn = [space.build(space.contrasting(rng, lambda _name, options: options[-1])) for _ in range(20)]
    assert {(a.resolution, a.body.depth) for a in drawn} == {(16, 4)}
    assert all(len(a.body.genotype.ops()) == 1 for a in drawn)


def test_the_middle_size_is_the_median_of_each_choice() -> None:
    assert SearchSpace(Task(10), (16, 8, 12), (5, 3), (4,), (op_set("darts"),)).middle_size() == (12, 5, 4)
