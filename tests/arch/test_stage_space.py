"""Spaces of stages: choices, encodings, neighbours, presets, bad input."""

import itertools
import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import stage_spaces

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.blocks import BLOCKS
from mobinas.arch.genotype import published
from mobinas.arch.stage_choices import StageChoices
from mobinas.arch.stage_presets import STAGE_PRESETS, stage_preset
from mobinas.arch.stage_space import StageSpace
from mobinas.arch.stages import IDENTITY, Stage, StageBody
from mobinas.errors import ArchitectureError
from mobinas.search.choice_space import enumerate_space, recorded, uniformly

SEEDS = st.integers(0, 10**6)
TASK = Task(10)


def space(*stages: StageChoices, **more: Any) -> StageSpace:
    return StageSpace(TASK, (16, 32), (8, 16), stages, **more)


SMALL = space(
    StageChoices((8,), (0, 1), ("conv", "mbconv", "rep"), expansions=(1, 3), kernels=(3, 5)),
    StageChoices((24,), (0, 1, 2), ("ds", "identity", "fused"), (2,)),
    heads=("linear", "wide"),
    head_widths=(32, 64),
)


@given(stage_spaces(), SEEDS)
@settings(deadline=None, max_examples=60)
def test_encoding_and_decoding_are_inverse(of: StageSpace, seed: int) -> None:
    candidate, chosen = recorded(of, uniformly(random.Random(seed)))
    assert of.encode(candidate) == chosen
    assert of.decode(chosen) == candidate
    assert of.contains(candidate)
    assert of.sample(random.Random(seed)) == candidate


@given(stage_spaces(), SEEDS)
@settings(deadline=None, max_examples=40)
def test_a_name_comes_with_the_same_options_always(of: StageSpace, seed: int) -> None:
    stated = of.choices()
    rng = random.Random(seed)

    def choose(name: str, options: Sequence[Any]) -> Any:
        assert tuple(options) == stated[name]
        assert len(options) > 1 or name == "resolution"
        return rng.choice(options)

    of.build(choose)


@given(stage_spaces(), SEEDS)
@settings(deadline=None, max_examples=25)
def test_neighbours_differ_in_one_choice_and_what_hangs_on_it(of: StageSpace, seed: int) -> None:
    a = of.sample(random.Random(seed))
    mine = of.encode(a)
    found = list(of.neighbours(a))
    assert len(found) == sum(len(of.choices()[name]) - 1 for name in mine)
    for b in found:
        theirs = of.encode(b)
        changed = [name for name in mine if name in theirs and mine[name] != theirs[name]]
        assert len(changed) == 1
        assert b != a


@given(stage_spaces(), SEEDS)
@settings(deadline=None, max_examples=25)
def test_vectors_have_one_length_and_tell_architectures_apart(of: StageSpace, seed: int) -> None:
    rng = random.Random(seed)
    a, b = of.sample(rng), of.sample(rng)
    u, v = of.vector(a), of.vector(b)
    assert u.shape == v.shape == (sum(len(options) for options in of.choices().values()),)
    assert np.array_equal(u, v) == (a == b)
    assert u.sum() == len(of.encode(a))


def test_no_two_choices_make_the_same_network() -> None:
    small = replace(SMALL, resolutions=(32,))
    everything = list(enumerate_space(small, 100_000))
    assert len(everything) == small.size() == 1 * 2 * 3 * (1 + (2 + 4 + 1)) * (1 + 2 * (2 + 2) * 2)
    assert len({architecture.digest for architecture, _ in everything}) == len(everything)


@given(stage_spaces())
@settings(deadline=None, max_examples=25)
def test_the_size_is_the_number_of_encodings(of: StageSpace) -> None:
    few = replace(of, stages=of.stages[:1], resolutions=(32,))
    if few.size() <= 500:
        assert sum(1 for _ in enumerate_space(few, 501)) == few.size()


def test_a_stage_that_is_left_out_asks_nothing_more() -> None:
    asked: list[str] = []

    def choose(name: str, options: Sequence[Any]) -> Any:
        asked.append(name)
        return options[0]

    body = SMALL.build(choose).stages
    assert [stage.block for stage in body.stages] == [IDENTITY, IDENTITY]
    assert asked == ["resolution", "stem_width", "head", "stage0.depth", "stage1.depth"]


def test_the_block_identity_is_depth_0() -> None:
    assert StageChoices((8,), (2, 1), ("identity", "ds")) == StageChoices((8,), (0, 2, 1), ("ds",))


def test_blocks_of_the_same_steps_are_offered_once() -> None:
    assert StageChoices((8,), (1,), ("mbconv", "uib_ib", "uib_ffn")).blocks == ("mbconv", "uib_ffn")
    assert StageChoices((8,), (1,), tuple(BLOCKS)).depths == (0, 1)


def test_squeeze_excitation_is_on_offer_in_the_last_stage_alone_unless_asked() -> None:
    one = StageChoices((8,), (1,), ("ds",))
    assert [space(one, one, one).se_of(i) for i in range(3)] == [(False,), (False,), (False, True)]
    assert space(replace(one, se=(True,)), one).se_of(0) == (True,)
    assert space(one, replace(one, se=(False,))).se_of(1) == (False,)


@pytest.mark.parametrize("name", STAGE_PRESETS)
def test_presets_hold_what_they_say(name: str) -> None:
    of = stage_preset(name, TASK)
    rng = random.Random(0)
    drawn = [recorded(of, uniformly(rng)) for _ in range(100)]
    choices = {architecture.digest: chosen for architecture, chosen in drawn}
    assert all(of.encode(architecture) == choices[architecture.digest] for architecture, _ in drawn)
    widths = {stage.width for architecture, _ in drawn for stage in architecture.stages.stages}
    assert all(width % 8 == 0 for width in widths)
    assert not any(s.se for a, _ in drawn for s in a.stages.stages[:-1])
    assert any(a.stages.stages[-1].se for a, _ in drawn)
    sizes = {"tiny": (8, 32), "small": (28, 64), "mobile": (128, 224)}
    assert (min(of.resolutions), max(of.resolutions)) == sizes[name]
    assert StageSpace.from_json(json.loads(json.dumps(of.to_json()))) == of


def test_a_preset_needs_no_second_encoding_for_a_network() -> None:
    """Where a stage may be left out, its neighbours cannot stand for it: they have another stride."""
    for name in STAGE_PRESETS:
        stages = stage_preset(name, TASK).stages
        for before, after in itertools.pairwise(stages):
            assert after.strides == (2,)
            assert 0 not in before.depths or before.strides == (1,)
        assert math.prod(len(stage.widths) for stage in stages) > 1


def test_others_do_not_lie_in_a_space() -> None:
    inside = SMALL.sample(random.Random(0))
    body = inside.stages
    outside = [
        replace(inside, task=Task(11)),
        replace(inside, resolution=48),
        replace(inside, body=replace(body, stem="3x3_s2")),
        replace(inside, body=replace(body, stages=body.stages[:1])),
        replace(inside, body=replace(body, activation="hardswish")),
        Architecture(StageBody("3x3", 8, (Stage("conv", 8, 1, 1, 7), Stage("identity", 8))), 16, TASK),
        Architecture(CellBody(published("DARTS_V2"), 3, 4), 16, TASK),
    ]
    assert SMALL.contains(inside)
    for architecture in outside:
        assert not SMALL.contains(architecture)
        with pytest.raises(ArchitectureError, match="does not lie in this search space"):
            SMALL.encode(architecture)


ONE = StageChoices((8,), (1, 2), ("ds", "conv"))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: StageChoices((8,), (1,), ("mbcov",)), r"unknown block 'mbcov'; did you mean 'mbconv'\?"),
        (lambda: StageChoices((8,), (1,), ("identity",)), "a stage needs a block besides 'identity'"),
        (lambda: StageChoices((), (1,), ("ds",)), "widths is .*; it needs at least one value, each once"),
        (lambda: StageChoices((8, 8), (1,), ("ds",)), "widths is"),
        (lambda: StageChoices((8,), (-1,), ("ds",)), "depths is .-1.; these are whole numbers"),
        (lambda: StageChoices((8,), (1,), ("rep",), kernels=(5,)), "kernels is .5.; block 'rep' offers .3."),
        (lambda: StageChoices((8,), (1,), ("mbconv",), expansions=(0,)), "block 'mbconv' offers"),
        (lambda: StageChoices((8,), (1,), ("uib_ffn", "ds"), (2,)), "block 'uib_ffn' keeps the size"),
        (lambda: StageChoices((8,), (1,), ("ds",), (3,)), "stride is 3"),
        (lambda: space(), "at least one StageChoices"),
        (lambda: space({"widths": (16,)}), "at least one StageChoices"),
        (lambda: space(ONE, width_multiple=0), "width_multiple is 0"),
        (lambda: StageChoices(16, (1,), ("ds",)), "widths is 16; give a list, if only of one"),
        (lambda: StageChoices((16,), (1,), "ds"), "blocks is 'ds'; give a list"),
        (lambda: StageChoices((16,), (1,), ("ds",), se=("yes",)), "its options are true and false"),
        (lambda: space(StageChoices((12,), (1,), ("ds",))), "widths of stage 0 has 12; .* multiples of 8"),
        (lambda: space(ONE, heads=("wide",)), "head_widths is"),
        (lambda: space(ONE, heads=("big",)), "unknown head 'big'"),
        (lambda: space(ONE, activations=("gelu",)), "unknown activation 'gelu'"),
        (lambda: space(ONE, stems=("3x4",)), "unknown stem '3x4'; did you mean '3x3'"),
        (
            lambda: space(*[replace(ONE, strides=(2,))] * 5),
            "multiply to 32, so images need at least 32 pixels",
        ),
        (lambda: StageSpace(TASK, (30,), (8,), (ONE,), ("patch4",)), "stem 'patch4' needs a multiple of 4"),
        (
            lambda: StageSpace(TASK, (32,), (2,), (replace(ONE, widths=(2,), se=(True,)),), width_multiple=1),
            r"\('ds'\): squeeze-excitation over 2 channels",
        ),
        (
            lambda: StageSpace(
                TASK, (32,), (8, 9), (StageChoices((8,), (1,), ("fused_g2",)),), width_multiple=1
            ),
            "9 and 18 channels do not divide into 2 groups",
        ),
        (lambda: stage_preset("mobil", TASK), "unknown space of stages 'mobil'; did you mean 'mobile'"),
        (lambda: SMALL.decode({}), "choice 'resolution' is missing"),
        (lambda: SMALL.decode({"resolution": 20}), "choice 'resolution' is 20, not one of"),
    ],
)
def test_bad_spaces(make: Any, text: str) -> None:
    with pytest.raises(ArchitectureError, match=text) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1
