"""Architectures: digests, names, JSON, bad input."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import architectures, renamed

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import Genotype, published
from mobinas.errors import ArchitectureError


@given(architectures())
@settings(deadline=None, max_examples=40)
def test_json_round_trip(architecture: Architecture) -> None:
    again = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert again == architecture
    assert (again.digest, again.name) == (architecture.digest, architecture.name)


@given(architectures(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_isomorphic_architectures_share_the_digest(a: Architecture, rng: random.Random) -> None:
    body = a.body
    genotype = Genotype(renamed(body.genotype.normal, rng), renamed(body.genotype.reduction, rng))
    b = Architecture(CellBody(genotype, body.depth, body.width, body.stem), a.resolution, a.task)
    assert b.digest == a.digest
    assert b.name == a.name


def test_every_number_changes_the_digest() -> None:
    g = published("DARTS_V2")
    variants = [
        Architecture(CellBody(g, 3, 4), 8, Task(10)),
        Architecture(CellBody(g, 4, 4), 8, Task(10)),
        Architecture(CellBody(g, 3, 6), 8, Task(10)),
        Architecture(CellBody(g, 3, 4), 12, Task(10)),
        Architecture(CellBody(g, 3, 4), 8, Task(11)),
        Architecture(CellBody(g, 3, 4), 8, Task(10, 1)),
        Architecture(CellBody(g, 3, 4, "imagenet"), 32, Task(10)),
        Architecture(CellBody(published("DARTS_V1"), 3, 4), 8, Task(10)),
    ]
    assert len({a.digest for a in variants}) == len(variants)
    assert variants[0].name.startswith("r8-d3-w4-")


@pytest.mark.parametrize(
    ("depth", "reductions"), [(2, (0, 1)), (3, (1, 2)), (5, (1, 3)), (8, (2, 5)), (20, (6, 13))]
)
def test_reductions_lie_at_thirds(depth: int, reductions: tuple[int, int]) -> None:
    assert CellBody(published("DARTS_V2"), depth, 4).reductions == reductions


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda g: CellBody(g, 1, 4), "depth is 1"),
        (lambda g: CellBody(g, 3, 5), "width is 5"),
        (lambda g: CellBody(g, 3, 0), "width is 0"),
        (lambda g: CellBody(g, 3, 4, "vgg"), "stem is 'vgg'; choose from cifar, strided, imagenet"),
        (lambda g: Architecture(CellBody(g, 3, 4), 10, Task(2)), "multiple of 4"),
        (lambda g: Architecture(CellBody(g, 3, 4), 0, Task(2)), "resolution is 0"),
        (lambda g: Architecture(CellBody(g, 3, 4, "imagenet"), 48, Task(2)), "multiple of 32"),
        (lambda _: Task(1), "classes is 1"),
        (lambda _: Task(2, 0), "in_channels is 0"),
    ],
)
def test_bad_architectures(make: Any, text: str) -> None:
    with pytest.raises(ArchitectureError, match=text):
        make(published("DARTS_V2"))


def good() -> dict[str, Any]:
    return Architecture(CellBody(published("DARTS_V2"), 3, 4), 8, Task(10)).to_json()


def changed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    data = good()
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


@pytest.mark.parametrize(
    "data",
    [
        None, [], "x", {},
        changed(("body",), KeyError), changed(("body",), 3), changed(("body", "kind"), "stages"),
        changed(("body", "genotype"), KeyError), changed(("body", "genotype"), {}),
        changed(("body", "depth"), "3"), changed(("body", "depth"), 3.0), changed(("body", "width"), True),
        changed(("body", "width"), KeyError), changed(("body", "extra"), 1), changed(("body", "stem"), None),
        changed(("body", "stem"), ["cifar"]), changed(("resolution",), "8"),
        changed(("resolution",), KeyError),
        changed(("task",), KeyError), changed(("task",), [1]), changed(("task", "classes"), 1),
        changed(("task", "extra"), 1),
    ],
)  # fmt: skip
def test_bad_json(data: Any) -> None:
    with pytest.raises(ArchitectureError):
        Architecture.from_json(data)
