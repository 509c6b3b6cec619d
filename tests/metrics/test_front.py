"""The Pareto front, its figures and what a search returns."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobinas.errors import SearchError
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.hypervolume import hypervolume
from mobinas.metrics.objective import Objective
from mobinas.metrics.result import SearchResult
from mobinas.metrics.score import score

AXES = (Objective("accuracy", "maximize"), Objective("latency_s", "minimize", "s"))


@dataclass(frozen=True)
class Thing:
    digest: str

    @property
    def name(self) -> str:
        return f"thing-{self.digest}"


def seen(digest: str, accuracy: float, latency_s: float, feasible: bool = True) -> Evaluation[Thing]:
    values = {"accuracy": Value(accuracy), "latency_s": Value(latency_s, "s", source="predicted")}
    return Evaluation(Thing(digest), values, feasible)


@st.composite
def histories(draw: st.DrawFn) -> list[Evaluation[Thing]]:
    n = draw(st.integers(0, 12))
    share = st.integers(0, 5).map(lambda i: i / 5)
    return [
        seen(draw(st.sampled_from("abcdefgh")), draw(share), draw(share) + 0.1, draw(st.booleans()))
        for _ in range(n)
    ]


@given(histories())
def test_the_front_is_what_no_candidate_beats(history: list[Evaluation[Thing]]) -> None:
    front = ParetoFront.of(history, AXES)
    first: dict[str, Evaluation[Thing]] = {}
    for e in history:
        if e.feasible:
            first.setdefault(e.candidate.digest, e)

    def beats(a: Evaluation[Thing], b: Evaluation[Thing]) -> bool:
        no_worse = a["accuracy"] >= b["accuracy"] and a["latency_s"] <= b["latency_s"]
        return no_worse and a.losses(AXES) != b.losses(AXES)

    expected = {d for d, e in first.items() if not any(beats(o, e) for o in first.values())}
    assert {e.candidate.digest for e in front} == expected
    assert len(front) == len(expected)
    accuracies = [e["accuracy"] for e in front]
    assert accuracies == sorted(accuracies, reverse=True)


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_evaluations_does_not_matter(history: list[Evaluation[Thing]], random: object) -> None:
    unique = list({e.candidate.digest: e for e in history}.values())
    shuffled = unique.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ParetoFront.of(shuffled, AXES) == ParetoFront.of(unique, AXES)


@given(histories())
def test_the_curve_is_the_hypervolume_of_each_prefix(history: list[Evaluation[Thing]]) -> None:
    unique = tuple({e.candidate.digest: e for e in history}.values())
    result = SearchResult(AXES, ParetoFront.of(unique, AXES), unique)
    reference = {"latency_s": 1.0, "accuracy": 0.0}
    naive = [ParetoFront.of(unique[: i + 1], AXES).hypervolume(reference) for i in range(len(unique))]
    assert result.hypervolume_curve(reference) == pytest.approx(naive)
    if naive:
        assert result.hypervolume(reference) == pytest.approx(naive[-1])


def front_of_five() -> ParetoFront[Thing]:
    pairs = [(0.99, 1.0), (0.98, 0.5), (0.97, 0.2), (0.6, 0.15), (0.5, 0.1)]
    return ParetoFront.of([seen(str(i), a, s) for i, (a, s) in enumerate(pairs)], AXES)


def test_knee_is_farthest_from_the_line_between_the_ends() -> None:
    front = front_of_five()
    points = np.array([(m["accuracy"], m["latency_s"]) for m in front])
    scaled = (points - points.min(axis=0)) / (points.max(axis=0) - points.min(axis=0))
    distances = (scaled[:, 0] - scaled[:, 1]) / np.sqrt(2)
    assert front.knee() == front.members[int(distances.argmax())]
    assert front.knee().candidate.digest == "2"


def test_within_follows_the_directions() -> None:
    front = front_of_five()
    assert [m.candidate.digest for m in front.within(latency_s=0.2)] == ["2", "3", "4"]
    assert [m.candidate.digest for m in front.within(latency_s=0.2, accuracy=0.6)] == ["2", "3"]
    assert front.within() == front.members
    with pytest.raises(SearchError, match="unknown objective 'latency'; did you mean 'latency_s'"):
        front.within(latency=0.2)


def test_best_score_moves_with_latency_but_not_with_the_reference() -> None:
    front = front_of_five()
    best = max(front, key=lambda m: m["accuracy"] * m["latency_s"] ** -0.07)
    assert front.best_score() == front.best_score(reference_s=7.0) == best


def test_hypervolume_in_the_users_directions() -> None:
    front = front_of_five()
    corner = {"accuracy": 0.4, "latency_s": 2.0}
    expected = hypervolume([(-m["accuracy"], m["latency_s"]) for m in front], (-0.4, 2.0))
    assert front.hypervolume(corner) == front.hypervolume((0.4, 2.0)) == pytest.approx(expected)
    with pytest.raises(SearchError, match="must name accuracy, latency_s"):
        front.hypervolume({"accuracy": 0.4})
    with pytest.raises(SearchError, match="1 numbers for 2 objectives"):
        front.hypervolume((0.4,))


def test_an_empty_front_says_so() -> None:
    empty: ParetoFront[Thing] = ParetoFront.of([], AXES)
    assert empty.hypervolume((0.0, 1.0)) == 0.0
    for figure in (empty.knee, empty.best_score):
        with pytest.raises(SearchError, match="the front is empty"):
            figure()


def test_only_of_makes_a_front() -> None:
    good, bad = seen("a", 0.9, 0.1), seen("b", 0.8, 0.2)
    with pytest.raises(SearchError, match="not dominate"):
        ParetoFront(AXES, (good, bad))
    with pytest.raises(SearchError, match="each candidate once"):
        ParetoFront(AXES, (good, good))


def test_incomplete_evaluations_stay_out() -> None:
    partial = Evaluation(Thing("a"), {"accuracy": Value(1.0)})
    failed = Evaluation(Thing("b"), dict(seen("b", 1.0, 0.1).values), error="broken")
    assert ParetoFront.of([partial, failed], AXES).members == ()
    with pytest.raises(SearchError, match="thing-a has no 'latency_s'"):
        partial["latency_s"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Objective("", "minimize"), "needs a name"),
        (lambda: Objective("x", "minimise"), "did you mean 'minimize'"),
        (lambda: ParetoFront.of([], ()), "at least one objective"),
        (lambda: ParetoFront.of([], (AXES[0], AXES[0])), "two objectives are named 'accuracy'"),
        (lambda: Value(float("nan")), "must be finite"),
        (lambda: Value(1.0, std=-1.0), "std is -1.0"),
        (lambda: Value(1.0, source="guessed"), "unknown source 'guessed'"),
        (lambda: Value.from_json({"y": 1}), "a value is"),
        (lambda: score(98.0, 1e-3), "share between 0 and 1"),
        (lambda: score(0.9, 0.0), "latency_s is 0.0"),
        (lambda: score(0.9, 1.0, -1.0), "reference_s is -1.0"),
    ],
)
def test_bad_input(make: object, text: str) -> None:
    with pytest.raises(SearchError, match=text):
        make()  # type: ignore[operator]


def test_score_in_closed_form() -> None:
    assert score(0.9, 1e-3) == pytest.approx(0.9)
    assert score(0.9, 2e-3) == pytest.approx(0.9 * 2**-0.07)
    assert score(0.9, 5e-3, reference_s=5e-3) == pytest.approx(0.9)


def test_values_round_trip() -> None:
    value = Value(0.1, "s", 0.01, "predicted")
    assert Value.from_json(value.to_json()) == value
