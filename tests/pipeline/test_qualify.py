"""Who is trained for a moment, and what that decides."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.objective import trade_off
from mobinas.pipeline.qualify import climbed, shortlist, tuned_accuracies


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
    return SimpleNamespace(history=rows, objectives=trade_off("accuracy"))


@pytest.mark.parametrize("n", [4, 9, 20])
def test_both_kinds_stand_on_the_shortlist(n: int) -> None:
    names = [e.candidate.name for e in shortlist(history(), n)]
    assert len(names) == len(set(names)) <= max(n, 4)
    kinds = {kind: sum(name.startswith(kind) for name in names) for kind in ("inherits", "large")}
    assert min(kinds.values()) >= n // 2 - 1
    assert {"inherits0", "inherits9", "large9"} <= set(names), "all ends"


def tried(searched: Any, n: int, tune: Any) -> tuple[list[int], Any]:
    batches: list[int] = []

    def together(things: Any, progress: Any) -> dict[str, Value]:
        batches.append(len(things))
        progress(len(things), len(things), things[-1].name)
        return {thing.name: Value(tune(thing), std=0.03, source="tuned") for thing in things}

    told: list[tuple[int, int]] = []
    first = shortlist(searched, n // 2)
    found = climbed(searched, first, n, 3, together, lambda done, total, _: told.append((done, total)))
    assert told[-1] == (len(found), n) and sum(batches) == len(found)
    assert batches[0] == len(first) and max(batches[1:], default=0) <= 3
    return batches, found


def test_a_tuned_accuracy_replaces_the_inherited_one_alone() -> None:
    searched = history()
    _, found = tried(searched, 8, lambda _: 0.9)
    before = {e.candidate: e.values for e in searched.history}
    for after in found:
        assert after["accuracy"] == 0.9 and after.values["accuracy"].source == "tuned"
        assert after.values["accuracy"].std == pytest.approx(0.03)
        old = before[after.candidate]
        assert all(after.values[k] == v for k, v in old.items() if k != "accuracy")


def test_training_ends_where_none_could_enter_the_front() -> None:
    """After a short training the large ones are best, as their size foretells."""
    searched = history()
    size = {e.candidate: e["params"] for e in searched.history}
    batches, found = tried(searched, 24, lambda thing: 0.15 * math.log10(size[thing]))
    assert len(batches) > 1 and len(found) < 24
    best = {e.candidate.name for e in searched.history if e.candidate.name.startswith("large")}
    assert best <= {e.candidate.name for e in found}


def test_findings_of_earlier_versions_are_read_beside_todays(tmp_path: Path) -> None:
    (tmp_path / "qualified").mkdir()
    (tmp_path / "qualified" / "inherits0.json").write_text("0.75\n")
    kept = Value(0.5, std=0.1, source="tuned").to_json()
    (tmp_path / "qualified" / "large0.json").write_text(json.dumps(kept))
    job: Any = SimpleNamespace(folder=SimpleNamespace(path=tmp_path))
    assert tuned_accuracies(job, history()) == {"inherits0": 0.75, "large0": 0.5}
