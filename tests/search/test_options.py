"""Options as users have them, and choices whose options depend on other choices."""

import enum
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from small_search import SAMPLERS

from mobinas.errors import SearchError
from mobinas.metrics.objective import Objective
from mobinas.metrics.result import SearchResult
from mobinas.search.choice_space import Choices, ChoiceSpace, enumerate_space, fingerprint
from mobinas.search.define_by_run import DefinedSpace, DefinedTrial, built
from mobinas.search.importance import importances
from mobinas.search.labelled_space import LabelledSpace
from mobinas.search.options import label_of, labels_of, place_of
from mobinas.search.space_file import space_from_json, space_to_json
from mobinas.search.study import pareto_search

AXES = (Objective("size", "maximize"), Objective("price", "minimize"))


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Block:
    width: int


SETS: list[tuple[Any, ...]] = [
    (np.int64(8), np.int32(16)),
    (np.float32(0.5), np.float64(0.25)),
    (np.bool_(True), np.bool_(False)),
    (np.str_("a"), np.str_("b")),
    (Colour.RED, Colour.BLUE),
    (Level.LOW, Level.HIGH),
    ((3, 3), (5, 5)),
    ([3, 3], [5, 5]),
    ({"k": 3}, {"k": 5}),
    (None, 0, False, ""),
    (1, 1.0, True),
    (Block(1), Block(2)),
    (Path("a"), Path("b")),
    (np.array([1, 2]), np.array([3, 4])),
    (Choices, ChoiceSpace),
    (abs, max),
    (Colour.RED, "Colour.BLUE", 3.5, None),
    ((1, (2, None)), (1, (2, 0))),
]


def searched(space: Any, evaluate: Callable[[Any], Any], n: int = 99, **options: Any) -> SearchResult[Any]:
    options = {"n_start": 4, "sampler": "random", **options}
    return pareto_search(space, evaluate, AXES, n_trials=n, **options)


@pytest.mark.parametrize("options", SETS)
@pytest.mark.parametrize("define", [False, True])
def test_options_are_what_users_have(options: tuple[Any, ...], define: bool, tmp_path: Path) -> None:
    def build(trial: DefinedTrial) -> Any:
        return trial.suggest_categorical("a", options), trial.suggest_categorical("b", (1, 2))

    space: Any = DefinedSpace(build) if define else ChoiceSpace({"a": options, "b": (1, 2)})
    got: list[Any] = []

    def evaluate(choices: Choices) -> dict[str, float]:
        option = built(build, choices)[0] if define else choices["a"]
        got.append(option)
        place = place_of(option, options)
        assert place is not None
        return {"size": place + choices["b"], "price": place}

    sampler = "auto" if len(options) > 2 else "random"
    whole = searched(space, evaluate, sampler=sampler)
    assert len(whole.history) == 2 * len(options) == len({e.candidate.digest for e in whole.history})
    assert not [e for e in whole.history if e.error]
    kinds = {type(option.item()) if isinstance(option, np.generic) else type(option) for option in options}
    assert {type(option) for option in got} == kinds
    searched(space, evaluate, 3, storage=tmp_path / "s", sampler=sampler)
    again = searched(space, evaluate, storage=tmp_path / "s", sampler=sampler)
    assert [e.candidate.digest for e in again.history] == [e.candidate.digest for e in whole.history]


def conditional(trial: DefinedTrial) -> list[int]:
    """Options that depend on a choice, in another order; choices asked in some branches, or twice; ranges."""
    kind = trial.suggest_categorical("kind", ("small", "large", "turned"))
    sets = {"small": (1, 2), "large": (30, 40, 50), "turned": (2, 1)}
    widths = [trial.suggest_categorical("width", sets[kind])]
    widths.append(trial.suggest_categorical("width", sets[kind]))
    if kind == "large":
        widths.append(trial.suggest_int("layers", 1, widths[0] // 15))
    return widths


def every() -> list[list[int]]:
    small = [[w, w] for w in (1, 2)] * 2
    return small + [[w, w, n] for w in (30, 40, 50) for n in range(1, w // 15 + 1)]


def judged(choices: Choices) -> dict[str, float]:
    widths = built(conditional, choices)
    return {"size": sum(widths), "price": widths[0]}


def test_all_of_a_conditional_space_is_enumerated() -> None:
    found = [built(conditional, c) for c, _ in enumerate_space(DefinedSpace(conditional), 100)]
    assert sorted(found) == sorted(every())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_options_may_depend_on_other_choices_with_every_sampler(sampler: str, tmp_path: Path) -> None:
    space = DefinedSpace(conditional)
    n = len(every()) if sampler != "gp" else 7  # its proposals take seconds
    whole = searched(space, judged, n, sampler=sampler)
    assert len({e.candidate.digest for e in whole.history}) == len(whole.history) == n
    assert not [e for e in whole.history if e.error]
    searched(space, judged, 5, sampler=sampler, storage=tmp_path / "s")
    again = searched(space, judged, n, sampler=sampler, storage=tmp_path / "s")
    assert [e.candidate.digest for e in again.history] == [e.candidate.digest for e in whole.history]
    study = optuna.load_study(
        study_name=None, storage=JournalStorage(JournalFileBackend(str(tmp_path / "s")))
    )
    assert len(study.trials) == n and all(t.params["kind"] for t in study.trials)


def test_a_set_in_another_order_is_the_same_choice(tmp_path: Path) -> None:
    searched(DefinedSpace(conditional), judged, storage=tmp_path / "s")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "s")))
    trials = optuna.load_study(study_name=None, storage=storage).trials
    names = {name for trial in trials for name in trial.params}
    assert len([name for name in names if name.startswith("width")]) == 2
    assert "width" in names and names & {"width of 1, 2", "width of 30, 40, 50"}


def test_starts_and_importances_of_conditional_spaces() -> None:
    first = Choices({"kind": "large", "width": 50, "layers": 3})
    found = searched(DefinedSpace(conditional), judged, 2, start=lambda _rng: [first])
    assert found.history[0].candidate == first
    space = DefinedSpace(
        lambda t: [t.suggest_categorical("w", range(n)) for n in (t.suggest_int("n", 1, 12),)]
    )
    many = searched(space, lambda c: {"size": c["w"], "price": c["n"]})
    assert len(many.history) == 78
    assert {one.name for one in importances(many.history, dict, AXES[0])} == {"n", "w"}
    odd = searched(ChoiceSpace({"k": SETS[6], "b": tuple(range(30))}), lambda c: {"size": c["b"], "price": 1})
    assert {one.name for one in importances(odd.history, dict, AXES[0])} == {"k", "b"}


def test_one_build_that_asks_a_name_with_two_sets_is_told_at_once() -> None:
    def build(trial: DefinedTrial) -> int:
        return int(trial.suggest_categorical("w", (1, 2)) + trial.suggest_categorical("w", (1, 2, 3)))

    with pytest.raises(
        SearchError, match=r"'w' is asked with two sets .* \[1, 2\] and \[1, 2, 3\]; give each"
    ):
        searched(DefinedSpace(build), lambda _: {})


def test_workers_get_tuples_and_refuse_what_they_cannot_be_sent() -> None:
    space = ChoiceSpace({"k": ((3, 3), (5, (5, None))), "n": (np.int64(1), 2), "l": ([1], [2])})
    again = space_from_json(space_to_json(space))
    assert again == space and fingerprint(again) == fingerprint(space)
    with pytest.raises(SearchError, match=r"cannot be sent the option <Colour.RED: 1> of choice 'c'"):
        space_to_json(ChoiceSpace({"c": (Colour.RED, Colour.BLUE)}))


plain = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(("", "1", "True"))


@given(st.lists(plain | st.tuples(plain, plain), min_size=1, max_size=6))
@settings(deadline=None, max_examples=100)
def test_labels_are_plain_distinct_and_lead_back(options: list[Any]) -> None:
    kept = {f"{type(o).__name__} {label_of(o)!r}": o for o in options if not isinstance(o, tuple)}
    kept |= {repr(o): o for o in options if isinstance(o, tuple)}
    labels = labels_of("a", list(kept.values()))
    assert len(set(labels)) == len(labels)
    assert all(label is None or isinstance(label, str | int | float) for label in labels)
    assert [place_of(o, list(kept.values())) for o in kept.values()] == list(range(len(kept)))


@given(st.integers(0, 50))
@settings(deadline=None, max_examples=20)
def test_encoding_and_building_are_inverse(seed: int) -> None:
    import random

    space = LabelledSpace(DefinedSpace(conditional))
    rng = random.Random(seed)
    candidate = space.build(lambda _name, options: rng.choice(options))
    chosen = space.encode(candidate)
    assert space.build(lambda name, _options: chosen[name]) == candidate
    assert list(itertools.islice(chosen, 1)) == ["kind"]
