"""Cells, curves and the predictor as pictures."""

import math

import pytest

from mobinas.arch.genotype import Cell, Edge, published
from mobinas.errors import MobinasError
from mobinas.metrics.convergence import Band
from mobinas.report.cells import draw_cell_picture
from mobinas.report.curves import (
    CurvesInfo,
    Series,
    draw_curves,
    hypervolume_panel,
    over_epochs,
    training_panel,
)
from mobinas.report.figures import figure_of, png
from mobinas.report.predictor import PredictedPoint, PredictorInfo, draw_predictor
from mobinas.report.words import op_words


@pytest.mark.parametrize("name", ["DARTS_V2", "AmoebaNet"])
def test_a_cell_shows_each_of_its_ops(name: str) -> None:
    cell = published(name).reduction
    axes = draw_cell_picture(cell, "reduction cell")
    words = [text.get_text() for text in axes.texts]
    for op in {edge.op for _, edge in cell.edges()}:
        wanted = sum(edge.op == op for _, edge in cell.edges())
        assert words.count(op_words(op)) == wanted


def test_op_names_fit_their_boxes() -> None:
    cell = Cell(((Edge(0, "conv_7x1_1x7"), Edge(1, "sep_conv_7x7")), (Edge(0, "avg_pool_3x3"),)), (2, 3))
    axes = draw_cell_picture(cell)
    renderer = figure_of(axes).canvas.get_renderer()  # type: ignore[attr-defined]
    widths = [text.get_window_extent(renderer).width for text in axes.texts if "×" in text.get_text()]
    unit = axes.transData.transform((1, 0))[0] - axes.transData.transform((0, 0))[0]
    assert max(widths) < 4.9 * unit


def test_curves_hold_the_data_and_name_the_lines() -> None:
    info = CurvesInfo("Loss", "epoch", over_epochs({"weights": [2, 1, 0.5], "alphas": [2, math.nan, 0.7]}))
    axes = draw_curves(info)
    assert list(axes.lines[0].get_xdata()) == [1, 2, 3]
    assert list(axes.lines[0].get_ydata()) == [2, 1, 0.5]
    assert {text.get_text() for text in axes.texts} == {"weights", "alphas"}


def test_many_lines_bring_out_the_pick_alone() -> None:
    axes = draw_curves(training_panel({f"m{i}": [2.0, 1.0 + i] for i in range(10)}, pick="m4"))
    assert {text.get_text() for text in axes.texts} == {"m4", "9 others"}
    unknown = draw_curves(training_panel({f"m{i}": [2.0, 1.0] for i in range(10)}, pick="gone"))
    assert [text.get_text() for text in unknown.texts] == ["10 models"]


@pytest.mark.parametrize("ys", [[], [1.0], [math.nan], [1.0, 1.0]])
def test_short_and_flat_curves(ys: list[float]) -> None:
    info = training_panel({"a": ys, "b": ys})
    assert info.is_empty == (not any(math.isfinite(y) for y in ys))
    assert png(draw_curves(info), 50)


def test_hypervolume_climbs_in_steps() -> None:
    axes = draw_curves(hypervolume_panel([0, 10], [0.1, 0.2]))
    assert axes.lines[0].get_drawstyle() == "steps-post"


def test_series_of_unequal_length() -> None:
    with pytest.raises(MobinasError, match="2 x and 1 y"):
        Series("a", (1.0, 2.0), (1.0,))


def test_the_predictor_shows_errors_relative_to_the_measurement() -> None:
    points = (PredictedPoint(1e-4, 1.1e-4), PredictedPoint(2e-4, 1.5e-4, (1.4e-4, 1.7e-4), finalist=True))
    assert points[0].error == pytest.approx(0.1)
    axes = draw_predictor(PredictorInfo(points, n=2))
    below = figure_of(axes).axes[1]
    offsets = [tuple(o) for c in below.collections for o in c.get_offsets()]
    assert any(o == pytest.approx((2e-4, -0.25)) for o in offsets)
    low, high = below.get_ylim()
    assert low < -0.25 < 0.1 < high


def test_a_predictor_without_points_has_no_picture() -> None:
    with pytest.raises(MobinasError, match="at least one"):
        draw_predictor(PredictorInfo((), n=0))
    with pytest.raises(MobinasError, match="above 0"):
        PredictedPoint(0.0, 1.0)


def test_the_hypervolume_of_random_search_has_a_band() -> None:
    band = Band((0.0, 0.1), (0.1, 0.2), (0.2, 0.2))
    info = hypervolume_panel([1, 2, 3], [0.1, 0.3, 0.3], band)
    axes = draw_curves(info)
    assert [text.get_text() for text in axes.texts] == ["random search", "search"]
    (filled,) = axes.collections
    ys = filled.get_paths()[0].vertices[:, 1]
    assert (ys.min(), ys.max()) == pytest.approx((0.0, 2 / 3)), "of the most that either found"
    assert "judged 2 architectures" in info.note
    with pytest.raises(MobinasError, match="band of 'x'"):
        Series("x", (1.0, 2.0), (1.0, 2.0), ((1.0,), (1.0, 2.0)))
