"""What a reader should distrust, said in sentences with the numbers that say so."""

import itertools
import math
import statistics
from collections.abc import Sequence

from mobinas.metrics.objective import Metric
from mobinas.metrics.rank import kendall_tau
from mobinas.report.models import ModelRow
from mobinas.report.words import METRIC_WORDS, listed, percent, plain, shortened

_Z = 1.96
_FEWEST = 5  # of 4 things even equal rankings are no evidence: 2 of 24 orders are as extreme
_MISLEADING = 0.10


def tau_by_chance(n: int) -> float:
    """The |tau| that unrelated rankings of n things reach but do not pass, 95 times in 100.

    Kendall's normal approximation: the variance is 2 (2 n + 5) / (9 n (n - 1)).
    """
    return min(1.0, _Z * math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))) if n >= _FEWEST else 1.0


def reservations(models: Sequence[ModelRow], metric: Metric = "accuracy") -> list[str]:
    """Sentences on the predictor's gap, the proxy's order, the test part and close calls.

    Args:
        models: All models of the report.
        metric: What their accuracy is.
    """
    found, words = [m for m in models if m.kind != "baseline"], METRIC_WORDS[metric]
    sentences = [_predictor_gap(found), _proxy(found, words), _test_order(found), _ties(found, words)]
    return [sentence for sentence in sentences if sentence]


def unanswered_classes(models: Sequence[ModelRow]) -> list[str]:
    """One sentence for all models that lack the same classes, the pick's first."""
    lacking: dict[str, list[str]] = {}
    for model in sorted(models, key=lambda m: (m.kind != "pick", not m.on_front)):
        if model.unanswered:
            name = plain(model.name, 60)  # labels need not be unique
            lacking.setdefault(model.unanswered, []).append(
                f"{name} (the pick)" if model.kind == "pick" else name
            )
    return [
        f"{'Each of ' if len(names) > 1 else ''}{listed(shortened(names))} {plain(words, 600)}."
        for words, names in lacking.items()
    ]


def _predictor_gap(models: Sequence[ModelRow]) -> str:
    errors = [abs(m.predicted_s / m.latency_s - 1) for m in models if m.predicted_s is not None]
    if not errors:
        return ""
    median, worst = percent(statistics.median(errors)), percent(max(errors))
    large = " That is much: trust only what was measured." if gap_is_large(models) else ""
    return (
        f"The search saw predicted latencies. For the {len(errors)} trained models the prediction was off by "
        f"{median} in the median and {worst} at worst; picture and table use measured latencies.{large}"
    )


def _proxy(models: Sequence[ModelRow], metric: str) -> str:
    pairs = [(m.inherited_accuracy, m.accuracy) for m in models if m.inherited_accuracy is not None]
    if not pairs:
        return ""
    n = len(pairs)
    tau = kendall_tau([p[0] for p in pairs], [p[1] for p in pairs])
    start = f"The search ranked candidates by their {metric} with inherited weights. "
    if math.isnan(tau) or abs(tau) <= tau_by_chance(n):
        found = "no order at all" if math.isnan(tau) else f"Kendall's tau {tau:.2f}"
        return (
            f"{start}The {n} trained models are too few to tell whether that order is right "
            f"({found}; up to {tau_by_chance(n):.2f} may be chance)."
        )
    verdict = "agrees with" if tau > 0 else "contradicts"
    return f"{start}Over {n} trained models that order {verdict} the trained one (Kendall's tau {tau:.2f})."


def _test_order(models: Sequence[ModelRow]) -> str:
    names = [plain(m.label or m.name, 40) for m in models if m.on_front and m.test_dominated]
    if not names:
        return ""
    verb = "is" if len(names) == 1 else "are"
    return (
        f"On the test part alone {listed(names)} would not be on the front and {verb} drawn hollow. "
        "Members are chosen without the test part, so they are marked, never removed."
    )


def _ties(models: Sequence[ModelRow], metric: str) -> str:
    """Front members whose accuracy cannot be told from the next faster one's."""
    front = sorted((m for m in models if m.on_front), key=lambda m: m.latency_s)
    close = [
        plain(slow.label or slow.name, 40)
        for fast, slow in itertools.pairwise(front)
        if slow.test_bounds and fast.test_accuracy is not None and slow.test_bounds[0] <= fast.test_accuracy
    ]
    if not close:
        return ""
    return (
        f"The test {metric} of {listed(close)} cannot be told from that of the next faster member: "
        "that one lies inside the 95 % interval or above it."
    )


def gap_is_large(models: Sequence[ModelRow]) -> bool:
    """Whether predictions missed the measurements by more than 10 % in the median."""
    errors = [abs(m.predicted_s / m.latency_s - 1) for m in models if m.predicted_s is not None]
    return bool(errors) and statistics.median(errors) > _MISLEADING
