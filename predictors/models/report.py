"""How far to trust a latency predictor, from networks that it was not fitted on."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mobinas.errors import PredictorError
from mobinas.targets.measurement import Measurement

Floats = npt.NDArray[np.float64]

# Half of a nominal 90 % interval in standard deviations.
Z_90 = 1.6449
# Groups of models that follow each other within this time belong to one stretch of measuring.
_PAUSE_S = 120.0


@dataclass(frozen=True, slots=True)
class Scores:
    """How predictions agree with measurements; rates lie in [0, 1].

    Attributes:
        hit_rate_5: Share of predictions within 5 % of the measurement.
        hit_rate_10: Within 10 %.
        spearman: Rank correlation of predicted and measured.
        kendall: Kendall's tau-b of the same.
    """

    hit_rate_5: float
    hit_rate_10: float
    spearman: float
    kendall: float

    @classmethod
    def of(cls, predicted: Floats, truth: Floats) -> "Scores":
        """Compares [n] predictions with [n] measurements."""
        return cls(
            hit_rate(predicted, truth, 0.05),
            hit_rate(predicted, truth, 0.1),
            *rank_correlations(predicted, truth),
        )

    def __str__(self) -> str:
        return f"{self.hit_rate_5:.0%} / {self.hit_rate_10:.0%}, Spearman {self.spearman:.3f}"


@dataclass(frozen=True, slots=True)
class PredictorReport:
    """Held-out figures by cross-validation.

    Attributes:
        n: Networks measured.
        measuring_s: Seconds that their samples, and those of the reference model, took.
        scores: On networks held out at random.
        largest: On the networks of most work, predicted from all others; none for fewer than 40 networks.
        coverage_90: Share of measurements inside the nominal 90 % interval.
        repeat_hit_rate_5: The measurement against itself: share of networks whose odd blocks give within 5 %
            of what their even blocks give. No predictor can be seen to do better than such truth allows.
        repeat_hit_rate_10: Within 10 %.
        baselines: By name, on the same folds.
        measured_s: Measured latencies in seconds, in the order of fitting.
        predicted_s: Their held-out predictions.
        std_s: The predictions' standard deviations.
    """

    n: int
    measuring_s: float
    scores: Scores
    largest: Scores | None
    coverage_90: float
    repeat_hit_rate_5: float
    repeat_hit_rate_10: float
    baselines: Mapping[str, Scores]
    measured_s: tuple[float, ...]
    predicted_s: tuple[float, ...]
    std_s: tuple[float, ...]

    def lines(self) -> list[str]:
        """The report for people."""
        largest = f"  the largest, from all others: {self.largest}" if self.largest else ""
        return [
            f"latency predictor, held out from {self.n} networks in {self.measuring_s / 60:.1f} minutes:",
            f"  within 5 / 10 %: {self.scores}, Kendall {self.scores.kendall:.3f}, "
            f"90 % interval covers {self.coverage_90:.0%}",
            f"  the measurement repeats itself within 5 / 10 %: "
            f"{self.repeat_hit_rate_5:.0%} / {self.repeat_hit_rate_10:.0%}",
            *([largest] if largest else []),
            *(f"  {name}: {scores}" for name, scores in self.baselines.items()),
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal report."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> "PredictorReport":
        """Reads what `to_json` wrote.

        Raises:
            PredictorError: The data are not of that form.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(data, Mapping) or set(data) != names:
            raise PredictorError("not the report of a latency predictor; profile the target again")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        try:
            values["scores"] = Scores(**data["scores"])
            values["largest"] = None if data["largest"] is None else Scores(**data["largest"])
            values["baselines"] = {name: Scores(**one) for name, one in data["baselines"].items()}
        except (TypeError, AttributeError) as error:
            raise PredictorError(f"not the report of a latency predictor: {error}") from error
        return cls(**values)


def hit_rate(predicted: Floats, truth: Floats, tolerance: float) -> float:
    """Share of predictions whose relative error is at most the tolerance."""
    return float(np.mean(np.abs(predicted / truth - 1) <= tolerance))


def rank_correlations(a: Floats, b: Floats) -> tuple[float, float]:
    """Spearman's rho and Kendall's tau-b; 0 where one side is constant."""
    from scipy.stats import kendalltau, spearmanr

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0, 0.0
    return float(spearmanr(a, b).statistic), float(kendalltau(a, b).statistic)


def measuring_s(measurements: Sequence[Measurement]) -> float:
    """Seconds spent on measuring, from the times at which groups of models began; pauses do not count."""
    starts = sorted({datetime.fromisoformat(m.started_at).timestamp() for m in measurements})
    gaps = [b - a for a, b in pairwise(starts) if b - a < _PAUSE_S]
    # The last group took about as long as the others; one alone at least as long as its samples.
    samples_s = sum(sum(m.samples_s) + sum(map(sum, m.reference_blocks_s)) for m in measurements)
    return max(sum(gaps) + (statistics.median(gaps) if gaps else 0.0), samples_s)
