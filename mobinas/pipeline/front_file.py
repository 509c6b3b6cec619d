"""`front.csv`: the final front as a table, and the choice from it."""

import csv
import io
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from mobinas.content import alike
from mobinas.errors import Infeasible, RunFolderError
from mobinas.files import check_ours, write_atomic
from mobinas.metrics.objective import Metric

FRONT_FILE = "front.csv"


@dataclass(frozen=True, slots=True)
class FrontRow:
    """One model of the final front.

    Attributes:
        name: Folder name under ``models/``.
        digest: Of the architecture.
        accuracy: Share of right answers on the `select` part, through the exported file; in [0, 1].
        test_accuracy: On the `test` part, opened after the front was frozen.
        test_ci_low: Lower end of its 95 % interval.
        test_ci_high: Upper end.
        latency_ms: Measured median.
        latency_ci_low_ms: Lower end of its 95 % interval.
        latency_ci_high_ms: Upper end.
        predicted_ms: What the latency predictor had said; None where there was none.
        score: metric * (latency / reference) ** -0.07.
        params: Trainable numbers.
        macs: Multiply-accumulates for one image.
        precision: Of the file, such as ``fp32``.
        onnx: The model file, relative to the run folder.
        dominated_on_test: Another member dominates it in the metric on `test` and measured latency.
        pick: The default choice.
        metric: What decided about membership, score and pick: ``accuracy`` or ``balanced_accuracy``.
        balanced_accuracy: Mean recall of the classes on `select`. This and what follows is None, or empty, in
            tables of earlier versions.
        balanced_ci_low: Lower end of its 95 % interval, from the classes as strata.
        balanced_ci_high: Upper end.
        test_balanced_accuracy: The same on `test`.
        test_balanced_ci_low: Lower end of its 95 % interval.
        test_balanced_ci_high: Upper end.
        classes: How many there are.
        classes_answered: How many of them it ever answered on `select` and `test`.
        warning: Which it never answered; empty where it answers all.
    """

    name: str
    digest: str
    accuracy: float
    test_accuracy: float
    test_ci_low: float
    test_ci_high: float
    latency_ms: float
    latency_ci_low_ms: float
    latency_ci_high_ms: float
    predicted_ms: float | None
    score: float
    params: int
    macs: int
    precision: str
    onnx: str
    dominated_on_test: bool
    pick: bool
    metric: Metric = "accuracy"
    balanced_accuracy: float | None = None
    balanced_ci_low: float | None = None
    balanced_ci_high: float | None = None
    test_balanced_accuracy: float | None = None
    test_balanced_ci_low: float | None = None
    test_balanced_ci_high: float | None = None
    classes: int | None = None
    classes_answered: int | None = None
    warning: str = ""

    @property
    def decisive(self) -> float:
        """The metric that decided, on `select`."""
        if self.metric == "balanced_accuracy" and self.balanced_accuracy is not None:
            return self.balanced_accuracy
        return self.accuracy

    def words(self, part: Literal["select", "test"]) -> str:
        """Its accuracies for a line of text, the balanced one wherever it is another number."""
        plainly, balanced = (
            (self.accuracy, self.balanced_accuracy)
            if part == "select"
            else (self.test_accuracy, self.test_balanced_accuracy)
        )
        words = f"{plainly:.1%} {part} accuracy"
        return words if balanced in (None, plainly) else f"{words} ({balanced:.1%} balanced)"


@dataclass(frozen=True, slots=True)
class Front:
    """The final front of a finished run, fastest model first.

    Attributes:
        directory: The run folder.
        rows: Its models.
    """

    directory: Path
    rows: tuple[FrontRow, ...]

    def pick(self, max_latency_ms: float | None = None) -> FrontRow:
        """The model to take.

        Args:
            max_latency_ms: A latency budget; the most accurate model within it is chosen, by the metric that
                decided. Without one, the model of the best score is.

        Raises:
            Infeasible: No model is fast enough; the text names the fastest.
        """
        if max_latency_ms is None:
            return max(self.rows, key=lambda row: row.score)
        within = [row for row in self.rows if row.latency_ms <= max_latency_ms]
        if not within:
            fastest = min(self.rows, key=lambda row: row.latency_ms)
            raise Infeasible(
                f"no model of this front runs in {max_latency_ms:g} ms; the fastest, {fastest.name}, "
                f"needs {fastest.latency_ms:.3f} ms"
            )
        return max(within, key=lambda row: (row.decisive, -row.latency_ms))


def check_front_place(path: Path) -> None:
    """Refuses a path where another table lies.

    Raises:
        RunFolderError: The text says what is there.
    """
    header = ",".join(field.name for field in fields(FrontRow)).encode()
    check_ours(path, lambda real: alike(real, header), "the front of a run", "choose another --out")


def write_front(path: Path, rows: tuple[FrontRow, ...]) -> None:
    """Writes the table; floats keep all their digits."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(FrontRow)]
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    write_atomic(path, text.getvalue())


def load_front(directory: str | Path) -> Front:
    """Reads the front of a finished run.

    Args:
        directory: The run folder.

    Raises:
        RunFolderError: The run is not finished, or its table is torn.
    """
    path = Path(directory) / FRONT_FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            records = list(csv.DictReader(file))
    except OSError as error:
        raise RunFolderError(
            f"no front in {directory} ({error.strerror}); let 'mobinas run --out {directory}' end first"
        ) from error
    try:
        rows = tuple(_row(record) for record in records)
    except (KeyError, ValueError, TypeError) as error:
        raise RunFolderError(f"{path} is torn ({error}); run the job again to make it anew") from error
    if not rows:
        raise RunFolderError(f"{path} holds no model; run the job again to make it anew")
    return Front(Path(directory), rows)


def _row(record: dict[str, str]) -> FrontRow:
    readers: dict[Any, Callable[[str], Any]] = {
        str: str,
        int: int,
        float: float,
        float | None: lambda text: float(text) if text else None,
        int | None: lambda text: int(text) if text else None,
        Metric: lambda text: {metric: metric for metric in get_args(Metric)}[text],
        bool: lambda text: {"True": True, "False": False}[text],
    }
    # Columns with a default are younger than the others.
    known = [f for f in fields(FrontRow) if f.default is MISSING or f.name in record]
    return FrontRow(**{field.name: readers[field.type](record[field.name]) for field in known})
