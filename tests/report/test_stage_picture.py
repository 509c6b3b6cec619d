"""Networks of stages as pictures."""

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.blocks import BLOCKS
from mobinas.arch.stages import Stage, StageBody
from mobinas.graph.draw_stages import BOX_WIDTH
from mobinas.report.figures import figure_of, png
from mobinas.report.palette import BLUE, GREEN, GREY, PURPLE, block_colour
from mobinas.report.stages import draw_stage_picture

STAGES = (Stage("uib_convnext", 32, 2, 2, 5, 6, True), Stage("rep", 64, 1, 1, 3))


def test_a_picture_names_each_block_and_texts_fit_their_boxes() -> None:
    axes = draw_stage_picture(Architecture(StageBody("3x3", 16, STAGES), 32, Task(10)), "a network")
    words = [text.get_text() for text in axes.texts]
    assert words.count("uib_convnext 5x5 e6 SE") == words.count("uib_convnext 5x5 e6 SE /2") == 1
    assert {"rep 3x3", "64 x 16 x 16", "stem, relu", "10 classes"} <= set(words)
    renderer = figure_of(axes).canvas.get_renderer()  # type: ignore[attr-defined]
    widths = [text.get_window_extent(renderer).width for text in axes.texts if "uib" in text.get_text()]
    unit = axes.transData.transform((1, 0))[0] - axes.transData.transform((0, 0))[0]
    assert max(widths) < BOX_WIDTH * unit
    assert png(axes).startswith(b"\x89PNG")


def test_every_block_has_the_colour_of_its_family() -> None:
    colours = {name: block_colour(name) for name in BLOCKS}
    assert (colours["conv"], colours["rep"], colours["identity"]) == (BLUE, PURPLE, GREY)
    assert {colours[name] for name in ("ds", "mbconv", "uib_extra", "uib_convnext")} == {GREEN}
