"""The report page: complete, self-contained, safe, the same for the same data."""

import dataclasses
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mobinas.arch.genotype import published
from mobinas.errors import MobinasError, RunFolderError
from mobinas.report.html import CellsInfo, ReportInfo, render_report, write_report
from mobinas.report.markup import Markup, file_link, tag
from mobinas.report.palette import COLOURS, op_colour
from mobinas.report.tradeoff import TradeoffInfo
from mobinas.report.words import count, milliseconds, op_words, percent, plain, significant

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> --> ]]> $x^2$ \x00\ud800"


class Page(HTMLParser):
    """Collects elements, ids, links and the visible text of a page, and checks that tags close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]
        self.ids += [value or "" for key, value in attrs if key == "id"]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def evil(report: ReportInfo) -> ReportInfo:
    models = tuple(
        dataclasses.replace(m, name=f"{EVIL}{i}", label=EVIL, onnx=f"javascript:alert(1)//{EVIL}")
        for i, m in enumerate(report.tradeoff.models)
    )
    panels = tuple(
        dataclasses.replace(
            p, title=EVIL, note=EVIL, series=tuple(dataclasses.replace(s, name=EVIL) for s in p.series)
        )
        for p in report.panels
    )
    return dataclasses.replace(
        report,
        title=EVIL,
        tradeoff=dataclasses.replace(report.tradeoff, models=models, accuracy_label=EVIL, latency_label=EVIL),
        cells=(CellsInfo(EVIL, published("PDARTS")),),
        searched=((EVIL, EVIL),),
        panels=panels,
        doubts=(EVIL,),
        machine=((EVIL, EVIL),),
        command=EVIL,
        pick_command=EVIL,
    )


def test_the_answer_comes_first_and_everything_is_there(report: ReportInfo, page_html: str) -> None:
    page = Page(page_html)
    places = [
        page.text.index(words)
        for words in (
            "The pick",
            "models/a b/m.onnx",
            "The trade-off",
            "The models",
            "What to distrust",
            "A guard acted.",
            "The cells",
            "How it was searched",
            "The latency predictor",
            "mobinas run --seed 0",
        )
    ]
    assert places == sorted(places)
    for model in report.tradeoff.models:
        assert model.name in page.text
    assert page.tags.count("svg") == 2 + 4 + 7 + 1
    assert page.tags.count("tr") == 1 + len(report.tradeoff.models)


def test_nothing_is_loaded_and_ids_are_unique(page_html: str) -> None:
    page = Page(page_html)
    assert not {"script", "link", "iframe", "object", "img"} & set(page.tags)
    assert len(set(page.ids)) == len(page.ids)
    for key, value in page.attributes:
        if key in ("src", "href", "xlink:href"):
            assert value.startswith(("#", "./"))
        if "url(" in value:
            assert "url(#" in value
        for reference in value.split("url(#")[1:]:
            assert reference.split(")")[0] in page.ids
        if key == "xlink:href":
            assert value[1:] in page.ids


def test_names_from_data_stay_text(evil: ReportInfo) -> None:
    html = render_report(evil)
    html.encode("utf-8")
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert not any(key.startswith("on") for key, _ in page.attributes)
    assert not any(value.startswith("javascript:") for _, value in page.attributes)
    assert "<script>alert(1)</script>" in page.text


def test_pictures_follow_the_theme(page_html: str) -> None:
    drawings = page_html.split("<svg")[1:]
    for drawing in drawings:
        inside = drawing.split("</svg>")[0]
        assert not any(colour.light in inside for colour in COLOURS)
        assert "var(--" in inside
    assert len({c.light for c in COLOURS}) == len({c.dark for c in COLOURS}) == len(COLOURS)


def test_the_same_data_give_the_same_page(report: ReportInfo, page_html: str) -> None:
    assert render_report(report) == page_html


def test_a_bare_report_and_its_file(tmp_path: Path, tradeoff: TradeoffInfo) -> None:
    path = tmp_path / "report.html"
    write_report(ReportInfo("bare", tradeoff), path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "How it was searched" not in text
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_written(tmp_path: Path, tradeoff: TradeoffInfo) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"report\.html"):
        write_report(ReportInfo("bare", tradeoff), tmp_path / "file" / "report.html")


def test_a_report_needs_a_pick(tradeoff: TradeoffInfo) -> None:
    without = tuple(m for m in tradeoff.models if m.kind != "pick")
    with pytest.raises(MobinasError, match="pick"):
        ReportInfo("x", dataclasses.replace(tradeoff, models=without))


def test_markup_escapes_once() -> None:
    assert tag("p", "a<b", Markup("<i>c</i>"), class_='"x"') == '<p class="&quot;x&quot;">a&lt;b<i>c</i></p>'
    link = ET.fromstring(file_link("../é/a b?.onnx", "<x>"))
    assert link.attrib["href"] == "./../%C3%A9/a%20b%3F.onnx"
    assert link.text == "<x>"


def test_numbers_and_names() -> None:
    space = "\N{NO-BREAK SPACE}"
    assert milliseconds(1.63e-4) == f"0.163{space}ms"
    assert [significant(x) for x in (0.0999999, 12.345, 1234.0, 0, 1e-5)] == [
        "0.100",
        "12.3",
        "1234",
        "0",
        "0.0000100",
    ]
    assert [count(n) for n in (7, 28_800, 5_220_000)] == ["7", f"28.8{space}k", f"5.22{space}M"]
    assert plain("a\nb\x00") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    assert plain("x" * 50, 9) == "xxxx…xxxx"
    assert plain(percent(0.125)) == percent(0.125)
    assert [op_words(op) for op in ("max_pool_3x3", "conv_7x1_1x7", "skip_connect")] == [
        "max pool 3×3",
        "conv 7×1 1×7",
        "skip",
    ]


def test_op_families_have_their_colours() -> None:
    assert op_colour("sep_conv_3x3") == op_colour("sep_conv_7x7")
    families = ("skip_connect", "conv_3x3", "sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3")
    assert len({op_colour(op) for op in families}) == len(families)
