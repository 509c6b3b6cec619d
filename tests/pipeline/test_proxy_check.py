"""Rank correlations of cheap judgements, on invented numbers."""

import math
import random

import pytest

from mobinas.arch.architecture import Task
from mobinas.arch.space import SearchSpace
from mobinas.pipeline.proxy_check import INHERITED, TRUTH, compare, draw

SPACE = SearchSpace(
    Task(10, 1), (8, 16), (3,), (4,), (("none", "skip_connect", "conv_3x3", "max_pool_3x3"),), nodes=2
)


def _found(n: int, noise: float, seed: int = 0) -> list[dict[str, float]]:
    rng = random.Random(seed)
    truths = [rng.random() for _ in range(n)]
    return [
        {INHERITED: t + noise * rng.gauss(0, 1), "parameters": rng.random(), "synflow": 1.0, TRUTH: t}
        for t in truths
    ]


def test_tau_and_its_interval() -> None:
    perfect = {row.judgement: row for row in compare(_found(20, 0.0)).rows}
    assert perfect[INHERITED].tau == perfect[INHERITED].low == perfect[INHERITED].high == 1
    assert math.isnan(perfect["synflow"].tau)  # says the same of all
    chance = perfect["parameters"]
    assert chance.low < chance.tau < chance.high and chance.low < 0
    noisy, many = (compare(_found(n, 0.3)).rows[0] for n in (20, 100))
    assert noisy.low < noisy.tau < noisy.high < 1
    assert many.high - many.low < noisy.high - noisy.low


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (_found(11, 0.0), "11 architectures are too few to tell"),
        (_found(30, 0.05), "Inherited weights order best"),
        (_found(30, 50.0), "cannot be trusted"),
        ([{**one, "parameters": one[TRUTH]} for one in _found(30, 0.2)], "parameters orders better"),
    ],
)
def test_the_verdict(found: list[dict[str, float]], words: str) -> None:
    assert words in compare(found).verdict()


def test_drawn_architectures_differ_and_are_of_the_space() -> None:
    drawn = draw(SPACE, 30, 0)
    assert len({one.digest for one in drawn}) == 30
    assert all(SPACE.contains(one) for one in drawn)
    assert [one.digest for one in draw(SPACE, 30, 0)] == [one.digest for one in drawn]
    assert any(len(one.body.genotype.ops()) == 1 for one in drawn)
    tiny = SearchSpace(Task(10, 1), (8,), (3,), (4,), (("skip_connect",),), nodes=1)
    assert len(draw(tiny, 30, 0)) == 1  # all there is
