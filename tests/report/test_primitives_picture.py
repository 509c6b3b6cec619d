"""The picture of which op costs what."""

import dataclasses
import itertools

import pytest

from mobinas.errors import MobinasError
from mobinas.report.figures import figure_of, png
from mobinas.report.html import ReportInfo, render_report
from mobinas.report.primitives import PrimitivesInfo, draw_primitives
from predictors.primitives import PrimitiveCost

SHAPES = ((8, 24), (16, 12), (32, 6))


def cost(op: str, width: int, size: int, us: float, ratio: float | None = None) -> PrimitiveCost:
    seconds = us * 1e-6
    measured_s = None if ratio is None else ratio * seconds
    bounds_s = None if measured_s is None else (0.9 * measured_s, 1.1 * measured_s)
    return PrimitiveCost(op, 1, width, size, seconds, (0.7 * seconds, 1.4 * seconds), measured_s, bounds_s)


def costs(ratio: float | None = 1.1) -> PrimitivesInfo:
    ops = {"avg_pool_3x3": 2.0, "skip_connect": 0.0, "conv_7x1_1x7": 90.0, "sep_conv_5x5": 30.0}
    halving = dataclasses.replace(cost("skip_connect", 16, 12, 20.0), stride=2)
    shown = [cost(op, *shape, us, ratio if us else None) for op, us in ops.items() for shape in SHAPES]
    return PrimitivesInfo((*shown, halving))


def words(info: PrimitivesInfo) -> list[str]:
    axes = draw_primitives(info)
    return [text.get_text() for text in axes.texts]


def test_the_costliest_comes_first_and_the_free_last() -> None:
    rows = [(row[0].op, row[0].stride) for row in costs().rows]
    assert rows[0] == ("conv_7x1_1x7", 1)
    assert rows[2] == ("skip_connect", 2)
    assert rows[-1] == ("skip_connect", 1)
    assert [(c.width, c.size) for c in costs().rows[0]] == list(SHAPES)


def test_residuals_are_medians_over_shapes() -> None:
    ratios = (0.9, 1.2, 1.5)
    row = [cost("conv_3x3", *shape, 10, ratio) for shape, ratio in zip(SHAPES, ratios, strict=True)]
    more = [cost("conv_5x5", 8, 24, 10), cost("sep_conv_3x3", 8, 24, 10, 0.5)]
    assert PrimitivesInfo((*row, *more)).residuals == pytest.approx(
        {("conv_3x3", 1): 0.2, ("sep_conv_3x3", 1): -0.5}
    )


def test_predicted_and_measured_lie_where_they_should() -> None:
    info = PrimitivesInfo((cost("conv_3x3", 8, 24, 10, 1.5), cost("conv_3x3", 16, 12, 20)))
    axes = draw_primitives(info)
    marks = [tuple(line.get_xdata()) for line in axes.lines if line.get_marker() in ("o", "D")]
    assert sorted(marks) == [pytest.approx((s,)) for s in (1e-5, 1.5e-5, 2e-5)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["8 × 24²", "16 × 12²"]
    residuals = figure_of(axes).axes[1]
    assert residuals.collections[0].get_offsets()[0][0] == pytest.approx(0.5)
    low, high = residuals.get_xlim()
    assert low < -0.5 < 0.5 < high


def test_without_measurements_there_are_no_residuals() -> None:
    axes = draw_primitives(costs(None))
    assert len(figure_of(axes).axes) == 1
    assert "no times of these kernels were measured" in words(costs(None))
    assert not any("measured by" in text for text in words(costs(None)))


@pytest.mark.parametrize("ratio", [None, 1.0, 3.0])
def test_one_op_at_one_shape(ratio: float | None) -> None:
    assert png(draw_primitives(PrimitivesInfo((cost("conv_3x3", 8, 24, 10, ratio),))), 50)


def test_an_interval_without_end_does_not_squeeze_the_others() -> None:
    wild = dataclasses.replace(cost("conv_5x5", 8, 24, 10), predicted_bounds_s=(1e-12, 1e3))
    low_s, high_s = draw_primitives(PrimitivesInfo((wild, cost("conv_3x3", 8, 24, 5)))).get_xlim()
    assert low_s > 2e-6
    assert high_s < 3e-5


def test_nothing_that_costs_is_no_picture() -> None:
    free = PrimitivesInfo((cost("skip_connect", 8, 24, 0),))
    assert free.is_empty
    with pytest.raises(MobinasError, match="at least one op"):
        draw_primitives(free)


@pytest.mark.parametrize("ratio", [None, 1.1])
def test_no_words_overlap(ratio: float | None) -> None:
    figure = figure_of(draw_primitives(costs(ratio)))
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    texts = [
        text
        for axes in figure.axes
        for text in (
            *axes.texts,
            *axes.get_yticklabels(),
            *(tick.label1 for tick in axes.xaxis._update_ticks()),  # type: ignore[attr-defined]
            axes.xaxis.label,
            axes._left_title,  # type: ignore[attr-defined]
        )
        if text.get_text()
    ]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    frame = figure.bbox
    for text, box in boxes:
        assert box.x0 >= frame.x0 and box.x1 <= frame.x1, text
    for (a, one), (b, other) in itertools.combinations(boxes, 2):
        apart = one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 + 1 or other.y1 <= one.y0 + 1
        assert apart, (a, b)


def test_the_report_holds_the_picture_and_says_what_it_shows(report: ReportInfo) -> None:
    page = render_report(dataclasses.replace(report, primitives=costs()))
    assert "Which op costs what on this target" in page
    assert 'aria-label="What 4 ops cost' in page
    assert "conv 7×1 1×7 costs most" in page
    assert "hold 90 % of the looks" in page
    blind = render_report(dataclasses.replace(report, primitives=costs(None)))
    assert "these are predictions alone" in blind
    assert "hold 90 %" not in blind
    free = PrimitivesInfo((cost("skip_connect", 8, 24, 0),))
    assert "Which op costs" not in render_report(dataclasses.replace(report, primitives=free))
