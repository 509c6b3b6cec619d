"""Spaces of named choices, and what works on every space."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import spaces

from mobinas.errors import SearchError
from mobinas.search.choice_space import Choices, ChoiceSpace, enumerate_space, fingerprint, recorded
from mobinas.search.constraints import Constraint, parse_constraints


@st.composite
def choice_spaces(draw: st.DrawFn) -> ChoiceSpace:
    names = draw(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=4, unique=True))
    option = st.none() | st.integers(0, 9) | st.sampled_from(("", "x", "é"))
    options = st.lists(option, min_size=1, max_size=3, unique=True)
    return ChoiceSpace({name: tuple(draw(options)) for name in names})


@given(choice_spaces(), st.integers())
@settings(deadline=None, max_examples=40)
def test_encoding_and_building_are_inverse(space: ChoiceSpace, seed: int) -> None:
    rng = random.Random(seed)
    candidate, chosen = recorded(space, lambda _name, options: rng.choice(options))
    assert dict(candidate) == chosen == space.encode(candidate)
    again = space.build(lambda name, _options: chosen[name])
    assert again == candidate
    assert (again.digest, hash(again)) == (candidate.digest, hash(candidate))


@given(choice_spaces())
@settings(deadline=None, max_examples=40)
def test_enumeration_is_complete_and_without_repetition(space: ChoiceSpace) -> None:
    digests = [candidate.digest for candidate, _ in enumerate_space(space, 1000)]
    assert len(digests) == len(set(digests)) == space.size()


def test_enumeration_follows_choices_that_depend_on_others() -> None:
    class Conditional:
        def build(self, choose: object) -> Choices:
            first = choose("kind", ("leaf", "branch"))  # type: ignore[operator]
            depth = choose("depth", (1, 2, 3)) if first == "branch" else 0  # type: ignore[operator]
            return Choices({"kind": first, "depth": depth})

        def encode(self, candidate: Choices) -> dict[str, object]:
            return dict(candidate)

    found = [tuple(candidate.values()) for candidate, _ in enumerate_space(Conditional(), 10)]
    assert found == [("leaf", 0), ("branch", 1), ("branch", 2), ("branch", 3)]


def test_search_spaces_enumerate_to_their_size() -> None:
    from mobinas.arch.architecture import Task
    from mobinas.arch.space import SearchSpace

    sets = (("skip_connect", "conv_3x3"), ("avg_pool_3x3",))
    space = SearchSpace(Task(2), (4, 8), (2,), (2, 4), sets, nodes=2)
    encodings = [tuple(choices.items()) for _, choices in enumerate_space(space, 10**5)]
    assert len(encodings) == len(set(encodings)) == space.size()


@given(spaces(), spaces())
@settings(deadline=None, max_examples=40)
def test_fingerprints_tell_spaces_apart(a: object, b: object) -> None:
    assert (fingerprint(a) == fingerprint(b)) == (a == b)


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({}, "at least one choice"),
        ({"a": ()}, "at least one"),
        ({"a": "xyz"}, "give a sequence"),
        ({"a": {1, 2}}, "give a sequence"),
        ({"a": 3}, "has options 3; give a sequence"),
        ([("a", (1, 2))], "a mapping from name to options"),
        ({"a": (1, 1)}, "repeats an option"),
        ({"a": (object(),)}, "without a fixed text"),
        ({"a": (lambda: 0, 1)}, "without a fixed text"),
        ({"a": ((3, 3), (3, 3))}, "repeats an option"),
        ({"a": (float("nan"),)}, "not finite"),
    ],
)
def test_bad_spaces(choices: dict[str, object], text: str) -> None:
    with pytest.raises(SearchError, match=text):
        ChoiceSpace(choices)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("candidate", "text"),
    [
        ({"a": 1}, "choice 'b' must be one of"),
        ({"a": 3, "b": 1}, "choice 'a'"),
        ({"c": 1}, "unknown choice 'c'"),
    ],
)
def test_bad_candidates(candidate: dict[str, int], text: str) -> None:
    with pytest.raises(SearchError, match=text):
        ChoiceSpace({"a": (1, 2), "b": (1, 2)}).encode(candidate)


def test_both_spellings_of_a_constraint() -> None:
    specs = {"latency_s": "<= 8e-3", "accuracy": (">=", 0.9)}
    assert parse_constraints(specs) == (
        Constraint("latency_s", "<=", 0.008),
        Constraint("accuracy", ">=", 0.9),
    )
    assert parse_constraints(None) == ()


@given(st.sampled_from(["<=", ">="]), st.floats(-10, 10), st.floats(-10, 10))
def test_violation_and_verdict_agree(relation: str, bound: float, x: float) -> None:
    constraint = Constraint("x", relation, bound)  # type: ignore[arg-type]
    if constraint.violation(x) > 0:
        assert not constraint.met_by(x)
    if constraint.met_by(x):
        assert constraint.violation(x) <= 0
