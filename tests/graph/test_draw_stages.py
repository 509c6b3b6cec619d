"""The drawing of networks of stages: nothing overlaps, every stage has its card, every block its box."""

import itertools

import pytest
from hypothesis import given, settings
from strategies import stage_architectures

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import published
from mobinas.arch.stages import IDENTITY, Stage, StageBody
from mobinas.errors import ArchitectureError
from mobinas.graph.draw_stages import draw_stages


@given(stage_architectures())
@settings(deadline=None, max_examples=40)
def test_cards_keep_apart_and_hold_their_boxes(architecture: Architecture) -> None:
    drawing = draw_stages(architecture)
    for a, b in itertools.pairwise(drawing.cards):
        assert a.x + a.width / 2 < b.x - b.width / 2
    assert len(drawing.arrows) == len(drawing.cards) - 1
    for x0, _, x1, _ in drawing.arrows:
        assert x0 < x1
    for card in drawing.cards:
        assert card.x - card.width / 2 >= 0
        assert card.x + card.width / 2 <= drawing.width + 1e-9
        assert card.y - card.height / 2 > 0
        assert card.y + card.height / 2 < drawing.height
        for a, b in itertools.pairwise(card.boxes):
            assert a.y + a.height / 2 < b.y - b.height / 2
        for box in card.boxes:
            assert abs(box.x - card.x) + box.width / 2 <= card.width / 2
            assert abs(box.y - card.y) + box.height / 2 <= card.height / 2
    drawn = [stage for stage in architecture.stages.stages if stage.block != IDENTITY]
    blocks = [card for card in drawing.cards if card.title.startswith("stage ")]
    assert [len(card.boxes) for card in blocks] == [stage.depth for stage in drawn]
    assert draw_stages(architecture) == drawing


def test_words_and_sizes() -> None:
    stages = (
        Stage("mbconv", 16, 2, 2, 5, 4, True),
        Stage("identity", 16),
        Stage("conv", 32, 9, 1, 3),
    )
    body = StageBody("double_s2", 8, stages, "wide_pooled", 64, "hardswish")
    drawing = draw_stages(Architecture(body, 32, Task(10, 1)))
    assert [(c.title, c.caption, [box.text for box in c.boxes]) for c in drawing.cards] == [
        ("", "1 x 32 x 32", ["image"]),
        ("stem, hardswish", "8 x 16 x 16", ["3x3 /2", "3x3"]),
        ("stage 0", "16 x 8 x 8", ["mbconv 5x5 e4 SE /2", "mbconv 5x5 e4 SE"]),
        ("stage 2", "32 x 8 x 8", ["conv 3x3", "8 more"]),
        ("head", "10 classes", ["mean", "1x1 to 64", "linear"]),
    ]


def test_cells_have_another_drawing() -> None:
    with pytest.raises(ArchitectureError, match="made of cells"):
        draw_stages(Architecture(CellBody(published("DARTS_V2"), 3, 4), 8, Task(2)))
