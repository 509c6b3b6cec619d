"""The sections of the report page, one function each, in the order of the page."""

from collections.abc import Iterable, Sequence

from mobinas.arch.genotype import Genotype
from mobinas.report.cells import draw_cell_picture
from mobinas.report.curves import CurvesInfo, draw_curves
from mobinas.report.figures import figure_of, svg
from mobinas.report.markup import Markup, file_link, join, tag
from mobinas.report.models import Bounds, Kind, ModelRow
from mobinas.report.predictor import PredictorInfo, draw_predictor
from mobinas.report.primitives import PrimitivesInfo, draw_primitives
from mobinas.report.tradeoff import TradeoffInfo, draw_tradeoff, tips
from mobinas.report.trust import reservations, unanswered_classes
from mobinas.report.words import (
    METRIC_WORDS,
    accuracy,
    count,
    milliseconds,
    milliseconds_range,
    op_words,
    percent,
    percent_range,
    plain,
    significant,
    test_words,
)

_MARK: dict[Kind, str] = {"pick": "★", "front": "●", "dominated": "•", "baseline": "◆"}
_ROLE: dict[Kind, str] = {
    "pick": "on the front, best score",
    "front": "on the front",
    "dominated": "dominated",
    "baseline": "hand-designed baseline",
}
_NOTHING = Markup("")


def answer(pick: ModelRow, info: TradeoffInfo, pick_command: str) -> Markup:
    """The pick, what it reaches and where its file is."""
    tiles = [_tile(milliseconds(pick.latency_s), _with_range("median latency", _ms(pick.latency_bounds_s)))]
    if pick.test_accuracy is not None:
        words = _with_range(test_words(info.metric), _shares(pick.test_bounds))
        tiles.insert(0, _tile(accuracy(pick.test_accuracy), words))
    if pick.test_accuracy is not None and pick.beside is not None:
        words = _with_range(test_words(pick.beside.metric), _shares(pick.beside.test_bounds))
        tiles.insert(1, _tile(accuracy(pick.beside.test_share), words))
    if pick.test_accuracy is None:
        tiles.insert(0, _tile(pick.accuracy_words, info.accuracy_label))
    if pick.params is not None:
        macs = f"parameters; {count(pick.macs)} multiply-adds" if pick.macs is not None else "parameters"
        tiles.append(_tile(count(pick.params), macs))
    score = info.score(pick.accuracy, pick.latency_s) if pick.score is None else pick.score
    tiles.append(_tile(f"{score:.3f}", f"score; {pick.accuracy_words} {_lower(info.accuracy_label)}"))
    fastest, slowest = info.front[0], info.front[-1]
    span = slowest.latency_s / fastest.latency_s
    sentence = (
        f"The best score of {len(info.front)} models on the front, which spans {significant(span, 2)}× "
        "in latency: "
        f"from {fastest.accuracy_words} at {milliseconds(fastest.latency_s)} "
        f"to {slowest.accuracy_words} at {milliseconds(slowest.latency_s)}."
    )
    if len(info.front) == 1:
        sentence = f"The only model on the front: no other was better in {info.metric_words} or in latency."
    parts = [
        tag("p", "★ The pick", class_="role"),
        tag("div", plain(pick.name), class_="name"),
        tag("div", *tiles, class_="tiles"),
        tag("p", sentence),
    ]
    if pick.unanswered:
        parts.insert(2, tag("p", f"▲ It {plain(pick.unanswered, 600)}.", class_="warning"))
    if pick.onnx:
        parts.append(tag("p", "Verified ONNX file: ", tag("code", file_link(pick.onnx, plain(pick.onnx)))))
    if pick_command:
        parts.append(tag("p", "For another latency budget: ", tag("code", plain(pick_command, 400))))
    return tag("section", *parts, class_="card answer")


def _tile(number: str, words: str) -> Markup:
    return tag("div", tag("b", number), tag("span", words), class_="tile")


def _lower(label: str) -> str:
    return plain(label[:1].lower() + label[1:], 60)


def _with_range(words: str, bounds: str) -> str:
    return f"{words}, {bounds}" if bounds else words


def _ms(bounds_s: Bounds | None) -> str:
    return f"95\N{NO-BREAK SPACE}%: {milliseconds_range(*bounds_s)}" if bounds_s else ""


def _shares(bounds: Bounds | None) -> str:
    return f"95\N{NO-BREAK SPACE}%: {percent_range(*bounds)}" if bounds else ""


def picture(info: TradeoffInfo) -> Markup:
    """The trade-off, in two proportions of which the page shows the fitting one."""
    best = info.front[-1]
    caption = (
        f"{info.metric_words.capitalize()} against latency of {len(info.models)} models; the best on the "
        f"front reaches {best.accuracy_words} at {milliseconds(best.latency_s)}."
    )
    notes = ["Each point is a trained, exported file, measured as it is. Bars are 95 % intervals."]
    if any(model.kind == "baseline" for model in info.models):
        notes.append("Diamonds are hand-designed networks, trained, exported and measured in the same way.")
    if any(model.accuracy < info.accuracy_limits()[0] for model in info.models):
        notes.append("A triangle at the lower border stands for a model far below the picture.")
    if any(model.test_dominated for model in info.models):
        notes.append("Hollow members would not be on the front of the test part.")
    notes.append("Along a dashed line the score is the same.")
    drawings = [
        tag(
            "div",
            svg(draw_tradeoff(info, narrow=narrow), kind, caption, tips(info.models)),
            class_=f"picture {kind}",
        )
        for kind, narrow in (("wide", False), ("narrow", True))
    ]
    return join(tag("h2", "The trade-off"), tag("figure", *drawings, tag("figcaption", " ".join(notes))))


def table(info: TradeoffInfo) -> Markup:
    """Every model, the front first, each group from fast to slow."""
    order: dict[Kind, int] = {"pick": 0, "front": 0, "dominated": 1, "baseline": 2}
    models = sorted(info.models, key=lambda m: (order[m.kind], m.latency_s, m.name))
    beside = next((m.beside.metric for m in models if m.beside), None)
    shown = (info.metric, beside) if beside else (info.metric,)
    heads = (
        "Model",
        "Latency, ms",
        "Predicted",
        *(METRIC_WORDS[metric].capitalize() for metric in shown),
        *(test_words(metric).capitalize() for metric in shown),
        "Score",
        "Parameters",
        "Multiply-adds",
    )
    head = tag("thead", tag("tr", *(tag("th", words, scope="col") for words in heads)))
    rows = [_row(info, model, beside is not None) for model in models]
    text = (
        f"Membership, score and pick come from the {_lower(info.accuracy_label)} and the measured latency "
        "alone; the test part was opened after the front was fixed. Each name leads to its ONNX file."
    )
    return join(
        tag("h2", "The models"),
        tag("p", text, class_="lead"),
        tag("div", tag("table", head, tag("tbody", *rows)), class_="scroll"),
    )


def _row(info: TradeoffInfo, model: ModelRow, beside: bool) -> Markup:
    score = info.score(model.accuracy, model.latency_s) if model.score is None else model.score
    role = _ROLE[model.kind] + ("; dominated on the test part" if model.test_dominated else "")
    role += f"; {model.unanswered.rpartition(': ')[2]}" if model.unanswered else ""
    mark = "○" if model.test_dominated and model.kind == "front" else _MARK[model.kind]
    shown = plain(model.name, 60)
    name = tag(
        "th",
        tag("span", mark, class_=f"dot {model.kind}"),
        file_link(model.onnx, shown) if model.onnx else shown,
        tag("small", role),
        scope="row",
    )
    cells = (
        _cell(
            significant(model.latency_s * 1e3),
            milliseconds_range(*model.latency_bounds_s) if model.latency_bounds_s else "",
        ),
        _cell(*_predicted(model)),
        *_share_cells(model, beside),
        _cell(f"{score:.3f}"),
        _cell("" if model.params is None else count(model.params)),
        _cell("" if model.macs is None else count(model.macs)),
    )
    return tag("tr", name, *cells, class_=model.kind)


def _share_cells(model: ModelRow, beside: bool) -> list[Markup]:
    """What decides and, where models have it, the other metric; then both on the test part."""
    other = model.beside
    pairs = [
        (model.accuracy, model.accuracy_bounds),
        (other.share, other.bounds) if other else (None, None),
        (model.test_accuracy, model.test_bounds),
        (other.test_share, other.test_bounds) if other else (None, None),
    ]
    return [
        _cell("" if share is None else accuracy(share), percent_range(*bounds) if bounds else "")
        for share, bounds in (pairs if beside else pairs[::2])
    ]


def _predicted(model: ModelRow) -> tuple[str, str]:
    if model.predicted_s is None:
        return "", ""
    return significant(model.predicted_s * 1e3), f"{100 * (model.predicted_s / model.latency_s - 1):+.1f} %"


def _cell(value: str, small: str = "") -> Markup:
    return tag("td", value, tag("small", small) if small else _NOTHING)


def doubts(info: TradeoffInfo, by_class: Iterable[str], more: Iterable[str]) -> Markup:
    """What to distrust."""
    sentences = [
        *unanswered_classes(info.models),
        *by_class,
        *reservations(info.models, info.metric),
        *(plain(sentence, 600) for sentence in more),
    ]
    if not sentences:
        return _NOTHING
    items = [tag("li", sentence) for sentence in sentences]
    return join(tag("h2", "What to distrust"), tag("ul", *items, class_="doubts"))


def cells(entries: Sequence[tuple[str, Genotype]]) -> Markup:
    """Drawings of genotypes; the first open, the others folded."""
    if not entries:
        return _NOTHING
    lead = (
        "Each circle adds up the boxes at its left; the output joins the circles' channels. "
        "The reduction cell halves height and width."
    )
    drawn = [_genotype(i, genotype) for i, (_, genotype) in enumerate(entries)]
    first = join(tag("h3", plain(entries[0][0])), drawn[0])
    rest = [
        tag("details", tag("summary", plain(name)), drawing)
        for (name, _), drawing in zip(entries[1:], drawn[1:], strict=True)
    ]
    return join(tag("h2", "The cells"), tag("p", lead, class_="lead"), first, *rest)


def _genotype(i: int, genotype: Genotype) -> Markup:
    figures = []
    for kind, cell in (("normal", genotype.normal), ("reduction", genotype.reduction)):
        axes = draw_cell_picture(cell, f"{kind.capitalize()} cell")
        ops = ", ".join(edge.op for _, edge in cell.edges())
        drawing = svg(axes, f"cell{i}{kind}", f"{kind.capitalize()} cell with the ops {ops}")
        # Not below three quarters of its size, so that the ops stay legible; a phone scrolls it.
        least = f"--least:{figure_of(axes).get_size_inches()[0] * 72:.0f}px"
        figures.append(tag("div", drawing, class_="picture fixed", style=least))
    return tag("figure", *figures)


def searched(facts: Sequence[tuple[str, str]], panels: Sequence[CurvesInfo]) -> Markup:
    """How it was searched: facts, then curves."""
    shown = [panel for panel in panels if not panel.is_empty]
    if not facts and not shown:
        return _NOTHING
    figures = []
    for i, panel in enumerate(shown):
        drawing = svg(draw_curves(panel), f"curve{i}", f"{plain(panel.title)} over {plain(panel.x_label)}")
        note = tag("figcaption", plain(panel.note, 300)) if panel.note else _NOTHING
        figures.append(tag("figure", tag("div", drawing, class_="picture"), note))
    return join(tag("h2", "How it was searched"), _facts(facts), tag("div", *figures, class_="panels"))


def _facts(facts: Sequence[tuple[str, str]]) -> Markup:
    if not facts:
        return _NOTHING
    return tag("dl", *(join(tag("dt", plain(name)), tag("dd", plain(value, 400))) for name, value in facts))


def predictor(info: PredictorInfo | None, primitives: PrimitivesInfo | None = None) -> Markup:
    """The latency predictor's report on networks that it had not seen, and what single ops cost."""
    if info is None:
        return _NOTHING
    figures = [
        ("Within 5 %", _share(info.hit_5, info.repeat_5)),
        ("Within 10 %", _share(info.hit_10, info.repeat_10)),
        ("Inside the 90 % interval", _share(info.coverage_90, None)),
        ("Spearman's rank correlation", _number(info.spearman)),
        ("Kendall's tau", _number(info.kendall)),
        ("Multiply-adds alone, within 10 %", _share(info.macs_hit_10, None)),
    ]
    stated = _facts([(name, value) for name, value in figures if value])
    lead = f"Fitted on {info.n} measured networks; every figure is for networks that it had not seen."
    if not info.points:
        return join(
            tag("h2", "The latency predictor"), tag("p", lead, class_="lead"), stated, _primitives(primitives)
        )
    drawing = svg(
        draw_predictor(info), "predictor", "Predicted against measured latency, and the relative error"
    )
    return join(
        tag("h2", "The latency predictor"),
        tag("p", lead, class_="lead"),
        tag("div", tag("div", drawing, class_="picture"), stated, class_="beside"),
        _primitives(primitives),
    )


def _primitives(info: PrimitivesInfo | None) -> Markup:
    if info is None or info.is_empty:
        return _NOTHING
    axes = draw_primitives(info)
    costliest = op_words(info.rows[0][0].op)
    caption = (
        f"What {len({cost.op for cost in info.costs})} ops cost at the stages of the smallest and the "
        f"largest networks, predicted and measured; {costliest} costs most"
    )
    notes = [
        "Each op alone, with the rectification and the reorderings that it asks for; edges of a cell share "
        "these, or a convolution before takes them up."
    ]
    if info.residuals:
        notes.append(
            "Measured are the same kernels within the profiled networks; their lines hold 90 % of the looks. "
            "Where a diamond is missing, a kernel was never seen."
        )
    else:
        notes.append("No times of these kernels were measured, so these are predictions alone.")
    least = f"--least:{figure_of(axes).get_size_inches()[0] * 72:.0f}px"
    drawing = tag("div", svg(axes, "primitives", caption), class_="picture fixed", style=least)
    return join(
        tag("h3", "Which op costs what on this target"),
        tag("figure", drawing, tag("figcaption", " ".join(notes))),
    )


def _share(share: float | None, repeat: float | None) -> str:
    if share is None:
        return ""
    return percent(share) + (f" (the measurement itself: {percent(repeat)})" if repeat is not None else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def reproduce(machine: Sequence[tuple[str, str]], command: str) -> Markup:
    """Machine, versions and the command."""
    if not machine and not command:
        return _NOTHING
    again = join(tag("p", "The same run again:"), tag("pre", plain(command, 2000))) if command else _NOTHING
    return join(tag("h2", "Machine, versions and command"), _facts(machine), again)
