"""Curves over a run: what the supernet, the search and the final training did."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mobinas.errors import MobinasError
from mobinas.graph.draw import spread
from mobinas.metrics.convergence import Band
from mobinas.report.figures import new_axes, style
from mobinas.report.palette import GREY, MUTED, ORANGE, SERIES
from mobinas.report.words import plain

_GAP = 0.085  # least distance between two names at the right border, as a share of the axes' height


@dataclass(frozen=True, slots=True)
class Series:
    """One named line; x ascending, y of the same length. Values that are not finite leave a gap.

    Attributes:
        name: Written at its end.
        x: Places.
        y: Values.
        band: Lower and upper ends of an interval around the line, of the same length.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    band: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def __post_init__(self) -> None:
        if self.band is not None and any(len(edge) != len(self.x) for edge in self.band):
            raise MobinasError(f"the band of '{self.name}' does not have as many ends as there are x")
        if len(self.x) != len(self.y):
            raise MobinasError(f"series '{self.name}' has {len(self.x)} x and {len(self.y)} y; give as many")


@dataclass(frozen=True, slots=True)
class CurvesInfo:
    """A panel of curves over one common x.

    Attributes:
        title: What is seen.
        x_label: What x counts.
        series: The lines.
        share: Whether y is a share, or a difference of shares, written as percent.
        note: One sentence that says how to read it; shown below the picture.
        steps: Whether values hold until the next (a best-so-far) instead of running straight to it.
        highlight: The line to bring out where there are more than colours.
    """

    title: str
    x_label: str
    series: tuple[Series, ...]
    share: bool = False
    note: str = ""
    steps: bool = False
    highlight: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(math.isfinite(y) for series in self.series for y in series.y)


def over_epochs(values: Mapping[str, Sequence[float]]) -> tuple[Series, ...]:
    """Named lists of one value an epoch, as series over 1, 2, ..."""
    return tuple(
        Series(name, tuple(float(i) for i in range(1, len(ys) + 1)), tuple(float(y) for y in ys))
        for name, ys in values.items()
    )


def supernet_panels(
    losses: Mapping[str, Sequence[float]],
    entropy: Sequence[float],
    skip_share: Sequence[float | None],
    discretisation_gap: Sequence[float | None] = (),
    expected_latency_s: Sequence[float | None] = (),
) -> tuple[CurvesInfo, ...]:
    """The panels of a supernet search.

    Args:
        losses: For each part of the data its loss in each epoch.
        entropy: Mean entropy of the op probabilities in each epoch, over the largest possible one.
        skip_share: Share of skip connections among the ops that would be chosen, in each epoch; no panel
            without.
        discretisation_gap: Accuracy of the mixed network minus that of its discrete cell, in each epoch; no
            panel without.
        expected_latency_s: What the op probabilities let expect on the target, in each epoch; no panel
            without.
    """

    def known(name: str, values: Sequence[float | None]) -> tuple[Series, ...]:
        present = [value for value in values if value is not None]
        return over_epochs({name: present} if present else {})

    expected_ms = [None if value is None else 1e3 * value for value in expected_latency_s]
    panels = (
        CurvesInfo("Supernet loss", "epoch", over_epochs(losses)),
        CurvesInfo(
            "Entropy of the op probabilities (100 %: even)",
            "epoch",
            over_epochs({"entropy": entropy}),
            share=True,
            note="Falls as the method makes up its mind.",
        ),
        CurvesInfo(
            "Share of skip connections",
            "epoch",
            known("skip share", skip_share),
            share=True,
            note="A share that climbs towards 100 % is the known collapse of differentiable search.",
        ),
        CurvesInfo(
            "Accuracy lost by taking one op per edge",
            "epoch",
            known("discretisation gap", discretisation_gap),
            share=True,
            note="A gap that stays wide says that the mixture, not the cell it stands for, was trained.",
        ),
        CurvesInfo(
            "Latency that the op probabilities expect, ms",
            "epoch",
            known("expected latency", expected_ms),
            note="A sum over ops, at the middle of the macro space; a latency weight pulls it down.",
        ),
    )
    return tuple(panel for panel in panels if not panel.is_empty)


def hypervolume_panel(
    evaluations: Sequence[int], hypervolume: Sequence[float], at_random: Band | None = None
) -> CurvesInfo:
    """The panel of the front's hypervolume over the number of evaluated architectures.

    Args:
        evaluations: Their numbers.
        hypervolume: Of the search's front after each.
        at_random: The same of random search, over seeds.
    """
    found, drawn = list(hypervolume), at_random or Band((), (), ())
    most = max([*found, *drawn.high], default=0.0) or 1.0

    def shares(volumes: Sequence[float]) -> tuple[float, ...]:
        return tuple(volume / most for volume in volumes)

    lines = [Series("search" if at_random else "hypervolume", tuple(map(float, evaluations)), shares(found))]
    note = "A curve that is still climbing at its end says that a longer search would find more."
    if at_random is not None:
        x = tuple(float(k) for k in range(1, len(drawn.middle) + 1))
        lines.append(
            Series("random search", x, shares(drawn.middle), (shares(drawn.low), shares(drawn.high)))
        )
        note += (
            f" Random search judged {len(x)} architectures alike; the band is how much nine in ten such runs "
            "differ between seeds (bootstrap)."
        )
    return CurvesInfo(
        "Hypervolume of the front found so far",
        "evaluated architectures",
        tuple(lines),
        share=True,
        note=note,
        steps=True,
    )


def training_panel(losses: Mapping[str, Sequence[float]], pick: str = "") -> CurvesInfo:
    """The panel of the trained models' losses, by model name; `pick` is brought out if they are many."""
    return CurvesInfo(
        "Training loss of finalists and baselines", "epoch", over_epochs(losses), highlight=pick
    )


def draw_curves(info: CurvesInfo, axes: Axes | None = None) -> Axes:
    """Draws one panel, each line named at its end.

    Args:
        info: What to show.
        axes: Where; default a new figure.

    Returns:
        The axes.
    """
    with style():
        if axes is None:
            named = len(info.series) > 1
            axes = new_axes(4.4, 2.7, (0.6, 0.5, 1.15 if named else 0.25, 0.4))
        axes.set_title(plain(info.title, 60))
        axes.set_xlabel(plain(info.x_label, 60))
        axes.grid(True, axis="y")
        for i, series in enumerate(info.series):
            colour, prominent = _look(info, i)
            if series.band is not None:
                step: Literal["post"] | None = "post" if info.steps else None
                axes.fill_between(series.x, *series.band, step=step, color=colour, alpha=0.2, linewidth=0)
            axes.plot(
                series.x,
                series.y,
                color=colour,
                alpha=1.0 if prominent else 0.7,
                linewidth=1.8 if prominent else 1.0,
                zorder=3 if prominent else 2,
                drawstyle="steps-post" if info.steps else "default",
                marker="o" if len(series.x) == 1 else "",
                solid_capstyle="round",
            )
        axes.margins(x=0.0 if max((len(s.x) for s in info.series), default=0) > 1 else 0.1, y=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if info.share:
            finite = [y for series in info.series for y in series.y if math.isfinite(y)]
            axes.set_ylim(min([0.0, *finite]), 1)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
        if len(info.series) > 1:
            _name_lines(axes, info)
    return axes


def _look(info: CurvesInfo, i: int) -> tuple[str, bool]:
    """Colour of line i, and whether it stands out: with more lines than colours only the highlight does."""
    if len(info.series) <= len(SERIES):
        return SERIES[i], True
    chosen = info.series[i].name == info.highlight
    return (ORANGE if chosen else GREY), chosen


def _name_lines(axes: Axes, info: CurvesInfo) -> None:
    """Names beside the ends of the lines that stand out, moved apart where they would touch."""
    low, high = axes.get_ylim()
    ends, others = [], 0
    for i, series in enumerate(info.series):
        finite = [y for y in series.y if math.isfinite(y)]
        colour, prominent = _look(info, i)
        if finite and prominent:
            ends.append(((finite[-1] - low) / (high - low), plain(series.name, 18), colour))
        others += not prominent
    if others:
        ends.append(
            (ends[0][0] + 1e-9 if ends else 0.5, f"{others} others" if ends else f"{others} models", MUTED)
        )
    ends.sort()
    places = spread([height for height, _, _ in ends], [_GAP] * (len(ends) - 1))
    shift = -min(places[0], 0.0) if ends else 0.0
    for y, (_, name, colour) in zip(places, ends, strict=True):
        axes.text(1.02, y + shift, name, transform=axes.transAxes, color=colour, fontsize=7.5, va="center")
