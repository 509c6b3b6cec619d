"""What the search is compared with."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.space import SearchSpace
from mobinas.config import load_config
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.objective import trade_off
from mobinas.metrics.result import SearchResult
from mobinas.pipeline import comparisons
from mobinas.pipeline.comparisons import CELLS, SIZES, compare
from mobinas.pipeline.why_info import why_info
from mobinas.progress import silent

SPACE = SearchSpace(Task(10, 1), (8, 12), (2, 3), (2, 4), (("skip_connect", "conv_3x3"),), nodes=2)


def known(architecture: Architecture, _predictor: Any = None) -> dict[str, Value]:
    body = architecture.body
    return {"latency_s": Value(1e-3 * body.depth * body.width + 1e-5 * architecture.resolution, "s")}


def judge(architecture: Architecture) -> dict[str, Value]:
    return {"accuracy": Value(1 - 1 / (1 + architecture.body.width * architecture.body.depth))}


def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **job: Any) -> Any:
    monkeypatch.setattr(comparisons, "judge_of", lambda *_: judge)
    monkeypatch.setattr(comparisons, "known_values", known)
    config = load_config("smoke", {"search.baseline_trials": 50, "search.attribution_trials": 6, **job})
    rng = random.Random(0)
    history = [Evaluation(a, {**judge(a), **known(a)}) for a in (SPACE.sample(rng) for _ in range(8))]
    axes = trade_off("accuracy")
    searched = SearchResult(axes, ParetoFront.of(history, axes), tuple(history))
    stub: Any = SimpleNamespace(
        config=config, device=None, folder=SimpleNamespace(path=tmp_path), cluster=None
    )
    unused: Any = None
    return searched, compare(stub, SPACE, unused, unused, unused, searched, silent)


def test_each_part_varies_its_own_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched, found = compared(tmp_path, monkeypatch)
    body = searched.knee().candidate.body
    sizes, cells = ([e.candidate for e in found.around[name].history] for name in (SIZES, CELLS))
    assert {a.body.genotype for a in sizes} == {body.genotype} and len({a.body.width for a in sizes}) == 2
    assert {(a.body.depth, a.body.width) for a in cells} == {(body.depth, body.width)}
    assert len(found.at_random.history) == 50 and len(cells) == 6

    names = [e.candidate.name for e in searched.history]
    tuned = {name: float(k) for k, name in enumerate(names)}
    info = why_info(searched, found, SPACE, 0, tuned, {n: -x for n, x in tuned.items()})
    parts = dict(info.parts)
    assert parts["evaluations of each"] == "6"
    assert "tau -1.00" in parts["order after a short training"]
    accuracy = {one.name: one for one in dict(info.deciders)["for accuracy"]}
    assert accuracy["width"].is_clear and accuracy["width"].share > accuracy["resolution"].share


def test_a_budget_that_no_draw_meets_leaves_them_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched, found = compared(tmp_path, monkeypatch, max_latency_ms=1e-6)
    assert found.at_random is None and found.around == {}
    ((name, said),) = why_info(searched, found, SPACE, 0, {}, {}).parts
    assert name == "which choices decided" and "importances need at least 50" in said


def test_random_search_gets_as_many_evaluations_as_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched, found = compared(tmp_path, monkeypatch, **{"search.baseline_trials": None})
    assert len(found.at_random.history) == len(searched.history)


def test_none_are_made_where_none_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none = {"search.baseline_trials": 0, "search.attribution_trials": 0}
    _, found = compared(tmp_path, monkeypatch, **none)
    assert found.at_random is None and found.around == {} and not list(tmp_path.iterdir())
