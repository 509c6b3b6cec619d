"""What a model answers to the images of each class: the page's section, its picture, and what to distrust."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mobinas.metrics.confusion import Confusion, Share
from mobinas.metrics.objective import Metric
from mobinas.report.figures import new_axes, style, svg
from mobinas.report.markup import Markup, file_link, join, tag
from mobinas.report.palette import BLUE, GREY, INK, MUTED
from mobinas.report.words import accuracy, counted, listed, percent, percent_range, plain, shortened

RECALL_FILE, CONFUSION_FILE = "recall.csv", "confusion.csv"
_MOST_ROWS = 10
_MOST = 0.5
_FEW_IMAGES = 10  # of so many even a recall of 1 has an interval that begins at 0.72
_ROW, _LEFT, _WIDTH, _RIGHT, _BELOW, _ABOVE = 0.26, 2.1, 4.6, 1.2, 0.5, 0.35  # in inches


@dataclass(frozen=True, slots=True)
class ClassesInfo:
    """A model's answers by class.

    Attributes:
        names: Of the classes.
        images: Of each class in all data.
        metric: What decided about the model.
        select: What it answered to the selection part.
        test: What it answered to the test part.
    """

    names: tuple[str, ...]
    images: tuple[int, ...]
    metric: Metric
    select: Confusion
    test: Confusion

    @property
    def worst(self) -> list[int]:
        """The classes of the least recall in the test part, as many as are shown; without images last."""
        recalls, images = self.test.recalls, self.test.images
        order = [
            (1.0 if r is None else r.x, -n, k) for k, (r, n) in enumerate(zip(recalls, images, strict=True))
        ]
        known = sorted(order, key=lambda one: (not one[1], *one))
        return [k for *_, k in known[:_MOST_ROWS]]


def unanswered(answers: Confusion, names: Sequence[str], images: Sequence[int]) -> str:
    """Which classes are never the answer; empty where each is at least once.

    Args:
        answers: Of a model, to whatever is known.
        names: Of the classes.
        images: Of each class in all data.
    """
    missing = [k for k, n in enumerate(answers.answered) if not n]
    if not missing:
        return ""
    missing.sort(key=lambda k: -images[k])
    words = [f"'{plain(names[k], 60)}' ({images[k]:,} of {sum(images):,} pictures)" for k in missing]
    return (
        f"never answers {listed(shortened(words))}: "
        f"answers {len(names) - len(missing)} of {len(names)} classes"
    )


def class_doubts(info: ClassesInfo) -> list[str]:
    """Sentences on an accuracy that uneven classes make, on few images of a class, and on none."""
    return [*_flattered(info), *_few(info), *_absent(info)]


def _flattered(info: ClassesInfo) -> list[str]:
    parts = (("test part", info.test), ("selection part", info.select))
    found = [sentence for part, answers in parts if (sentence := _flatters(info, part, answers))]
    if not found:
        return []
    if info.metric == "accuracy":
        found[0] += (
            ' With search.metric = "balanced_accuracy" (search_family: metric=...) and another run folder, '
            "the mean recall decides about candidates, finalists, the front and the pick."
        )
    return found[:1]


def _flatters(info: ClassesInfo, part: str, answers: Confusion) -> str:
    """Where a part's accuracy lies beyond the interval of its balanced accuracy; else empty."""
    plainly, balanced = answers.share("accuracy"), answers.share("balanced_accuracy")
    if plainly.x <= balanced.high:
        return ""
    largest = max(range(len(info.names)), key=lambda k: answers.images[k])
    always = answers.images[largest] / answers.n
    constant = (
        f"to answer '{plain(info.names[largest], 60)}' always is right for {percent(always)} of the {part}"
    )
    return (
        f"The classes are uneven{f': {constant}' if always > _MOST else ''}. The pick's accuracy on the "
        f"{part} is {accuracy(plainly.x)}, its balanced accuracy, the mean recall of the classes, "
        f"{accuracy(balanced.x)}."
    )


def _few(info: ClassesInfo) -> list[str]:
    few = []
    for k, name in enumerate(info.names):
        select, test = info.select.images[k], info.test.images[k]
        rare = 2 * info.images[k] <= max(info.images)
        if rare and test and min(select, test) < _FEW_IMAGES:
            few.append(f"'{plain(name, 60)}' ({select} of the selection part, {test} of the test part)")
    if not few:
        return []
    return [
        f"Few pictures judge {listed(shortened(few))}: one answer moves such a recall, and the balanced "
        "accuracy with it, by much; their intervals say how much. Only more pictures of a class help."
    ]


def _absent(info: ClassesInfo) -> list[str]:
    absent = [f"'{plain(info.names[k], 60)}'" for k, n in enumerate(info.test.images) if not n]
    if not absent:
        return []
    return [
        f"The test part has no picture of {listed(shortened(absent))}; its balanced accuracy is the mean of "
        f"the other {counted(len(info.names) - len(absent), 'recall')}."
    ]


def classes(info: ClassesInfo | None) -> Markup:
    """The section of the page; empty where nothing is known."""
    if info is None:
        return Markup("")
    heads = (
        "Class",
        "Pictures",
        "Test recall",
        "Right in test",
        "Right in selection",
        "Most often taken for",
    )
    head = tag("thead", tag("tr", *(tag("th", words, scope="col") for words in heads)))
    rows = [_row(info, k) for k in info.worst]
    n = len(info.names)
    shown = f"The {len(rows)} worst of {n} classes" if len(rows) < n else f"{n} classes, the worst first"
    lead = join(
        f"{shown}. Recall is the share of a class's pictures that are answered rightly, with 95 % intervals. "
        "Every class of every model: ",
        file_link(RECALL_FILE, RECALL_FILE),
        "; every pair of classes: ",
        file_link(CONFUSION_FILE, CONFUSION_FILE),
        ".",
    )
    drawing = svg(draw_recalls(info), "recalls", f"Recall of {len(rows)} classes on the test part")
    return join(
        tag("h2", "The pick, class by class"),
        tag("p", lead, class_="lead"),
        tag("div", tag("table", head, tag("tbody", *rows)), class_="scroll"),
        tag("figure", tag("div", drawing, class_="picture")),
    )


def _row(info: ClassesInfo, k: int) -> Markup:
    recall, taken = info.test.recalls[k], info.test.taken_for(k)
    cells = (
        (f"{info.images[k]:,}", ""),
        ("none in test", "")
        if recall is None
        else (percent(recall.x), percent_range(recall.low, recall.high)),
        (_of(info.test, k), ""),
        (_of(info.select, k), ""),
        ("", "") if taken is None else (plain(info.names[taken[0]], 40), counted(taken[1], "time")),
    )
    return tag(
        "tr",
        tag("th", plain(info.names[k], 40), scope="row"),
        *(tag("td", value, *([tag("small", small)] if small else [])) for value, small in cells),
    )


def _of(answers: Confusion, k: int) -> str:
    return f"{answers.right[k]:,} of {answers.images[k]:,}"


def draw_recalls(info: ClassesInfo) -> Axes:
    """Draws the worst classes' recalls on the test part, with their intervals, and both metrics as lines.

    Returns:
        The axes.
    """
    rows = info.worst
    recalls: list[Share | None] = [info.test.recalls[k] for k in rows]
    with style():
        height = _ROW * len(rows) + _BELOW + _ABOVE + 0.2
        axes = new_axes(_LEFT + _WIDTH + _RIGHT, height, (_LEFT, _BELOW, _RIGHT, _ABOVE))
        for y, recall in enumerate(recalls):
            if recall is not None:
                axes.plot((recall.low, recall.high), (y, y), color=BLUE, linewidth=1.2, alpha=0.6)
                axes.scatter([recall.x], [y], s=30, color=BLUE, zorder=3, clip_on=False)
            words = f"{info.test.right[rows[y]]:,} of {info.test.images[rows[y]]:,}"
            axes.annotate(
                words, (1.0, y), (12, 0), "data", "offset points", va="center", fontsize=8, color=MUTED
            )
        lines: tuple[tuple[Metric, str, str], ...] = (
            ("accuracy", GREY, "accuracy"),
            ("balanced_accuracy", INK, "mean recall"),
        )
        for metric, colour, words in lines:
            x = info.test.share(metric).x
            label = f"{words} {accuracy(x)}"
            axes.axvline(x, color=colour, label=label, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, borderpad=0.2, fontsize=7.5
        )
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_yticks(range(len(rows)), [plain(info.names[k], 26) for k in rows])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
        axes.tick_params(axis="y", length=0)
        axes.grid(True, axis="x")
        axes.set_xlabel("recall on the test part", loc="left")
    return axes
