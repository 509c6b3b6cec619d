"""Why the front is as it is: which choices decided, and what sizes and cells contribute by themselves."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mobinas.errors import MobinasError
from mobinas.report.figures import figure_of, new_axes, style, svg
from mobinas.report.markup import Markup, join, tag
from mobinas.report.palette import BLUE, GREY, INK
from mobinas.report.words import op_words, plain

# In inches.
_ROW, _PANEL, _LEFT, _BETWEEN, _RIGHT, _BELOW, _ABOVE = 0.22, 2.5, 2.1, 0.3, 0.3, 0.5, 0.35
_MOST_ROWS = 14


@dataclass(frozen=True, slots=True)
class Decider:
    """One feature's importance for one objective.

    Attributes:
        name: Of the feature.
        share: Of the importances of all features, in [0, 1].
        noise: What such a share stays below by chance, 19 times in 20.
    """

    name: str
    share: float
    noise: float

    @property
    def is_clear(self) -> bool:
        """Whether it stands out of the noise."""
        return self.share > self.noise


@dataclass(frozen=True, slots=True)
class WhyInfo:
    """What explains a front.

    Attributes:
        deciders: By objective, as it is to be read, the features; the same ones in each.
        n: Judged architectures behind them.
        parts: (what was varied, what it reached) in order.
    """

    deciders: tuple[tuple[str, tuple[Decider, ...]], ...] = ()
    n: int = 0
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> list[str]:
        """The features that matter most for any objective, that one first."""
        best: dict[str, float] = {}
        for _, features in self.deciders:
            for one in features:
                best[one.name] = max(best.get(one.name, 0.0), one.share)
        return sorted(best, key=lambda name: (-best[name], name))[:_MOST_ROWS]


def why(info: WhyInfo | None) -> Markup:
    """The section of the page; empty where nothing is known."""
    if info is None or not (info.deciders or info.parts):
        return Markup("")
    parts = [tag("h2", "Why this front")]
    if info.parts:
        facts = [join(tag("dt", plain(name)), tag("dd", plain(value, 300))) for name, value in info.parts]
        parts.append(tag("dl", *facts))
    if info.deciders:
        drawing = svg(draw_why(info), "why", "; ".join(_sentences(info)))
        note = (
            f"Importance (PED-ANOVA) for being among the best tenth of {info.n} judged architectures, as a "
            "share of all. Up to the mark a share is no more than chance gives; such bars are grey. "
            "Accuracies are inherited, latencies predicted."
        )
        figure = tag("figure", tag("div", drawing, class_="picture"), tag("figcaption", note))
        parts.append(figure)
    return join(*parts)


def _sentences(info: WhyInfo) -> list[str]:
    sentences = []
    for objective, features in info.deciders:
        clear = [_words(one.name) for one in features if one.is_clear]
        sentences.append(f"{objective}: {', '.join(clear) if clear else 'nothing stands out of the noise'}")
    return sentences


def _words(name: str) -> str:
    op, edges, _ = name.partition(" edges")
    return plain(op_words(op) + edges if edges else name, 40)


def draw_why(info: WhyInfo) -> Axes:
    """Draws one panel for each objective, with a row for each feature.

    Returns:
        The first axes.

    Raises:
        MobinasError: There is no objective.
    """
    if not info.deciders:
        raise MobinasError("the picture of what decided needs at least one objective")
    names = info.names
    many = len(info.deciders)
    width = _LEFT + many * _PANEL + (many - 1) * _BETWEEN + _RIGHT
    height = _ROW * len(names) + _BELOW + _ABOVE
    with style():
        right = width - _LEFT - _PANEL
        first = new_axes(width, height, (_LEFT, _BELOW, right, _ABOVE))
        figure = figure_of(first)
        for k, (objective, features) in enumerate(info.deciders):
            left = (_LEFT + k * (_PANEL + _BETWEEN)) / width
            box = (left, _BELOW / height, _PANEL / width, 1 - (_BELOW + _ABOVE) / height)
            axes = first if k == 0 else figure.add_axes(box)
            by_name = {one.name: one for one in features}
            _draw_panel(axes, objective, [by_name[name] for name in names])
            axes.set_yticks(
                range(len(names)), [_words(name) for name in names] if k == 0 else [""] * len(names)
            )
    return first


def _draw_panel(axes: Axes, objective: str, rows: Sequence[Decider]) -> None:
    axes.set_title(plain(objective, 40))
    places = range(len(rows))
    colours = [BLUE if row.is_clear else GREY for row in rows]
    axes.barh(places, [row.share for row in rows], height=0.62, color=colours)
    axes.vlines(
        [row.noise for row in rows],
        [y - 0.4 for y in places],
        [y + 0.4 for y in places],
        color=INK,
        linewidth=1,
    )
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.08 * max(max(row.share, row.noise) for row in rows) or 1)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share of importance", loc="left")
    axes.grid(True, axis="x")
