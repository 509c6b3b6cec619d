"""What the models answered to each class, as tables beside `front.csv` and in each model's manifest."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from exporters.bundle import MANIFEST_NAME, record_results
from mobinas.files import write_atomic
from mobinas.metrics.confusion import Confusion
from mobinas.metrics.objective import Metric
from mobinas.pipeline.confirm import FrozenFront
from mobinas.pipeline.context import Contender, Job
from mobinas.report.classes import CONFUSION_FILE, RECALL_FILE, unanswered
from mobinas.train.splits import Splits

_RECALL_HEADS = ("model", "part", "class", "images", "right", "recall", "ci_low", "ci_high", "answered")
_CONFUSION_HEADS = ("model", "part", "class", "answered", "images")
_NOTE = (
    "'metric' on 'select' chose the model; 'test' was opened once, after that. Intervals hold 95 %. The "
    "balanced accuracy is the mean recall of the classes that have images."
)


@dataclass(frozen=True, slots=True)
class Answers:
    """What all models answered.

    Attributes:
        names: Of the classes.
        images: Of each class in all parts together.
        select: By model, on the part that decides.
        test: By model, on the test part.
    """

    names: tuple[str, ...]
    images: tuple[int, ...]
    select: Mapping[str, Confusion]
    test: Mapping[str, Confusion]

    @classmethod
    def of(
        cls,
        contenders: Iterable[Contender],
        frozen: FrozenFront,
        tested: Mapping[str, Confusion],
        splits: Splits,
    ) -> "Answers":
        """Gathers them."""
        labels = torch.cat([p.labels.cpu() for p in (splits.training, splits.select, splits.test)])
        return cls(
            splits.classes,
            tuple(torch.bincount(labels, minlength=len(splits.classes)).tolist()),
            {c.name: frozen.confirmed[c.name].select for c in contenders},
            tested,
        )

    def unanswered(self, model: str) -> str:
        """Which classes it never answered on either part; empty where there is none."""
        return unanswered(self.select[model] + self.test[model], self.names, self.images)

    def parts(self) -> Iterable[tuple[str, str, Confusion]]:
        """(model, part, answers) of all."""
        for model, select in self.select.items():
            yield model, "select", select
            yield model, "test", self.test[model]


def write_classes(directory: Path, found: Answers) -> None:
    """Writes every class of every model, and every pair of classes that occurred."""
    recalls = (
        (model, part, name, n, right, *_shown(answers, k), answers.answered[k])
        for model, part, answers in found.parts()
        for k, (name, n, right) in enumerate(zip(found.names, answers.images, answers.right, strict=True))
    )
    pairs = (
        (model, part, found.names[label], found.names[answer], n)
        for model, part, answers in found.parts()
        for label, answer, n in answers.cells
    )
    _write(directory / RECALL_FILE, _RECALL_HEADS, recalls)
    _write(directory / CONFUSION_FILE, _CONFUSION_HEADS, pairs)


def _shown(answers: Confusion, k: int) -> tuple[float | str, ...]:
    recall = answers.recalls[k]
    return ("", "", "") if recall is None else (recall.x, recall.low, recall.high)


def _write(path: Path, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    write_atomic(path, text.getvalue())


def record_in_manifests(job: Job, contenders: Sequence[Contender], found: Answers) -> None:
    """Adds to each model's manifest what it reached; the manifest stays a finished artefact."""
    for contender in contenders:
        name = contender.name
        select, test = found.select[name], found.test[name]
        results = {
            "note": _NOTE,
            "metric": job.config.search.metric,
            "select": _results(select, found.names),
            "test": _results(test, found.names),
            "never_answered": [
                c for c, n in zip(found.names, (select + test).answered, strict=True) if not n
            ],
        }
        if record_results(job.folder.path / contender.directory, results):
            job.folder.finish(f"{contender.directory}/{MANIFEST_NAME}")


def _results(answers: Confusion, names: Sequence[str]) -> dict[str, Any]:
    told: dict[str, Any] = {"images": answers.n}
    for metric in get_args(Metric):
        share = answers.share(metric)
        told |= {metric: share.x, f"{metric}_interval": [share.low, share.high]}
    told["classes"] = [
        {
            "class": name,
            "images": n,
            "right": right,
            "recall": None if recall is None else recall.x,
            "recall_interval": None if recall is None else [recall.low, recall.high],
            "answered": answered,
        }
        for name, n, right, recall, answered in zip(
            names, answers.images, answers.right, answers.recalls, answers.answered, strict=True
        )
    ]
    return told
