"""Importances and attribution where the answer is known."""

import itertools
import random
from collections.abc import Mapping
from typing import Any

import pytest

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import published
from mobinas.errors import SearchError
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.objective import Objective
from mobinas.search.around import varied
from mobinas.search.baseline import random_search
from mobinas.search.cell_features import cell_features, longest_path
from mobinas.search.choice_space import Choices, ChoiceSpace
from mobinas.search.importance import importances

GAIN, PRICE = Objective("gain", "maximize"), Objective("price", "minimize")
SPACE = ChoiceSpace({"a": (0, 1, 2, 3), "b": ("x", "y", "z"), "idle": (0, 1, 2, 3), "c": (0.1, 0.2, 0.5)})


def evaluate(choices: Mapping[str, Any]) -> dict[str, float]:
    return {"gain": choices["a"] + 0.1 * choices["c"], "price": 5 * (choices["b"] == "x") + choices["c"]}


def history(n: int, seed: int = 0) -> list[Evaluation[Choices]]:
    rng = random.Random(seed)
    found = [SPACE.build(lambda _name, options: rng.choice(options)) for _ in range(n)]
    return [Evaluation(c, {k: Value(v) for k, v in evaluate(c).items()}) for c in found]


def test_what_decides_stands_out_and_the_idle_does_not() -> None:
    gain = {one.name: one for one in importances(history(150), dict, GAIN)}
    price = {one.name: one for one in importances(history(150), dict, PRICE)}
    assert next(iter(gain)) == "a" and gain["a"].is_clear
    assert next(iter(price)) == "c" and price["c"].is_clear and price["b"].is_clear
    assert gain["a"].weight > 3 * max(gain["b"].weight, gain["idle"].weight)
    assert price["c"].weight > 3 * max(price["a"].weight, price["idle"].weight)


def test_shuffled_objectives_are_rarely_called_important() -> None:
    clear = []
    for seed in range(12):
        seen = history(80, seed)
        values = [e.values for e in seen]
        random.Random(seed).shuffle(values)
        shuffled = [Evaluation(e.candidate, v) for e, v in zip(seen, values, strict=True)]
        clear += [one.is_clear for one in importances(shuffled, dict, GAIN)]
    assert sum(clear) <= 7, "5 % of 48 are expected"


def test_too_few_evaluations_are_refused() -> None:
    with pytest.raises(SearchError, match="49 evaluations tell 'gain'; importances need at least 50"):
        importances(history(49), dict, GAIN)


def test_cells_are_told_by_ops_and_paths() -> None:
    genotype = published("DARTS_V2")
    told = cell_features(Architecture(CellBody(genotype, 5, 8), 16, Task(10)), ("sep_conv_3x3", "none_such"))
    assert (told["resolution"], told["depth"], told["width"]) == (16, 5, 8)
    edges = [edge.op for cell in (genotype.normal, genotype.reduction) for _, edge in cell.edges()]
    assert told["sep_conv_3x3 edges"] == edges.count("sep_conv_3x3")
    assert told["none_such edges"] == 0
    assert told["longest path, normal cell"] == longest_path(genotype.normal) == 2


def test_only_the_free_choices_vary() -> None:
    base = Choices({"a": 1, "b": "y", "idle": 0, "c": 0.5})
    part = varied(SPACE, base, ("a", "c"))
    rows = [part.build(lambda _n, options, k=k: options[k % len(options)]) for k in range(12)]
    assert {(row["b"], row["idle"]) for row in rows} == {("y", 0)}
    assert part.encode(rows[2]) == {"a": 2, "c": 0.5}
    with pytest.raises(SearchError, match="unknown choice 'aa'; did you mean 'a'"):
        varied(SPACE, base, ("aa",))


def test_a_front_is_attributed_to_what_makes_it() -> None:
    base = Choices({"a": 1, "b": "y", "idle": 0, "c": 0.2})
    found = {
        name: random_search(varied(SPACE, base, free), evaluate, (GAIN, PRICE), n_trials=12)
        for name, free in {"main": ("a", "c"), "rest": ("b", "idle")}.items()
    }
    corner = {"gain": 0.0, "price": 6.0}
    assert {name: len(result.history) for name, result in found.items()} == {"main": 12, "rest": 12}
    assert found["main"].hypervolume(corner) > 2.5 * found["rest"].hypervolume(corner)
    exact = [evaluate({**base, "a": a, "c": c}) for a, c in itertools.product((0, 1, 2, 3), (0.1, 0.2, 0.5))]
    assert max(e["gain"] for e in found["main"].members) == max(row["gain"] for row in exact)
