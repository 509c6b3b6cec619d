"""Random search as a baseline."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobinas.metrics.objective import Objective
from mobinas.search.baseline import random_search
from mobinas.search.choice_space import ChoiceSpace

SPACE = ChoiceSpace({"a": tuple(range(10)), "b": tuple(range(10)), "c": tuple(range(10))})
AXES = (Objective("gain", "maximize"), Objective("price", "minimize"))


def evaluate(choices: Mapping[str, Any]) -> dict[str, float]:
    return {"gain": choices["a"] + choices["c"]}


def price(choices: Mapping[str, Any]) -> dict[str, float]:
    return {"price": choices["a"] + choices["b"]}


def test_draws_are_uniform_within_the_constraints() -> None:
    result = random_search(
        SPACE, evaluate, AXES, n_trials=250, constraints={"price": "<= 9"}, prefilter=price, seed=3
    )
    assert len({e.candidate.digest for e in result.history}) == 250
    counts = Counter(e.candidate["a"] for e in result.history)
    # 55 pairs of a and b remain, 10 - a of them for each a.
    expected = {a: 250 * (10 - a) / 55 for a in range(10)}
    chi2 = sum((counts[a] - n) ** 2 / n for a, n in expected.items())
    assert chi2 < 21.7, "the 99 % quantile of chi-squared with 9 degrees of freedom"


def test_it_resumes(tmp_path: Path) -> None:
    whole = random_search(SPACE, evaluate, AXES, n_trials=9, prefilter=price)
    random_search(SPACE, evaluate, AXES, n_trials=9, prefilter=price, storage=tmp_path / "s")
    again = random_search(SPACE, evaluate, AXES, n_trials=9, prefilter=price, storage=tmp_path / "s")
    assert again.history == whole.history
