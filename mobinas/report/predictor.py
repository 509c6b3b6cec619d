"""How well the latency predictor predicts: held-out predictions against measurements."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mobinas.errors import MobinasError
from mobinas.report.figures import figure_of, new_axes, style
from mobinas.report.palette import BLUE, FAINT, INK, MUTED, ORANGE, SURFACE
from mobinas.report.tradeoff import latency_ticks_s

_BAND = 0.10


@dataclass(frozen=True, slots=True)
class PredictedPoint:
    """A model that was both predicted, before it was known, and measured. Times in seconds."""

    measured_s: float
    predicted_s: float
    bounds_s: tuple[float, float] | None = None
    finalist: bool = False

    def __post_init__(self) -> None:
        for seconds in (self.measured_s, self.predicted_s, *(self.bounds_s or ())):
            if not (math.isfinite(seconds) and seconds > 0):
                raise MobinasError(f"a predicted point holds {seconds} s; latencies are finite and above 0")

    @property
    def error(self) -> float:
        """(predicted - measured) / measured."""
        return self.predicted_s / self.measured_s - 1


@dataclass(frozen=True, slots=True)
class PredictorInfo:
    """The predictor's held-out report.

    Attributes:
        points: Held-out predictions, and the finalists once they were measured.
        n: Measured networks that the predictor was fitted on.
        hit_5: Share of held-out predictions within 5 % of the measurement.
        hit_10: The same within 10 %.
        spearman: Rank correlation of held-out predictions and measurements.
        kendall: Kendall's tau of the same.
        coverage_90: Share of measurements inside the nominal 90 % interval.
        repeat_5: Share of measurements that repeat themselves within 5 %, by split halves: the bar to reach.
        repeat_10: The same within 10 %.
        macs_hit_10: Share within 10 % when latency is fitted on multiply-accumulates alone.
    """

    points: tuple[PredictedPoint, ...]
    n: int
    hit_5: float | None = None
    hit_10: float | None = None
    spearman: float | None = None
    kendall: float | None = None
    coverage_90: float | None = None
    repeat_5: float | None = None
    repeat_10: float | None = None
    macs_hit_10: float | None = None


def draw_predictor(info: PredictorInfo) -> Axes:
    """Draws predicted against measured latency above, the relative error below.

    Returns:
        The upper axes; the lower ones are the figure's second.

    Raises:
        MobinasError: There is no point to draw.
    """
    if not info.points:
        raise MobinasError("the predictor's picture needs at least one predicted and measured network")
    with style():
        axes = new_axes(5.2, 5.6, (0.75, 2.15, 0.2, 0.4))
        width, height = figure_of(axes).get_size_inches()
        below = figure_of(axes).add_axes((0.75 / width, 0.55 / height, (width - 0.95) / width, 1.25 / height))
        times = [s for p in info.points for s in (p.measured_s, p.predicted_s)]
        limits = (min(times) / 1.2, max(times) * 1.2)
        _draw_scatter(axes, info, limits)
        _draw_errors(below, info, limits)
    return axes


def _draw_scatter(axes: Axes, info: PredictorInfo, limits: tuple[float, float]) -> None:
    axes.set_title("Predicted and measured latency, ms")
    axes.fill_between(
        limits,
        [s * (1 - _BAND) for s in limits],
        [s * (1 + _BAND) for s in limits],
        color=FAINT,
        alpha=0.6,
        linewidth=0,
    )
    axes.plot(limits, limits, color=MUTED, linewidth=0.8)
    for set_scale in (axes.set_xscale, axes.set_yscale):
        set_scale("log")
    axes.set_xlim(*limits)
    axes.set_ylim(*limits)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(latency_ticks_s(*limits)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda s, _: f"{s * 1e3:g}"))
    axes.tick_params(labelbottom=False)
    axes.set_ylabel("predicted")
    for point in info.points:
        if point.bounds_s:
            colour = _colour(point)
            axes.plot((point.measured_s,) * 2, point.bounds_s, color=colour, linewidth=0.9, alpha=0.45)
    _scatter(axes, info, lambda p: p.predicted_s)
    axes.text(0.03, 0.95, "● profiled, held out", transform=axes.transAxes, color=BLUE, fontsize=8, va="top")
    if any(point.finalist for point in info.points):
        axes.text(
            0.03,
            0.885,
            "◆ finalists, as trained",
            transform=axes.transAxes,
            color=ORANGE,
            fontsize=8,
            va="top",
        )


def _draw_errors(axes: Axes, info: PredictorInfo, limits: tuple[float, float]) -> None:
    worst = max(0.15, *(1.15 * abs(point.error) for point in info.points))
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.set_ylim(-worst, worst)
    axes.axhspan(-_BAND, _BAND, color=FAINT, alpha=0.6, linewidth=0)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    _scatter(axes, info, lambda p: p.error)
    axes.xaxis.set_major_locator(FixedLocator(latency_ticks_s(*limits)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: f"{s * 1e3:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda e, _: f"{100 * e:+g} %" if e else "0 %"))
    axes.set_xlabel("measured")
    axes.set_ylabel("error")
    axes.annotate(
        "band: ±10 %", (1, 1), (0, 3), "axes fraction", "offset points", ha="right", color=INK, fontsize=7.5
    )


def _colour(point: PredictedPoint) -> str:
    return ORANGE if point.finalist else BLUE


def _scatter(axes: Axes, info: PredictorInfo, y: Callable[[PredictedPoint], float]) -> None:
    for finalist, marker, size in ((False, "o", 22.0), (True, "D", 30.0)):
        points = [point for point in info.points if point.finalist == finalist]
        axes.scatter(
            [point.measured_s for point in points],
            [y(point) for point in points],
            s=size,
            marker=marker,
            facecolor=ORANGE if finalist else BLUE,
            edgecolor=SURFACE,
            linewidth=0.6,
            zorder=4 if finalist else 3,
        )
