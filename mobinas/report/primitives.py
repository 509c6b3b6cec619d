"""Which op costs what on a target: the predictor's times against those that the profiler showed."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from mobinas.errors import MobinasError
from mobinas.report.figures import figure_of, new_axes, style
from mobinas.report.palette import BLUE, FAINT, INK, MUTED, ORANGE, SURFACE
from mobinas.report.tradeoff import latency_ticks_s
from mobinas.report.words import op_words, plain

if TYPE_CHECKING:
    from predictors.primitives import PrimitiveCost

_BAND = 0.10
# In inches.
_WIDTH, _LANE, _GAP = 8.2, 0.135, 0.12
_LEFT, _RIGHT, _BELOW, _ABOVE = 1.9, 0.62, 0.5, 0.62
_RESIDUALS, _BETWEEN = 1.55, 0.28
# An interval that reaches further than this factor is cut, or it would squeeze all others.
_FAR = 1.7


@dataclass(frozen=True, slots=True)
class PrimitivesInfo:
    """What ops cost at several shapes.

    Attributes:
        costs: Of each op at each shape, in any order.
    """

    costs: "tuple[PrimitiveCost, ...]"

    @property
    def is_empty(self) -> bool:
        """Whether no op costs anything."""
        return not any(cost.predicted_s for cost in self.costs)

    @property
    def rows(self) -> "list[list[PrimitiveCost]]":
        """Costs by op and stride, the costliest first; shapes within from narrow to wide."""
        by_op: dict[tuple[str, int], list[PrimitiveCost]] = {}
        for cost in self.costs:
            by_op.setdefault((cost.op, cost.stride), []).append(cost)
        rows = [sorted(row, key=lambda c: (c.width * c.size, c.width)) for row in by_op.values()]
        return sorted(rows, key=lambda row: (-_typical_s(row), row[0].op, row[0].stride))

    @property
    def residuals(self) -> "dict[tuple[str, int], float]":
        """Op and stride -> median over shapes of measured / predicted - 1; only where measured."""
        found = {(row[0].op, row[0].stride): [_ratio(cost) for cost in row] for row in self.rows}
        known = {key: [r for r in ratios if r is not None] for key, ratios in found.items()}
        return {key: statistics.median(ratios) - 1 for key, ratios in known.items() if ratios}


def _typical_s(row: "Sequence[PrimitiveCost]") -> float:
    return statistics.median(cost.predicted_s for cost in row)


def _ratio(cost: "PrimitiveCost") -> float | None:
    return cost.measured_s / cost.predicted_s if cost.measured_s and cost.predicted_s else None


@dataclass(frozen=True, slots=True)
class _Places:
    """Where things are drawn; a row is as high as its shapes, or a single lane where its op is free."""

    rows: "list[list[PrimitiveCost]]"

    def lanes(self, row: "Sequence[PrimitiveCost]") -> int:
        return len(row) if _typical_s(row) else 1

    @property
    def tops(self) -> list[float]:
        """Upper edge of each row in inches below the top."""
        tops = [_GAP / 2]
        for row in self.rows:
            tops.append(tops[-1] + self.lanes(row) * _LANE + _GAP)
        return tops

    @property
    def height(self) -> float:
        return self.tops[-1] - _GAP / 2

    def marks(self) -> "list[tuple[float, PrimitiveCost]]":
        """Height of each mark's lane, and what it shows."""
        return [
            (top + (lane + 0.5) * _LANE, cost)
            for top, row in zip(self.tops, self.rows, strict=False)
            if _typical_s(row)
            for lane, cost in enumerate(row)
        ]


def draw_primitives(info: PrimitivesInfo) -> Axes:
    """Draws costs on a logarithmic axis at the left, measured relative to predicted at the right.

    Returns:
        The left axes; the right ones, where anything was measured, are the figure's second.

    Raises:
        MobinasError: No op has a cost.
    """
    places = _Places(info.rows)
    if info.is_empty:
        raise MobinasError("the picture of what ops cost needs at least one op that costs something")
    with style():
        measured = bool(info.residuals)
        right = _RIGHT + (_RESIDUALS + _BETWEEN) * measured
        axes = new_axes(_WIDTH, places.height + _BELOW + _ABOVE, (_LEFT, _BELOW, right, _ABOVE))
        _set_up(axes, places)
        _name_rows(axes, places)
        _draw_costs(axes, places)
        _draw_key(axes, measured)
        if measured:
            width, height = figure_of(axes).get_size_inches()
            left = (width - _RIGHT - _RESIDUALS) / width
            box = (left, _BELOW / height, _RESIDUALS / width, places.height / height)
            _draw_residuals(figure_of(axes).add_axes(box), info, places)
    return axes


def _limits(places: _Places) -> tuple[float, float]:
    costs = [cost for _, cost in places.marks()]
    centres = [s for c in costs for s in (c.predicted_s, c.measured_s) if s]
    low, high = min(centres) / _FAR, max(centres) * _FAR
    ends = [s for c in costs for s in (*c.predicted_bounds_s, *(c.measured_bounds_s or ()))]
    return max(low, min(ends) / 1.15), min(high, max(ends) * 1.15)


def _set_up(axes: Axes, places: _Places) -> None:
    axes.set_xscale("log")
    limits = _limits(places)
    axes.set_xlim(*limits)
    axes.set_ylim(places.height, 0)
    axes.xaxis.set_major_locator(FixedLocator(latency_ticks_s(*limits)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: f"{s * 1e6:g}"))
    axes.grid(True, axis="x")
    axes.set_xlabel("time within a network, µs (log scale)", loc="left")
    axes.spines["left"].set_visible(False)


def _name_rows(axes: Axes, places: _Places) -> None:
    axes.set_yticks([y for y, _ in places.marks()])
    axes.set_yticklabels([f"{c.width} × {c.size}²" for _, c in places.marks()], fontsize=6.5)
    axes.tick_params(axis="y", length=0, pad=3)
    figure_width = figure_of(axes).get_size_inches()[0]
    start = (0.12 - _LEFT) / (figure_width * axes.get_position().width)
    for top, row in zip(places.tops, places.rows, strict=False):
        words = plain(op_words(row[0].op) + (", halving" if row[0].stride == 2 else ""), 20)
        middle = top + places.lanes(row) * _LANE / 2
        axes.text(start, middle, words, transform=axes.get_yaxis_transform(), va="center", color=INK)
        if not _typical_s(row):
            words = "free: the runtime runs nothing for it"
            low = axes.get_xlim()[0]
            axes.annotate(words, (low, middle), (3, 0), textcoords="offset points", va="center", fontsize=7.5)
    _rule_rows(axes, places, start)


def _rule_rows(axes: Axes, places: _Places, start: float) -> None:
    for top in places.tops[1:-1]:
        ends, y = (start, 1), (top - _GAP / 2,) * 2
        axes.plot(
            ends, y, transform=axes.get_yaxis_transform(), color=FAINT, linewidth=0.8, clip_on=False, zorder=0
        )


def _draw_costs(axes: Axes, places: _Places) -> None:
    for y, cost in places.marks():
        axes.plot(cost.predicted_bounds_s, (y, y), color=BLUE, linewidth=4.5, alpha=0.22, zorder=2)
        axes.plot(cost.predicted_s, y, marker="o", markersize=5, color=BLUE, linestyle="", zorder=3)
        if cost.measured_s is None:
            continue
        if cost.measured_bounds_s:
            axes.plot(cost.measured_bounds_s, (y, y), color=ORANGE, linewidth=1.0, alpha=0.8, zorder=4)
        axes.plot(
            cost.measured_s,
            y,
            marker="D",
            markersize=4.2,
            color=ORANGE,
            markeredgecolor=SURFACE,
            markeredgewidth=0.6,
            linestyle="",
            zorder=5,
        )


def _draw_key(axes: Axes, measured: bool) -> None:
    axes.set_title("Which op costs what on this target", pad=24)
    words = "◆ measured by the profiler" if measured else "no times of these kernels were measured"
    colour = ORANGE if measured else MUTED
    small: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    axes.annotate("● predicted, 90 % interval", (0, 1), (5, 7), color=BLUE, fontsize=8, **small)
    axes.annotate(words, (0, 1), (140, 7), color=colour, fontsize=8, **small)
    axes.annotate("channels × pixels", (0, 1), (-3, 7), color=MUTED, fontsize=6.5, ha="right", **small)


def _draw_residuals(axes: Axes, info: PrimitivesInfo, places: _Places) -> None:
    shown = [(y, ratio - 1) for y, cost in places.marks() if (ratio := _ratio(cost)) is not None]
    worst = max(0.15, *(1.15 * abs(error) for _, error in shown))
    axes.set_xlim(-worst, worst)
    axes.set_ylim(places.height, 0)
    axes.axvspan(-_BAND, _BAND, color=FAINT, alpha=0.6, linewidth=0)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.scatter(
        [error for _, error in shown],
        [y for y, _ in shown],
        s=14,
        marker="D",
        facecolor=ORANGE,
        edgecolor=SURFACE,
        linewidth=0.5,
        zorder=3,
    )
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda e, _: _signed(e) if e else "0 %"))
    axes.set_title("Measured / predicted", pad=24)
    axes.set_xlabel("band: ±10 %", loc="left")
    _draw_medians(axes, info, places)


def _signed(share: float) -> str:
    return f"{100 * share:+.0f} %".replace("-", "\N{MINUS SIGN}")


def _draw_medians(axes: Axes, info: PrimitivesInfo, places: _Places) -> None:
    for top, row in zip(places.tops, places.rows, strict=False):
        median = info.residuals.get((row[0].op, row[0].stride))
        if median is None:
            continue
        below = top + places.lanes(row) * _LANE
        axes.plot((median, median), (top, below), color=INK, linewidth=1.6, zorder=2.5)
        axes.annotate(
            _signed(median),
            (1, (top + below) / 2),
            (4, 0),
            ("axes fraction", "data"),
            "offset points",
            va="center",
            fontsize=8,
        )
    axes.annotate(
        "median", (1, 1), (4, 7), "axes fraction", "offset points", color=MUTED, fontsize=8, va="bottom"
    )
