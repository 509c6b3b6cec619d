"""A pick class by class: what is shown of many, what is distrusted, and what odd classes do."""

import dataclasses

import pytest

from mobinas.metrics.confusion import Confusion
from mobinas.report.classes import ClassesInfo, class_doubts, classes, draw_recalls, unanswered
from mobinas.report.html import ReportInfo, render_report
from mobinas.report.models import Beside, ModelRow
from mobinas.report.tradeoff import TradeoffInfo, draw_tradeoff, tip
from mobinas.report.trust import reservations, unanswered_classes


def confusion(*rows: tuple[int, ...]) -> Confusion:
    """Of a whole matrix."""
    cells = tuple((a, b, n) for a, row in enumerate(rows) for b, n in enumerate(row) if n)
    return Confusion(len(rows), cells)


BLIND = confusion((80, 0), (1, 0))
RARE = ClassesInfo(("common", "rare"), (400, 4), "accuracy", confusion((60, 0), (1, 0)), BLIND)


def many(n: int) -> ClassesInfo:
    """Class k gets 20 pictures, k of them right modulo 20, the others taken for the next class."""
    cells = []
    for k in range(n):
        cells += [(k, b, c) for b, c in sorted([(k, k % 20), ((k + 1) % n, 20 - k % 20)]) if c]
    found = Confusion(n, tuple(cells))
    return ClassesInfo(tuple(f"class {k:03}" for k in range(n)), (100,) * n, "accuracy", found, found)


def test_a_class_that_is_never_the_answer_is_named() -> None:
    assert unanswered(BLIND, RARE.names, RARE.images) == (
        "never answers 'rare' (4 of 404 pictures): answers 1 of 2 classes"
    )
    assert unanswered(confusion((3, 0), (1, 1)), RARE.names, RARE.images) == ""
    assert unanswered(confusion((3, 1), (1, 0)), RARE.names, RARE.images) == "", "answered, if never rightly"


def test_of_many_such_classes_the_largest_are_named_and_the_others_counted() -> None:
    names, images = tuple(f"k{i}" for i in range(30)), tuple(range(1, 31))
    words = unanswered(Confusion(30, ((0, 0, 5),)), names, images)
    assert words.startswith("never answers 'k29' (30 of 465 pictures), 'k28' (29 of 465 pictures), ")
    assert words.endswith(" and 24 more: answers 1 of 30 classes")


def test_one_sentence_for_all_models_that_lack_the_same_classes_the_pick_first() -> None:
    words = "never answers 'rare' (4 of 404 pictures): answers 1 of 2 classes"
    models = [
        ModelRow("plain_cnn", "baseline", 0.9, 1e-4, unanswered=words),
        ModelRow("keen", "front", 0.9, 1e-4),
        ModelRow("r8-1", "pick", 0.9, 1e-4, unanswered=words, label="r8"),
        ModelRow("r8-2", "dominated", 0.9, 1e-4, unanswered=words, label="r8"),
        ModelRow("odd", "dominated", 0.9, 1e-4, unanswered="never answers 'a': answers 1 of 2 classes"),
    ]
    assert unanswered_classes(models) == [
        f"Each of r8-1 (the pick), plain_cnn and r8-2 {words}.",
        "odd never answers 'a': answers 1 of 2 classes.",
    ]
    assert unanswered_classes(models[1:2]) == []


def test_an_accuracy_that_uneven_classes_make_is_said_with_the_remedy() -> None:
    flattered, few = class_doubts(RARE)
    assert "to answer 'common' always is right for 98.8" in flattered and "50.00" in flattered
    assert 'search.metric = "balanced_accuracy"' in flattered
    assert "'rare' (1 of the selection part, 1 of the test part)" in few
    decided = dataclasses.replace(RARE, metric="balanced_accuracy")
    assert "search.metric" not in " ".join(class_doubts(decided))


def test_a_test_part_of_another_mixture_does_not_hide_what_decided() -> None:
    info = dataclasses.replace(RARE, test=confusion((20, 0), (80, 0)))
    assert "98.4" in class_doubts(info)[0] and "of the selection part" in class_doubts(info)[0]
    even = dataclasses.replace(info, select=info.test)
    assert not any("uneven" in doubt for doubt in class_doubts(even)), "an accuracy of 20 % flatters nobody"


@pytest.mark.parametrize("right", [100, 60])
def test_even_classes_of_many_pictures_raise_no_doubt(right: int) -> None:
    even = confusion((right, 100 - right), (100 - right, right))
    assert class_doubts(ClassesInfo(("a", "b"), (500, 500), "accuracy", even, even)) == []


def test_a_class_without_test_pictures_counts_nowhere_and_is_said() -> None:
    test = confusion((30, 0, 0), (5, 15, 0), (0, 0, 0))
    info = ClassesInfo(("a", "b", "c"), (90, 60, 30), "balanced_accuracy", confusion(*[(9, 1, 1)] * 3), test)
    assert info.worst == [1, 0, 2]
    assert any("no picture of 'c'" in doubt and "other 2 recalls" in doubt for doubt in class_doubts(info))
    assert "none in test" in classes(info)


def test_of_many_classes_the_worst_ten_are_shown_and_the_tables_named() -> None:
    info = many(100)
    assert len(info.worst) == 10 and {info.test.recalls[k].x for k in info.worst} == {0.0, 0.05}  # type: ignore[union-attr]
    section = classes(info)
    assert section.count("<tr>") == 11 and "The 10 worst of 100 classes" in section
    assert 'href="./recall.csv"' in section and 'href="./confusion.csv"' in section
    assert "class 001" in section and "20 times" in section
    ticks = [label.get_text() for label in draw_recalls(info).get_yticklabels()]
    assert ticks == [f"class {k:03}" for k in info.worst]


def test_names_from_data_are_escaped_and_cut(report: ReportInfo) -> None:
    names = ("<script>x</script>", 'a "b", c\nd' * 30)
    page = render_report(dataclasses.replace(report, classes=dataclasses.replace(RARE, names=names)))
    assert "<script>" not in page and "&lt;script&gt;" in page


def flattered(kind: str, latency_ms: float) -> ModelRow:
    beside = Beside("balanced_accuracy", 0.5, (0.47, 0.9), 0.51, (0.48, 0.9))
    words = "never answers 'rare' (4 of 404 pictures): answers 1 of 2 classes"
    return ModelRow(
        *(kind, kind, 0.9875, latency_ms * 1e-3),  # type: ignore[arg-type]
        **{"accuracy_bounds": (0.93, 0.998), "test_accuracy": 0.9876, "test_bounds": (0.93, 0.998)},  # type: ignore[arg-type]
        beside=beside,
        unanswered=words,
    )


def test_an_accuracy_never_stands_alone_where_classes_are_uneven(report: ReportInfo) -> None:
    info = TradeoffInfo((flattered("pick", 1.0), flattered("dominated", 2.0)))
    page = render_report(dataclasses.replace(report, tradeoff=info)).replace("\N{NO-BREAK SPACE}", " ")
    answer = page.partition("The trade-off")[0]
    assert "51.00 %" in answer and "balanced test accuracy" in answer and "never answers" in answer
    assert "98.75 % (balanced 50.00 %)" in answer
    heads = ["Accuracy", "Balanced accuracy", "Test accuracy", "Balanced test accuracy"]
    assert [page.count(f">{words}</th>") for words in heads] == [1] * 4
    assert "dominated; answers 1 of 2 classes" in page
    assert "(balanced 50.00 %)" in tip(info.models[0]).replace("\N{NO-BREAK SPACE}", " ")
    drawn = [text.get_text() for text in draw_tradeoff(info).texts]
    assert any("(balanced" in text for text in drawn)


def test_texts_axes_and_columns_name_the_balanced_accuracy_that_decides(report: ReportInfo) -> None:
    models = tuple(
        dataclasses.replace(flattered(kind, ms), beside=Beside("accuracy", 0.9, (0.8, 1), 0.9, (0.8, 1)))
        for kind, ms in (("pick", 1.0), ("front", 0.5))
    )
    info = TradeoffInfo(models, metric="balanced_accuracy")
    axes = draw_tradeoff(info)
    assert axes.get_title("left") == "balanced accuracy on the selection part"
    assert any("score = balanced accuracy" in text.get_text() for text in axes.texts)
    page = render_report(dataclasses.replace(report, tradeoff=info))
    assert "come from the balanced accuracy on the selection part" in page
    assert page.index(">Balanced accuracy</th>") < page.index(">Accuracy</th>")
    judged = [
        ModelRow(f"m{k}", "front", 0.5 + k / 50, 1e-4, inherited_accuracy=0.5 + k / 50) for k in range(9)
    ]
    assert "by their balanced accuracy" in " ".join(reservations(judged, "balanced_accuracy"))
