"""Bodies of stages: JSON, what shares a digest, names, bad input."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import random_stage_architecture, stage_architectures

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.blocks import BLOCKS, HEADS, STEMS
from mobinas.arch.genotype import Genotype, published
from mobinas.arch.stages import IDENTITY, ConvBn, Residual, Stage, StageBody
from mobinas.errors import ArchitectureError
from mobinas.graph.layers import Graph
from mobinas.graph.lowering import lower

RANDOMS = st.randoms(use_true_random=False)
CONV = Stage("conv", 16, 2, 2, 3)


def network(body: StageBody, resolution: int = 32) -> Architecture:
    return Architecture(body, resolution, Task(10))


@given(stage_architectures())
@settings(deadline=None, max_examples=60)
def test_json_round_trip(architecture: Architecture) -> None:
    again = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert again == architecture
    assert (again.digest, again.name) == (architecture.digest, architecture.name)
    assert StageBody.from_json(architecture.stages.to_json()) == architecture.body


def rewritten(body: StageBody, rng: random.Random) -> StageBody:
    """The same network in other words: stages split and left out, blocks by their other name."""
    other = {"mbconv": "uib_ib", "uib_ib": "mbconv"}
    stages: list[Stage] = []
    for given_width, stage in zip(body.input_widths(), body.stages, strict=True):
        if rng.random() < 0.3:
            stages.append(Stage(IDENTITY, given_width, rng.randint(1, 3)))
        if stage.expansion > 1 and rng.random() < 0.5:
            stage = replace(stage, block=other.get(stage.block, stage.block))
        first = rng.randint(1, stage.depth)
        stages.append(replace(stage, depth=first))
        if first < stage.depth:
            stages.append(replace(stage, depth=stage.depth - first, stride=1))
        if rng.random() < 0.3:
            stages.append(Stage(IDENTITY, stage.width))
    return replace(body, stages=tuple(stages))


def computed(graph: Graph) -> list[Any]:
    return [(node.layer, node.inputs, node.shape) for node in graph.nodes]


@given(stage_architectures(), RANDOMS)
@settings(deadline=None, max_examples=100)
def test_the_same_network_in_other_words_shares_digest_and_name(a: Architecture, rng: random.Random) -> None:
    b = replace(a, body=rewritten(a.stages, rng))
    assert (b.digest, b.name) == (a.digest, a.name)
    assert computed(lower(b)) == computed(lower(a))


@given(stage_architectures(), RANDOMS)
@settings(deadline=None, max_examples=100)
def test_networks_share_a_digest_exactly_where_their_graphs_agree(
    a: Architecture, rng: random.Random
) -> None:
    """One stage of a network is changed, by which it may stay the same."""
    stages = list(a.stages.stages)
    number = rng.randrange(len(stages))
    one = random_stage_architecture(rng).stages.stages[0]
    kept = a.stages.input_widths()[number] if one.block == IDENTITY else stages[number].width
    stages[number] = replace(one, width=kept, stride=min(one.stride, stages[number].stride))
    for later in range(number + 1, len(stages)):
        if stages[later].block == IDENTITY:
            stages[later] = replace(stages[later], width=stages[later - 1].width)
    b = replace(a, body=replace(a.stages, stages=tuple(stages)))
    assert (b.digest == a.digest) == (computed(lower(b)) == computed(lower(a)))


def test_a_stem_of_two_convolutions_is_one_and_a_stage() -> None:
    """Where the channels change, a block of one convolution has no sum."""
    double = network(StageBody("double_s2", 32, (CONV,)))
    single = network(StageBody("3x3_s2", 16, (Stage("conv", 32, 1, 1, 3), CONV)))
    assert double.digest == single.digest


def test_every_attribute_changes_the_digest() -> None:
    body = StageBody("3x3", 16, (CONV, Stage("mbconv", 24, 2, 1, 3, 4)), "wide", 32)
    mbconv = body.stages[1]
    variants = [
        body,
        *(replace(body, stem=stem) for stem in STEMS if stem != "3x3"),
        *(replace(body, head=head) for head in HEADS if head not in ("wide", "linear")),
        replace(body, head="linear", head_width=0),
        replace(body, head_width=40),
        replace(body, stem_width=24),
        replace(body, activation="hardswish"),
        *(
            replace(body, stages=(CONV, replace(mbconv, **change)))
            for change in (
                {"width": 32}, {"depth": 3}, {"stride": 2}, {"kernel": 5}, {"expansion": 3}, {"se": True},
                {"block": "uib_extra"}, {"block": "uib_convnext"}, {"block": "fused"}, {"block": "fused_g2"},
                {"block": "uib_ffn", "kernel": 1}, {"block": "ds", "expansion": 1},
                {"block": "rep", "expansion": 1}, {"block": "conv", "expansion": 1},
            )
        ),
    ]  # fmt: skip
    architectures = [network(one) for one in variants]
    architectures += [
        network(body, 40),
        Architecture(body, 32, Task(11)),
        Architecture(body, 32, Task(10, 1)),
    ]
    assert len({a.digest for a in architectures}) == len(architectures)
    assert architectures[0].name.startswith("r32-c10-w32-")


def test_sums_stand_where_channels_and_size_are_kept() -> None:
    body = StageBody(
        "3x3", 8, (Stage("mbconv", 8, 2, 2, 3, 3), Stage("conv", 16, 2, 1, 3), Stage("rep", 16, 2, 1, 3))
    )
    sums = [name.rsplit("/", 1)[0] for name, one in body.operations(3) if isinstance(one, Residual)]
    assert sums == ["stage0/block1/mbconv", "stage1/block1/conv"]


def test_an_inverted_bottleneck_of_expansion_1_does_not_expand() -> None:
    convs = [
        one
        for _, one in StageBody("3x3", 8, (Stage("mbconv", 16, 1, 1, 3),)).operations(3)
        if isinstance(one, ConvBn)
    ]
    assert convs[1:] == [ConvBn(8, 8, 3, 1, 8), ConvBn(8, 16, 1)]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Stage("mbcnv", 8), r"unknown block 'mbcnv'; did you mean 'mbconv'\?"),
        (lambda: Stage("MBConv", 8), r"unknown block 'MBConv'; did you mean 'mbconv'\?"),
        (lambda: StageBody("3x3", 8, CONV), "stages is Stage.*; give a list, if only of one"),
        (lambda: network(StageBody("3x3", 8, (CONV,)), "32"), "resolution is '32'; it is a number of pixels"),
        (lambda: Stage("conv", 8, kernel=4), "kernel is 4; block 'conv' needs an odd one"),
        (lambda: Stage("conv", 8), "kernel is 1; block 'conv' needs an odd one"),
        (lambda: Stage("uib_ffn", 8, kernel=3, expansion=2), "block 'uib_ffn' has none to choose"),
        (lambda: Stage("mbconv", 8, kernel=3, expansion=0), "expansion is 0; .* no channels inside"),
        (lambda: Stage("mbconv", 8, kernel=3, expansion=-1), "expansion is -1"),
        (lambda: Stage("mbconv", 8, kernel=3, expansion=0.1), "expansion is 0.1"),  # type: ignore[arg-type]
        (lambda: Stage("conv", 8, kernel=3, expansion=2), "block 'conv' does not expand, leave it 1"),
        (lambda: Stage("conv", 0, kernel=3), "width is 0"),
        (lambda: Stage("conv", 8, 0, kernel=3), "depth is 0; .* block 'identity' leaves a stage out"),
        (lambda: Stage("conv", True, kernel=3), "width is True"),
        (lambda: Stage("conv", 8, 1, 4, 3), "stride is 4; a stage has stride 1 or 2"),
        (lambda: Stage("uib_ffn", 8, 1, 2, expansion=2), "block 'uib_ffn' can only keep the size"),
        (lambda: Stage("identity", 8, stride=2), "block 'identity' can only keep the size"),
        (lambda: Stage("identity", 8, se=True), "no place for squeeze-excitation"),
        (lambda: Stage("conv", 8, kernel=3, se=1), "se is 1; it is true or false"),  # type: ignore[arg-type]
        (lambda: StageBody("4x4", 8, (CONV,)), "unknown stem '4x4'; choose from 3x3, "),
        (lambda: StageBody("3x3", 8, (CONV,), "pool"), "unknown head 'pool'"),
        (lambda: StageBody("3x3", 8, (CONV,), activation="hard_swish"), "did you mean 'hardswish'"),  # type: ignore[arg-type]
        (lambda: StageBody("3x3", 8, ()), "at least one Stage"),
        (lambda: StageBody("double_s4", 1, (CONV,)), "stem_width is 1"),
        (lambda: StageBody("3x3", 8, (CONV,), "wide"), "head_width is 0; head 'wide' needs at least"),
        (lambda: StageBody("3x3", 8, (CONV,), "linear", 8), "head 'linear' needs no wider layer, leave it 0"),
        (
            lambda: StageBody("3x3", 8, (CONV, Stage("identity", 8))),
            "stage 1 is left out .* keeps the 16 channels",
        ),
        (
            lambda: StageBody("3x3", 2, (Stage("ds", 8, 1, 1, 3, se=True),)),
            r"stage 0 \('ds'\): squeeze-excitation over 2 channels leaves none",
        ),
        (
            lambda: StageBody("3x3", 5, (Stage("fused_g2", 8, 1, 1, 3, 2),)),
            r"stage 0 \('fused_g2'\): 5 and 10 channels do not divide into 2 groups",
        ),
        (
            lambda: network(StageBody("3x3_s2", 8, (CONV, CONV)), 4),
            "resolution is 4; the strides of stem and stages multiply to 8, so images need at least 8 pixels",
        ),
        (lambda: network(StageBody("patch4", 8, (CONV,)), 30), "stem 'patch4' needs a multiple of 4"),
        (lambda: network(StageBody("3x3", 8, (CONV,))).cells, "made of stages; this works on cells alone"),
        (
            lambda: Architecture(CellBody(published("DARTS_V2"), 3, 4), 8, Task(2)).stages,
            "made of cells; this works on stages alone",
        ),
        (lambda: lower(network(StageBody("3x3", 8, (CONV,))), auxiliary=True), "no auxiliary classifier"),
    ],
)  # fmt: skip
def test_bad_bodies(make: Any, text: str) -> None:
    with pytest.raises(ArchitectureError, match=text) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1


def data(**change: Any) -> dict[str, Any]:
    return {**StageBody("3x3", 8, (CONV,)).to_json(), **change}


def staged(**change: Any) -> dict[str, Any]:
    return data(stages=[{**data()["stages"][0], **change}])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (data(kind="stage"), "the body's kind is 'stage'; it must be 'cells' or 'stages'"),
        (data(kind="cells"), "an architecture is"),
        (data(stages=3), "its stages are a list"),
        (data(stages=[3]), "stage 0 is 3; it must be an object with block, width"),
        (data(stems="3x3"), "unknown key 'stems'; did you mean 'stem'"),
        (data(stem=["3x3"]), "unknown stem"),
        (data(stem_width="8"), "stem_width is '8'"),
        (staged(block="cnv"), "stage 0: unknown block 'cnv'; did you mean 'conv'"),
        (staged(block=None), "stage 0: unknown block 'None'"),
        (staged(wdith=3), "stage 0 has an unknown key 'wdith'; did you mean 'width'"),
        (staged(width=8.0), "stage 0: width is 8.0"),
        ({"kind": "stages", "stages": []}, "a body of stages lacks some of stem, stem_width"),
        ({"kind": "stages", "stages": [{"block": "conv"}]}, "stage 0 lacks some of width"),
    ],
)
def test_bad_json(body: Any, text: str) -> None:
    whole = {"body": body, "resolution": 32, "task": {"classes": 10, "in_channels": 3}}
    with pytest.raises(ArchitectureError, match=text):
        Architecture.from_json(whole)


def test_one_kind_where_the_other_is_meant() -> None:
    cells = Architecture(CellBody(published("DARTS_V2"), 3, 4), 8, Task(2)).to_json()["body"]
    with pytest.raises(ArchitectureError, match=r"a body of stages is .* this one is of kind 'cells'"):
        StageBody.from_json(cells)
    with pytest.raises(ArchitectureError, match="these data are a network of stages"):
        Genotype.from_json(data())


def test_blocks_are_named_and_can_be_placed() -> None:
    assert all(name == block.name for name, block in BLOCKS.items())
    assert {name for name, block in BLOCKS.items() if not block.can_stride} == {"identity", "uib_ffn"}
