"""The report page: one HTML file that works offline, on a phone, in light and in dark."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from mobinas.arch.genotype import Genotype
from mobinas.content import is_our_page
from mobinas.errors import MobinasError
from mobinas.files import check_ours, write_atomic
from mobinas.report import sections
from mobinas.report.classes import ClassesInfo, class_doubts, classes
from mobinas.report.curves import CurvesInfo
from mobinas.report.markup import Markup, join, tag
from mobinas.report.models import ModelRow
from mobinas.report.palette import css_variables
from mobinas.report.predictor import PredictorInfo
from mobinas.report.primitives import PrimitivesInfo
from mobinas.report.tradeoff import TradeoffInfo
from mobinas.report.why import WhyInfo, why
from mobinas.report.words import plain

# Names in a report come from data; should one ever slip through unescaped, the page still runs no script
# and loads nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, slots=True)
class CellsInfo:
    """The cells of one or several models that share them."""

    name: str
    genotype: Genotype


@dataclass(frozen=True, slots=True)
class ReportInfo:
    """Everything on the page, as plain data.

    Attributes:
        title: What was searched for, such as ``digits on local``.
        tradeoff: The picture and the models of the table; it must hold a pick.
        cells: Genotypes to draw; the first is shown, the others are folded.
        searched: How it was searched: (name, value) in order.
        panels: Curves of the search and the training; empty ones are left out.
        predictor: The latency predictor's held-out report.
        primitives: What single ops cost on the target.
        why: What decided about the front.
        classes: What the pick answers to each class.
        doubts: Further sentences on what to distrust, such as a guard that acted.
        machine: Machine and versions: (name, value) in order.
        command: The command that makes this run again.
        pick_command: The command that names the model for another latency budget.

    Raises:
        MobinasError: No model is marked as the pick.
    """

    title: str
    tradeoff: TradeoffInfo
    cells: tuple[CellsInfo, ...] = ()
    searched: tuple[tuple[str, str], ...] = ()
    panels: tuple[CurvesInfo, ...] = ()
    predictor: PredictorInfo | None = None
    primitives: PrimitivesInfo | None = None
    why: WhyInfo | None = None
    classes: ClassesInfo | None = None
    doubts: tuple[str, ...] = ()
    machine: tuple[tuple[str, str], ...] = ()
    command: str = ""
    pick_command: str = ""

    def __post_init__(self) -> None:
        if not any(model.kind == "pick" for model in self.tradeoff.models):
            raise MobinasError("a report needs one model of kind 'pick', the front's best score")

    @property
    def pick(self) -> ModelRow:
        """The model that the score names."""
        return next(model for model in self.tradeoff.models if model.kind == "pick")


def render_report(info: ReportInfo) -> str:
    """The whole page.

    Args:
        info: What to show; every text in it is escaped.

    Returns:
        HTML without any reference to another file, except links to the models.
    """
    css = css_variables() + resources.files("mobinas.report").joinpath("report.css").read_text("utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{plain(info.title)} - MOBINAS report"),
        tag("style", Markup(css)),
    )
    header = tag(
        "header",
        tag("p", "MOBINAS report", class_="eyebrow"),
        tag("h1", plain(info.title)),
    )
    cells = [(entry.name, entry.genotype) for entry in info.cells]
    body = join(
        header,
        sections.answer(info.pick, info.tradeoff, info.pick_command),
        sections.picture(info.tradeoff),
        sections.table(info.tradeoff),
        classes(info.classes),
        sections.doubts(info.tradeoff, class_doubts(info.classes) if info.classes else (), info.doubts),
        sections.cells(cells),
        why(info.why),
        sections.searched(info.searched, info.panels),
        sections.predictor(info.predictor, info.primitives),
        sections.reproduce(info.machine, info.command),
    )
    page = tag("html", head, tag("body", tag("main", body)), lang="en")
    return f"<!doctype html>\n{page}\n"


def check_report_place(path: Path) -> None:
    """Refuses a path where another page lies.

    Raises:
        RunFolderError: The text says what is there.
    """
    check_ours(path, is_our_page, "a report of mobinas", "choose another --out")


def write_report(info: ReportInfo, path: Path) -> None:
    """Writes the page.

    Args:
        info: What to show.
        path: The file, usually ``report.html`` in the run folder; its links to models are relative to it.

    Raises:
        RunFolderError: The disk is full, the folder cannot be written, or another page lies there.
    """
    check_report_place(path)
    write_atomic(path, render_report(info), is_our_page)
