"""Published and own cells take part in a search."""

import itertools
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mobinas.arch.architecture import Task
from mobinas.arch.genotype import published
from mobinas.arch.probabilities import Probabilities
from mobinas.config import load_config
from mobinas.errors import ArchitectureError, ConfigError
from mobinas.pipeline.front import first_candidates
from mobinas.pipeline.load import at_size, genotypes_of
from mobinas.supernet.history import SupernetResult

SPACE = load_config("digits", {"space.ops": "darts", "space.nodes": 4}).space.for_task(Task(10, 1), 8)


class Folder:
    """Keeps artefacts in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def data(self, name: str, make: Any) -> Any:
        return self.kept.setdefault(name, make()) if name not in self.kept else self.kept[name]


def job_of(*names: str) -> Any:
    return SimpleNamespace(config=load_config("digits", {"search.genotypes": list(names)}), folder=Folder())


def test_a_name_and_a_file_give_their_cells(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(published("PDARTS").to_json()), encoding="utf-8")
    job = job_of("DARTS_V2", str(path))
    assert genotypes_of(job, SPACE) == (published("DARTS_V2"), published("PDARTS"))
    path.unlink()
    assert genotypes_of(job, SPACE) == (published("DARTS_V2"), published("PDARTS")), "read once"
    with pytest.raises(ArchitectureError, match=r"cannot read genotype file .*mine\.json"):
        genotypes_of(job_of(str(path)), SPACE)


@pytest.mark.parametrize("text", ["{", "[]", '{"normal": 1, "reduction": 2}'])
def test_a_bad_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArchitectureError, match=r"mine\.json"):
        genotypes_of(job_of(str(path)), SPACE)


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(ArchitectureError, match=r"'DARTS_V3'.*did you mean"):
        genotypes_of(job_of("DARTS_V3"), SPACE)


@pytest.mark.parametrize(
    ("name", "ops", "nodes", "words"),
    [
        ("PDARTS", "darts", 3, "has 4 nodes, the space 3; set space.nodes"),
        (
            "PDARTS",
            ["skip_connect", "conv_3x3"],
            4,
            r"ops that the space lacks \(.*sep_conv_3x3.*add them to",
        ),
        ("AmoebaNet", "all", 5, "is no cell of this space"),
    ],
)
def test_a_genotype_outside_of_the_space_says_why(name: str, ops: Any, nodes: int, words: str) -> None:
    space = load_config("digits", {"space.ops": ops, "space.nodes": nodes}).space.for_task(Task(10, 1), 8)
    with pytest.raises(ConfigError, match=words):
        genotypes_of(job_of(name), space)


def test_the_command_of_the_readme_names_cells_of_its_space() -> None:
    space = load_config("auto", {"space.ops": "darts"}).space.for_task(Task(10, 3), 32)
    job = load_config("auto", {"search.genotypes": ["PDARTS"]})
    assert genotypes_of(SimpleNamespace(config=job, folder=Folder()), space) == (published("PDARTS"),)


def test_they_are_judged_after_the_corners() -> None:
    given = published("PDARTS")
    cells = SupernetResult(Probabilities.uniform(SPACE.op_sets[0], SPACE.nodes), published("DARTS_V2"), ())
    drawn = list(itertools.islice(first_candidates(SPACE, cells, (given,), 0.5, random.Random(0)), 20))
    first = [
        *SPACE.single_op_architectures(),
        *(at_size(SPACE, published("DARTS_V2"), pick) for pick in (min, max)),
    ]
    assert drawn[: len(first) + 2] == [*first, at_size(SPACE, given, min), at_size(SPACE, given, max)]
    assert all(SPACE.contains(architecture) for architecture in drawn)
