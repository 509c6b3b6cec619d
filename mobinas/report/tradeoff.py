"""The picture of the trade-off between accuracy and latency."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from mobinas.errors import MobinasError
from mobinas.metrics.objective import Metric
from mobinas.metrics.score import EXPONENT, score
from mobinas.report.figures import figure_of, new_axes, style
from mobinas.report.labels import Rect, place_labels
from mobinas.report.models import Kind, ModelRow
from mobinas.report.palette import BLUE, FAINT, GREEN, GREY, INK, MUTED, ORANGE, SURFACE
from mobinas.report.words import METRIC_WORDS, accuracy, milliseconds, plain

_COLOUR: dict[Kind, str] = {"front": BLUE, "pick": ORANGE, "baseline": GREEN, "dominated": GREY}
_MARKER: dict[Kind, str] = {"front": "o", "pick": "*", "baseline": "D", "dominated": "o"}
_SIZE: dict[Kind, float] = {"front": 46.0, "pick": 230.0, "baseline": 40.0, "dominated": 22.0}
_LABEL_LIMIT = 26


@dataclass(frozen=True, slots=True)
class TradeoffInfo:
    """What the picture shows.

    Attributes:
        models: All points.
        reference_s: Latency at which the score equals the accuracy.
        metric: What `ModelRow.accuracy` is.
        accuracy_label: The same in words, and on which images.
        latency_label: Which latency, and where it was measured.
        max_latency_s: The job's latency budget, if it has one.

    Raises:
        MobinasError: No front, or more than one pick.
    """

    models: tuple[ModelRow, ...]
    reference_s: float = 1e-3
    metric: Metric = "accuracy"
    accuracy_label: str = ""
    latency_label: str = "measured latency"
    max_latency_s: float | None = None

    def __post_init__(self) -> None:
        picks = [model.name for model in self.models if model.kind == "pick"]
        if len(picks) > 1:
            raise MobinasError(f"{len(picks)} models are marked as the pick ({', '.join(picks)}); mark one")
        if not self.front:
            raise MobinasError("a trade-off needs at least one model on the front")
        if not self.accuracy_label:
            object.__setattr__(self, "accuracy_label", f"{self.metric_words} on the selection part")

    @property
    def metric_words(self) -> str:
        """What decides, for reading."""
        return METRIC_WORDS[self.metric]

    @property
    def front(self) -> tuple[ModelRow, ...]:
        """Members of the front, the pick among them, fastest first."""
        return tuple(sorted((m for m in self.models if m.on_front), key=lambda m: (m.latency_s, m.accuracy)))

    def score(self, accuracy: float, latency_s: float) -> float:
        """The score at a point of the picture, which reaches a little beyond an accuracy of 1."""
        return accuracy * score(1.0, latency_s, self.reference_s)

    def accuracy_at(self, level: float, latency_s: float) -> float:
        """The accuracy that gives this score at this latency."""
        return level / score(1.0, latency_s, self.reference_s)

    def latency_limits_s(self) -> tuple[float, float]:
        """Left and right end of the axis: all intervals, with a margin."""
        ends = [s for m in self.models for s in (m.latency_s, *(m.latency_bounds_s or ()))]
        margin = max((max(ends) / min(ends)) ** 0.09, 1.12)
        return min(ends) / margin, max(ends) * margin

    def accuracy_limits(self) -> tuple[float, float]:
        """Lower and upper end: the front in full; what lies far below it is drawn at the border instead."""
        front = [a for m in self.front for a in (m.accuracy, *(m.accuracy_bounds or ()))]
        span = max(max(front) - min(front), 0.01)
        low = max(min(front) - 0.8 * span, 0.0)
        shown = [
            a for m in self.models for a in (m.accuracy, *(m.accuracy_bounds or ())) if m.accuracy >= low
        ]
        margin = 0.10 * (max(shown) - min(shown)) + 0.002
        return max(min(shown) - margin, 0.0), min(max(shown) + margin, 1.0 + margin / 2)


def latency_ticks_s(low_s: float, high_s: float) -> list[float]:
    """Round latencies within the limits for a logarithmic axis: at least three where that is possible."""
    decades = range(math.floor(math.log10(low_s)), math.ceil(math.log10(high_s)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        inside = [tick for tick in ticks if low_s <= tick <= high_s]
        if len(inside) >= 4:
            return inside
    # Less than about a factor of two: equal steps, as on a linear axis.
    return [float(t) for t in MaxNLocator(5).tick_values(low_s, high_s) if low_s <= t <= high_s]


def score_levels(info: TradeoffInfo, n: int = 5) -> list[float]:
    """About `n` round scores whose curves cross the picture."""
    (left, right), (low, high) = info.latency_limits_s(), info.accuracy_limits()
    worst, best = info.score(low, right), info.score(high, left)
    return [
        float(s)
        for s in MaxNLocator(n + 1, steps=[1, 2, 2.5, 5, 10]).tick_values(worst, best)
        if worst < s < best
    ]


def tip(model: ModelRow) -> str:
    """One line on a model, for the pointer."""
    words = f"{plain(model.name)}: {model.accuracy_words}, {milliseconds(model.latency_s)}"
    return f"{words}; {plain(model.unanswered, 400)}" if model.unanswered else words


def draw_tradeoff(info: TradeoffInfo, axes: Axes | None = None, *, narrow: bool = False) -> Axes:
    """Draws the trade-off.

    Args:
        info: What to show.
        axes: Where; default a new figure.
        narrow: Proportions of that figure for a phone.

    Returns:
        The axes. Point i has the group id ``point-i``.
    """
    with style():
        if axes is None:
            axes = (
                new_axes(4.3, 4.6, (0.62, 0.55, 0.12, 0.5))
                if narrow
                else new_axes(9.4, 5.3, (0.68, 0.6, 0.45, 0.5))
            )
        _set_up(axes, info, narrow)
        _draw_scores(axes, info, narrow)
        _draw_stairs(axes, info)
        _draw_points(axes, info)
        _draw_labels(axes, info, narrow)
    return axes


def _set_up(axes: Axes, info: TradeoffInfo, narrow: bool) -> None:
    axes.set_xscale("log")
    axes.set_xlim(*info.latency_limits_s())
    axes.set_ylim(*info.accuracy_limits())
    axes.xaxis.set_major_locator(FixedLocator(latency_ticks_s(*info.latency_limits_s())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: f"{s * 1e3:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda a, _: f"{100 * a:g} %"))
    axes.grid(True, axis="y")
    axes.set_xlabel(
        f"{plain(info.latency_label, 42 if narrow else 90)}, ms (log scale)",
        loc="center" if narrow else "left",
    )
    heading = axes.set_title(plain(info.accuracy_label, 60), color=MUTED, fontweight="normal", pad=20)
    heading.set_fontsize(9)
    if not narrow:
        _draw_key(axes, info)


def _draw_key(axes: Axes, info: TradeoffInfo) -> None:
    """What the marks mean, in one line, and what the dashed lines are."""
    used = {model.kind for model in info.models}
    kinds: list[tuple[Kind, str]] = [
        ("pick", "best score"),
        ("front", "front"),
        ("dominated", "dominated"),
        ("baseline", "hand-designed"),
    ]
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=_MARKER[kind],
            color=_COLOUR[kind],
            markersize=_SIZE[kind] ** 0.5 * 0.8,
            label=words,
        )
        for kind, words in kinds
        if kind in used
    ]
    if any(model.test_dominated for model in info.models):
        words = "dominated on the test part"
        handles.append(
            Line2D([], [], linestyle="", marker="o", color=BLUE, markerfacecolor=SURFACE, label=words)
        )
    _draw_legend(axes, handles)
    relative = f"(latency / {info.reference_s * 1e3:g} ms)"
    exponent = f"{EXPONENT:g}".replace("-", "\N{MINUS SIGN}")
    formula = f"dashed: equal score = {info.metric_words} × {relative}^{exponent}"
    axes.annotate(
        formula,
        (1, 0),
        (0, -27),
        "axes fraction",
        "offset points",
        ha="right",
        va="center",
        fontsize=7.5,
        color=MUTED,
    )


def _draw_legend(axes: Axes, handles: list[Line2D]) -> None:
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.055),
        ncols=len(handles),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handletextpad=0.1,
        columnspacing=1.0,
        fontsize=7.5,
        labelcolor=MUTED,
    )


def _draw_scores(axes: Axes, info: TradeoffInfo, narrow: bool) -> None:
    """Curves of equal score; each is named where it leaves the picture."""
    left, right = info.latency_limits_s()
    high = info.accuracy_limits()[1]
    latencies = np.geomspace(left, right, 60)
    for level in score_levels(info):
        curve = [info.accuracy_at(level, s) for s in latencies]
        axes.plot(latencies, curve, color=FAINT, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        small: dict[str, Any] = {"fontsize": 7.5, "color": MUTED, "textcoords": "offset points"}
        if curve[-1] < high:
            if not narrow:
                axes.annotate(f"{level:g}", (right, curve[-1]), (4, 0), va="center", **small)
        else:
            top = info.reference_s * (high / level) ** (-1 / EXPONENT)
            axes.annotate(f"{level:g}", (top, high), (0, 3), ha="center", va="bottom", **small)
    if info.max_latency_s is not None and left < info.max_latency_s < right:
        axes.axvline(info.max_latency_s, color=MUTED, linewidth=1.0, linestyle=":", zorder=1)
        words = f"budget {milliseconds(info.max_latency_s)}"
        corner = (info.max_latency_s, info.accuracy_limits()[0])
        axes.annotate(words, corner, (3, 4), textcoords="offset points", color=MUTED, fontsize=7.5)


def _stairs(info: TradeoffInfo) -> list[tuple[float, float]]:
    """Corners of the border between what was reached and what was not."""
    right, low = info.latency_limits_s()[1], info.accuracy_limits()[0]
    corners = [(info.front[0].latency_s, low)]
    for model in info.front:
        corners += [(model.latency_s, corners[-1][1]), (model.latency_s, model.accuracy)]
    return [*corners[1:], (right, corners[-1][1])]


def _draw_stairs(axes: Axes, info: TradeoffInfo) -> None:
    corners = _stairs(info)
    x, y = zip(*corners, strict=True)
    axes.fill_between(x, y, info.accuracy_limits()[0], color=BLUE, alpha=0.055, linewidth=0, zorder=0.5)
    axes.plot(x[1:], y[1:], color=BLUE, linewidth=1.4, alpha=0.75, zorder=2, solid_joinstyle="round")


def _shown(info: TradeoffInfo, model: ModelRow) -> tuple[float, float, bool]:
    """Where a point is drawn, and whether its accuracy lies below the picture."""
    low, high = info.accuracy_limits()
    below = model.accuracy < low
    return model.latency_s, low + 0.022 * (high - low) if below else model.accuracy, below


def _draw_points(axes: Axes, info: TradeoffInfo) -> None:
    layers: dict[Kind, int] = {"dominated": 3, "baseline": 4, "front": 5, "pick": 6}
    for i, model in enumerate(info.models):
        x, y, below = _shown(info, model)
        colour = _COLOUR[model.kind]
        _draw_bars(axes, model, y, below, colour, layers[model.kind] - 0.5)
        axes.scatter(
            [x],
            [y],
            s=_SIZE[model.kind] * (1.0 if not below else 0.9),
            marker="v" if below else _MARKER[model.kind],
            facecolor=SURFACE if model.test_dominated else colour,
            edgecolor=colour if model.test_dominated else SURFACE,
            linewidth=1.6 if model.test_dominated else 0.8,
            zorder=layers[model.kind],
            clip_on=False,
            gid=f"point-{i}",
        )


def _draw_bars(axes: Axes, model: ModelRow, y: float, below: bool, colour: str, zorder: float) -> None:
    line = {"color": colour, "linewidth": 1.0, "alpha": 0.6, "zorder": zorder}
    if model.latency_bounds_s:
        axes.plot(model.latency_bounds_s, (y, y), **line)  # type: ignore[arg-type]
    if model.accuracy_bounds and not below:
        axes.plot((model.latency_s,) * 2, model.accuracy_bounds, **line)  # type: ignore[arg-type]


def _label(info: TradeoffInfo, model: ModelRow) -> str:
    name = plain(model.label or model.name, _LABEL_LIMIT)
    if _shown(info, model)[2]:
        return f"{name}: {accuracy(model.accuracy)}"
    if model.kind == "pick":
        return f"{name}\n{model.accuracy_words}, {milliseconds(model.latency_s)}"
    return name


def _draw_labels(axes: Axes, info: TradeoffInfo, narrow: bool) -> None:
    order: dict[Kind, int] = {"pick": 0, "baseline": 1, "front": 2}
    ends = (info.front[0], info.front[-1])
    models = sorted(
        (m for m in info.models if m.kind in order and (not narrow or m.kind != "front" or m in ends)),
        key=lambda m: (order[m.kind], m.latency_s),
    )
    texts = [
        axes.text(
            0,
            0,
            _label(info, model),
            fontsize=(9.5 if model.kind == "pick" else 8) - (0.5 if narrow else 0),
            fontweight="bold" if model.kind == "pick" else "normal",
            color={"front": INK, "pick": ORANGE, "baseline": GREEN}[model.kind],
            ha="left",
            va="bottom",
            linespacing=1.25,
            zorder=7,
        )
        for model in models
    ]
    renderer = figure_of(axes).canvas.get_renderer()  # type: ignore[attr-defined]
    sizes = [(box.width, box.height) for box in (text.get_window_extent(renderer) for text in texts)]
    anchors = [_pixel(axes, *_shown(info, model)[:2]) for model in models]
    frame = _rect(axes.get_window_extent(renderer))
    unit = figure_of(axes).dpi / 72
    for text, model, anchor, rect in zip(
        texts,
        models,
        anchors,
        place_labels(anchors, sizes, _obstacles(axes, info, unit), frame, 5 * unit),
        strict=True,
    ):
        x, y = axes.transData.inverted().transform((rect.x0, rect.y0))
        text.set_position((float(x), float(y)))
        _draw_leader(axes, anchor, rect, _COLOUR[model.kind], 9 * unit)


def _pixel(axes: Axes, x: float, y: float) -> tuple[float, float]:
    px, py = axes.transData.transform((x, y))
    return float(px), float(py)


def _rect(box: Bbox) -> Rect:
    return Rect(box.x0, box.y0, box.x1, box.y1)


def _around(points: Sequence[tuple[float, float]], margin: float) -> Rect:
    x, y = zip(*points, strict=True)
    return Rect(min(x) - margin, min(y) - margin, max(x) + margin, max(y) + margin)


def _obstacles(axes: Axes, info: TradeoffInfo, unit: float) -> list[Rect]:
    """Marks, error bars and the front's stairs, in pixels."""
    rects = []
    for model in info.models:
        x, y, below = _shown(info, model)
        mark = _around([_pixel(axes, x, y)], math.sqrt(_SIZE[model.kind]) / 2 * unit)
        rects += [mark] * 3  # worse to cover than a line
        if model.latency_bounds_s:
            rects.append(_around([_pixel(axes, s, y) for s in model.latency_bounds_s], 1.5 * unit))
        if model.accuracy_bounds and not below:
            rects.append(_around([_pixel(axes, x, a) for a in model.accuracy_bounds], 1.5 * unit))
    corners = [_pixel(axes, *corner) for corner in _stairs(info)[1:]]
    rects += [_around(pair, 1.5 * unit) for pair in itertools.pairwise(corners)]
    return rects


def _draw_leader(axes: Axes, anchor: tuple[float, float], rect: Rect, colour: str, shortest: float) -> None:
    """A thin line to a label that had to move away from its point."""
    nearest = (min(max(anchor[0], rect.x0), rect.x1), min(max(anchor[1], rect.y0), rect.y1))
    if math.dist(anchor, nearest) > shortest:
        ends = axes.transData.inverted().transform([anchor, nearest])
        axes.plot(ends[:, 0], ends[:, 1], color=colour, linewidth=0.7, alpha=0.7, zorder=2.5)


def tips(models: Iterable[ModelRow]) -> dict[str, str]:
    """What to show at each of the picture's points, by group id."""
    return {f"point-{i}": tip(model) for i, model in enumerate(models)}
