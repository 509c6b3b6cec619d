"""Who is trained for a moment, and what that decides."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.pipeline.qualify import _with_accuracy, shortlist


@dataclass(frozen=True)
class Thing:
    digest: str

    @property
    def name(self) -> str:
        return self.digest


def seen(digest: str, accuracy: float, latency_s: float, params: int) -> Evaluation[Thing]:
    values = {"accuracy": Value(accuracy), "latency_s": Value(latency_s, "s"), "params": Value(params)}
    return Evaluation(Thing(digest), values, True)


def history() -> Any:
    """At each latency a small network that inherits well, a large one that does not, and one between."""
    rows = []
    for k in range(10):
        latency_s = 1e-4 * 1.3**k
        rows += [
            seen(f"inherits{k}", 0.5 + k / 100, latency_s, 1000 + k),
            seen(f"large{k}", 0.1 + k / 100, latency_s * 1.01, 100_000 + k),
            seen(f"between{k}", 0.2 + k / 100, latency_s * 1.02, 5000 + k),
        ]
    return SimpleNamespace(history=rows)


@pytest.mark.parametrize("n", [4, 9, 20])
def test_both_kinds_stand_on_the_shortlist(n: int) -> None:
    names = [e.candidate.name for e in shortlist(history(), n)]
    assert len(names) == len(set(names)) <= max(n, 4)
    kinds = {kind: sum(name.startswith(kind) for name in names) for kind in ("inherits", "large")}
    assert min(kinds.values()) >= n // 2 - 1
    assert {"inherits0", "inherits9", "large9"} <= set(names), "all ends"


def test_a_tuned_accuracy_replaces_the_inherited_one_alone() -> None:
    before = seen("a", 0.1, 1e-4, 10)
    after = _with_accuracy(before, 0.9, 100)
    assert after["accuracy"] == 0.9 and after.values["accuracy"].source == "tuned"
    assert after.values["accuracy"].std == pytest.approx(0.03)
    assert {k: v for k, v in after.values.items() if k != "accuracy"} == {
        k: v for k, v in before.values.items() if k != "accuracy"
    }
