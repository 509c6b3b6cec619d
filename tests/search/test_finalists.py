"""Finalists: ends always, spread, filled up from the next fronts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobinas.errors import SearchError
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.objective import Objective
from mobinas.search.finalists import finalists

AXES = (Objective("accuracy", "maximize"), Objective("latency_s", "minimize", "s"))


@dataclass(frozen=True)
class Thing:
    digest: str
    name: str = "thing"


def seen(digest: object, accuracy: float, latency_s: float, feasible: bool = True) -> Evaluation[Thing]:
    values = {"accuracy": Value(accuracy), "latency_s": Value(latency_s, "s")}
    return Evaluation(Thing(str(digest)), values, feasible)


@st.composite
def histories(draw: st.DrawFn) -> list[Evaluation[Thing]]:
    rows = draw(
        st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.booleans()), min_size=1, max_size=20)
    )
    return [seen(i, a / 9, t / 1000, feasible) for i, (a, t, feasible) in enumerate([*rows, (5, 5, True)])]


@given(histories(), st.integers(2, 10))
@settings(deadline=None, max_examples=60)
def test_ends_fronts_and_number(history: list[Evaluation[Thing]], n: int) -> None:
    front = ParetoFront.of(history, AXES).members
    feasible = [e for e in history if e.feasible]
    picked = finalists(history, AXES, n)
    assert len(picked) == len(set(picked_digests(picked))) == min(n, len(feasible))
    assert min(e["latency_s"] for e in picked) == min(e["latency_s"] for e in feasible)
    assert max(e["accuracy"] for e in picked) == max(e["accuracy"] for e in feasible)
    inside = [e for e in picked if e in front]
    assert len(inside) == min(n, len(front)), "the first front goes first"
    assert finalists(history[::-1], AXES, n) == picked


def picked_digests(picked: tuple[Evaluation[Thing], ...]) -> list[str]:
    return [e.candidate.digest for e in picked]


def test_they_spread_over_the_ratio_of_latencies() -> None:
    history = [seen(i, 0.5 + i / 100, 1e-4 * 2**i) for i in range(9)]
    assert sorted(picked_digests(finalists(history, AXES, 3))) == ["0", "4", "8"]
    assert sorted(picked_digests(finalists(history, AXES, 5))) == ["0", "2", "4", "6", "8"]


def test_a_crowd_is_passed_over() -> None:
    crowd = [seen(f"c{i}", 0.9 + i * 1e-4, 1e-3 + i * 1e-6) for i in range(20)]
    alone = [seen("slow", 0.99, 9e-3), seen("fast", 0.5, 1e-4), seen("middle", 0.7, 4e-4)]
    picked = picked_digests(finalists(crowd + alone, AXES, 4))
    assert {"slow", "fast", "middle"} < set(picked)


def test_the_second_front_fills_up() -> None:
    history = [seen("a", 0.9, 2e-3), seen("b", 0.8, 1e-3), seen("c", 0.85, 2.1e-3), seen("d", 0.2, 5e-3)]
    assert set(picked_digests(finalists(history, AXES, 3))) == {"a", "b", "c"}


def test_covering_reaches_the_slow_end_that_a_rough_accuracy_hides() -> None:
    fast = [seen(f"f{i}", 0.5 + i / 100, 1e-4 * (1 + i / 10)) for i in range(10)]
    slow = [seen(f"s{i}", 0.3 + i / 100, 8e-4 + i * 1e-5) for i in range(10)]
    assert not any(name.startswith("s") for name in picked_digests(finalists(fast + slow, AXES, 8)))
    picked = picked_digests(finalists(fast + slow, AXES, 8, covered="latency_s"))
    assert "s9" in picked and len(picked) == 8


@given(histories(), st.integers(2, 10))
@settings(deadline=None, max_examples=60)
def test_covering_fills_every_bin_that_it_can(history: list[Evaluation[Thing]], n: int) -> None:
    picked = finalists(history, AXES, n, covered="latency_s")
    feasible = [e for e in history if e.feasible]
    assert len(picked) == len(set(picked_digests(picked))) == min(n, len(feasible))
    assert min(e["latency_s"] for e in picked) == min(e["latency_s"] for e in feasible)
    assert max(e["accuracy"] for e in picked) == max(e["accuracy"] for e in feasible)
    logs = np.log([e["latency_s"] for e in feasible])
    edges = np.linspace(logs.min(), logs.max(), n)[1:-1]

    def bins(evaluations: Sequence[Evaluation[Thing]]) -> set[int]:
        return {int(k) for k in np.digitize(np.log([e["latency_s"] for e in evaluations]) + 1e-12, edges)}

    assert bins(picked) == bins(feasible)


def test_one_candidate_is_both_ends() -> None:
    assert picked_digests(finalists([seen("a", 0.9, 1e-3)], AXES, 2)) == ["a"]


def test_bad_input() -> None:
    with pytest.raises(SearchError, match="1 finalists cannot hold the best in each of 2"):
        finalists([seen("a", 0.9, 1e-3)], AXES, 1)
    with pytest.raises(SearchError, match="no feasible evaluation"):
        finalists([seen("a", 0.9, 1e-3, False)], AXES, 2)
