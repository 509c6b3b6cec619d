"""How far to trust a latency predictor, from networks that it was not fitted on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from mobinas.errors import PredictorError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PredictorReport:
    """Held-out figures by cross-validation; rates and shares lie in [0, 1].

    Attributes:
        n: Networks measured.
        hit_rate_5: Share of held-out predictions within 5 % of the measurement.
        hit_rate_10: Within 10 %.
        spearman: Rank correlation of predicted and measured.
        kendall: Kendall's tau-b of the same.
        coverage_90: Share of measurements inside the nominal 90 % interval.
        repeat_hit_rate_5: The measurement against itself: share of networks whose odd blocks give within 5 %
            of what their even blocks give. No predictor can be seen to do better than such truth allows.
        repeat_hit_rate_10: Within 10 %.
        macs_hit_rate_5: A line through multiply-accumulates alone, on the same folds.
        macs_hit_rate_10: Within 10 %.
        macs_spearman: Rank correlation of multiply-accumulates and measured.
        measured_s: Measured latencies in seconds, in the order of fitting.
        predicted_s: Their held-out predictions.
        std_s: The predictions' standard deviations.
    """

    n: int
    hit_rate_5: float
    hit_rate_10: float
    spearman: float
    kendall: float
    coverage_90: float
    repeat_hit_rate_5: float
    repeat_hit_rate_10: float
    macs_hit_rate_5: float
    macs_hit_rate_10: float
    macs_spearman: float
    measured_s: tuple[float, ...]
    predicted_s: tuple[float, ...]
    std_s: tuple[float, ...]

    def lines(self) -> list[str]:
        """The report for people."""
        return [
            f"latency predictor, held out from {self.n} measured networks:",
            f"  within 5 / 10 %: {self.hit_rate_5:.0%} / {self.hit_rate_10:.0%}, "
            f"Spearman {self.spearman:.3f}, Kendall {self.kendall:.3f}, "
            f"90 % interval covers {self.coverage_90:.0%}",
            f"  the measurement repeats itself within 5 / 10 %: "
            f"{self.repeat_hit_rate_5:.0%} / {self.repeat_hit_rate_10:.0%}",
            f"  multiply-accumulates alone: {self.macs_hit_rate_5:.0%} / {self.macs_hit_rate_10:.0%}, "
            f"Spearman {self.macs_spearman:.3f}",
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
