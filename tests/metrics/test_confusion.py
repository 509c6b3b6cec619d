"""Confusion matrices against scikit-learn's, and intervals of a mean recall against exact coverage."""

import itertools
import math
import warnings
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from mobinas.errors import SearchError
from mobinas.metrics.confusion import Confusion
from mobinas.metrics.interval import mean_interval, mean_std, proportion_interval

CLASSES = 4
Answered = st.lists(st.tuples(*(st.integers(0, CLASSES - 1),) * 2), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(Answered)
def test_it_counts_as_scikit_learn_does(pairs: list[tuple[int, int]]) -> None:
    labels, answers = (list(column) for column in zip(*pairs, strict=True))
    found = Confusion.of(labels, answers, CLASSES)
    matrix = confusion_matrix(labels, answers, labels=range(CLASSES))
    assert {(a, b): n for a, b, n in found.cells} == {
        (a, b): matrix[a, b] for a, b in itertools.product(range(CLASSES), repeat=2) if matrix[a, b]
    }
    assert found.images == matrix.sum(axis=1).tolist() and found.answered == matrix.sum(axis=0).tolist()
    assert found.right == matrix.diagonal().tolist() and found.n == len(pairs)
    assert found.share("accuracy").x == pytest.approx(accuracy_score(labels, answers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that are answered alone: it warns, and leaves them out
        assert found.share("balanced_accuracy").x == pytest.approx(balanced_accuracy_score(labels, answers))
    for recall, n in zip(found.recalls, found.images, strict=True):
        assert (recall is None) == (n == 0)


@settings(max_examples=40, deadline=None)
@given(Answered, Answered)
def test_what_is_kept_and_what_adds_up(pairs: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    first, second, both = (
        Confusion.of([a for a, _ in some], [b for _, b in some], CLASSES)
        for some in (pairs, others, pairs + others)
    )
    assert Confusion.from_json(first.to_json()) == first
    assert first + second == both
    for metric in ("accuracy", "balanced_accuracy"):
        share = first.share(metric)
        assert 0 <= share.low <= share.x <= share.high <= 1 and share.std >= 0


def test_where_classes_are_even_both_metrics_are_one_number() -> None:
    even = Confusion.of([0] * 7 + [1] * 7 + [2] * 7, [0] * 6 + [1] * 9 + [2] * 6, 3)
    assert even.is_even and even.share("accuracy").x == even.share("balanced_accuracy").x
    assert not (even + Confusion.of([0], [0], 3)).is_even


def test_a_model_that_answers_one_class_is_half_right_of_two() -> None:
    blind = Confusion.of([0] * 80 + [1], [0] * 81, 2)
    assert blind.share("accuracy").x == 80 / 81 and blind.share("balanced_accuracy").x == 0.5
    assert blind.answered == [81, 0] and blind.taken_for(1) == (0, 1) and blind.taken_for(0) is None


def test_the_most_frequent_mistake_is_told_the_first_of_equals() -> None:
    found = Confusion.of([0] * 7, [0, 1, 1, 2, 2, 3, 0], 4)
    assert found.taken_for(0) == (1, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Confusion.of([], [], 2),
        lambda: Confusion.of([2], [0], 2),
        lambda: Confusion.of([0], [-1], 2),
        lambda: Confusion(2, ((0, 0, 0),)),
        lambda: Confusion.from_json([3, 4]),
        lambda: Confusion.from_json({"classes": 2, "cells": [[0, 1]]}),
        lambda: Confusion.from_json({"classes": 2}),
        lambda: mean_interval([]),
        lambda: mean_std([(2, 1)]),
        lambda: mean_interval([(1, 0)]),
    ],
)
def test_what_is_no_matrix_and_no_proportion_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(SearchError):
        make()


@given(st.integers(0, 40), st.integers(1, 40))
def test_the_mean_of_one_proportion_has_wilsons_interval(right: int, n: int) -> None:
    right = min(right, n)
    assert mean_interval([(right, n)]) == pytest.approx(proportion_interval(right, n))


def test_many_images_give_the_stratified_deviation() -> None:
    strata = [(9000, 10_000), (300, 600), (10, 1000)]
    plain = math.sqrt(sum(k / n * (1 - k / n) / n for k, n in strata)) / 3
    assert mean_std(strata) == pytest.approx(plain, rel=0.01)
    # Of one rare image the plain formula would say that it is certain.
    assert mean_std([(1000, 1000), (1, 1)]) > 0.1
    low, high = mean_interval([(1000, 1000), (1, 1)])
    assert low < 0.61 and high == 1


@pytest.mark.parametrize("sizes", [(60, 4), (40, 10), (25, 1), (12, 8, 3)])
def test_the_interval_holds_the_truth_as_often_as_it_says(sizes: tuple[int, ...]) -> None:
    """Exact, over all outcomes of the strata, averaged over a grid of recalls."""
    grid = list(itertools.product((0.05, 0.3, 0.5, 0.8, 0.97), repeat=len(sizes)))
    outcomes = list(itertools.product(*(range(n + 1) for n in sizes)))
    intervals = {o: mean_interval(list(zip(o, sizes, strict=True))) for o in outcomes}
    naive = {o: _as_if_binomial(o, sizes) for o in outcomes}
    covered = missed = 0.0
    for recalls in grid:
        truth = sum(recalls) / len(recalls)
        mass = [[_binomial(k, n, p) for k in range(n + 1)] for n, p in zip(sizes, recalls, strict=True)]
        for outcome in outcomes:
            chance = math.prod(row[k] for row, k in zip(mass, outcome, strict=True))
            covered += chance * (intervals[outcome][0] <= truth <= intervals[outcome][1])
            missed += chance * (not naive[outcome][0] <= truth <= naive[outcome][1])
    assert 0.93 <= covered / len(grid) <= 0.995
    if max(sizes) > 10 * min(sizes):
        assert missed / len(grid) > 0.08, "an interval over all images as one would be too narrow"


def _as_if_binomial(outcome: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[float, float]:
    mean = sum(k / n for k, n in zip(outcome, sizes, strict=True)) / len(sizes)
    return proportion_interval(round(mean * sum(sizes)), sum(sizes))


def _binomial(k: int, n: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)
