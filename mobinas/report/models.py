"""A model as the report shows it."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from mobinas.errors import MobinasError, did_you_mean
from mobinas.metrics.objective import Metric
from mobinas.report.words import accuracy

Kind = Literal["front", "dominated", "baseline", "pick"]
Bounds = tuple[float, float]


_BESIDE: dict[Metric, str] = {"accuracy": "accuracy", "balanced_accuracy": "balanced"}


@dataclass(frozen=True, slots=True)
class Beside:
    """The metric that does not decide, where classes are uneven and it tells something else.

    Attributes:
        metric: Which.
        share: On the part that decides membership.
        bounds: Interval of `share`.
        test_share: On the test part.
        test_bounds: Interval of `test_share`.
    """

    metric: Metric
    share: float
    bounds: Bounds
    test_share: float
    test_bounds: Bounds


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A trained, exported and measured model: one point of the picture, one row of the table.

    Attributes:
        name: Its name in the run folder.
        kind: ``pick`` (the front's member that the score names), ``front``, ``dominated`` or ``baseline``.
        accuracy: What decides membership: share correct, or mean recall, on the part for it.
        latency_s: Measured latency in seconds.
        accuracy_bounds: Interval of `accuracy`.
        latency_bounds_s: Interval of `latency_s`.
        test_accuracy: The same metric on the test part, opened after the front was frozen.
        test_bounds: Interval of `test_accuracy`.
        predicted_s: What the latency predictor said before the model was measured.
        inherited_accuracy: What the supernet's weights said before the model was trained.
        score: accuracy * (latency / reference) ** -0.07.
        params: Trainable numbers.
        macs: Multiply-accumulates for one image.
        onnx: Its file, relative to the report, with forward slashes.
        label: A short name for the picture; empty for `name`.
        test_dominated: A front member that the test part alone would have dominated.
        beside: The other metric; None where both are the same.
        unanswered: That it never answers some class, such as "never answers 'rare' (4 of 404 pictures):
            answers 1 of 2 classes"; empty where it answers all.

    Raises:
        MobinasError: A number is not finite or out of range, or the kind is unknown.
    """

    name: str
    kind: Kind
    accuracy: float
    latency_s: float
    accuracy_bounds: Bounds | None = None
    latency_bounds_s: Bounds | None = None
    test_accuracy: float | None = None
    test_bounds: Bounds | None = None
    predicted_s: float | None = None
    inherited_accuracy: float | None = None
    score: float | None = None
    params: int | None = None
    macs: int | None = None
    onnx: str = ""
    label: str = ""
    test_dominated: bool = False
    beside: Beside | None = None
    unanswered: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise MobinasError(
                f"model '{self.name}' has kind '{self.kind}'{did_you_mean(self.kind, get_args(Kind))}"
            )
        beside = (self.beside.share, self.beside.test_share) if self.beside else ()
        shares = (self.accuracy, self.test_accuracy, self.inherited_accuracy, *beside)
        for share in (*shares, *(self.accuracy_bounds or ()), *(self.test_bounds or ())):
            if share is not None and not 0 <= share <= 1:
                raise MobinasError(
                    f"model '{self.name}' has an accuracy of {share}; give a share from 0 to 1"
                )
        for seconds in (self.latency_s, self.predicted_s, *(self.latency_bounds_s or ())):
            if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
                raise MobinasError(f"model '{self.name}' has a latency of {seconds} s; it must be above 0")

    @property
    def on_front(self) -> bool:
        """Whether it is a member of the front."""
        return self.kind in ("pick", "front")

    @property
    def accuracy_words(self) -> str:
        """What decides, never without the other metric where that says something else."""
        words = accuracy(self.accuracy)
        if self.beside is None:
            return words
        return f"{words} ({_BESIDE[self.beside.metric]} {accuracy(self.beside.share)})"
