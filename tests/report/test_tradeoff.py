"""The trade-off's data and picture."""

import dataclasses
import io
import itertools
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from mobinas.errors import MobinasError
from mobinas.report.figures import figure_of, png
from mobinas.report.models import ModelRow
from mobinas.report.tradeoff import TradeoffInfo, draw_tradeoff, latency_ticks_s, score_levels


def test_iso_score_is_the_score_backwards(tradeoff: TradeoffInfo) -> None:
    for model in tradeoff.models:
        score = tradeoff.score(model.accuracy, model.latency_s)
        assert tradeoff.accuracy_at(score, model.latency_s) == pytest.approx(model.accuracy)
    assert tradeoff.score(0.9, 1e-3) == pytest.approx(0.9)
    assert tradeoff.score(0.9, 2e-3) == pytest.approx(0.9 * 2**-0.07)


def test_the_front_is_ordered_and_holds_the_pick(tradeoff: TradeoffInfo) -> None:
    assert [model.name for model in tradeoff.front] == ["fast", "middle", "slow"]


def test_limits_hold_the_front_and_leave_the_far_one_out(tradeoff: TradeoffInfo) -> None:
    low, high = tradeoff.accuracy_limits()
    assert all(low < model.accuracy < high for model in tradeoff.front)
    assert low > 0.5
    left, right = tradeoff.latency_limits_s()
    assert all(left < model.latency_s < right for model in tradeoff.models)


def test_points_lie_where_the_data_say(tradeoff: TradeoffInfo) -> None:
    axes = draw_tradeoff(tradeoff)
    low, _ = tradeoff.accuracy_limits()
    marks = {c.get_gid(): c.get_offsets() for c in axes.collections if c.get_gid()}
    assert len(marks) == len(tradeoff.models)
    for i, model in enumerate(tradeoff.models):
        x, y = np.asarray(marks[f"point-{i}"])[0]
        assert x == pytest.approx(model.latency_s)
        assert y == pytest.approx(model.accuracy) if model.accuracy > low else low < y < low + 0.01


def test_labels_stay_in_the_picture_and_apart(tradeoff: TradeoffInfo) -> None:
    axes = draw_tradeoff(tradeoff)
    renderer = figure_of(axes).canvas.get_renderer()  # type: ignore[attr-defined]
    names = ("fast", "middle", "slow", "mobilenet", "plain")
    boxes = [t.get_window_extent(renderer) for t in axes.texts if t.get_text().startswith(names)]
    assert len(boxes) == 5
    frame = axes.get_window_extent(renderer)
    for box in boxes:
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_a_front_of_one(models: tuple[ModelRow, ...]) -> None:
    axes = draw_tradeoff(TradeoffInfo((models[1],), max_latency_s=1.65e-4))
    assert png(axes, 60).startswith(b"\x89PNG")


def test_the_same_data_give_the_same_bytes(tradeoff: TradeoffInfo) -> None:
    first, second = (png(draw_tradeoff(tradeoff), 80) for _ in range(2))
    assert first == second
    pixels = imread(io.BytesIO(first))
    assert pixels.shape[0] > 300
    assert pixels.std() > 0.01


def test_names_that_look_like_mathematics_or_lack_glyphs(models: tuple[ModelRow, ...]) -> None:
    odd = dataclasses.replace(models[1], name="$\\frac{1}$ 猫 \x00\n\ud800")
    assert png(draw_tradeoff(TradeoffInfo((models[0], odd))), 60)


def test_no_window_machinery_is_imported(tradeoff: TradeoffInfo) -> None:
    draw_tradeoff(tradeoff)
    assert "matplotlib.pyplot" not in sys.modules


@given(st.floats(1e-6, 1e-1), st.floats(1.3, 1e4))
def test_ticks_lie_inside_and_suffice(low_s: float, ratio: float) -> None:
    ticks = latency_ticks_s(low_s, low_s * ratio)
    assert all(low_s <= tick <= low_s * ratio for tick in ticks)
    assert 2 <= len(ticks) <= 20


def test_score_levels_cross_the_picture(tradeoff: TradeoffInfo) -> None:
    levels = score_levels(tradeoff)
    assert 2 <= len(levels) <= 8
    (left, right), (low, high) = tradeoff.latency_limits_s(), tradeoff.accuracy_limits()
    for level in levels:
        curve = [tradeoff.accuracy_at(level, s) for s in np.geomspace(left, right, 400)]
        assert any(low < accuracy < high for accuracy in curve)


def test_bad_points_are_refused(models: tuple[ModelRow, ...]) -> None:
    good = models[1]
    for change in ({"accuracy": 99.0}, {"latency_s": 0.0}, {"latency_s": float("nan")}, {"kind": "frontt"}):
        with pytest.raises(MobinasError, match="middle"):
            dataclasses.replace(good, **change)  # type: ignore[arg-type]
    with pytest.raises(MobinasError, match="mark one"):
        TradeoffInfo((good, dataclasses.replace(good, name="other")))
    with pytest.raises(MobinasError, match="at least one"):
        TradeoffInfo((models[3],))
