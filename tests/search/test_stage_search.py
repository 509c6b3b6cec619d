"""Searches over networks of stages: every sampler, importances, and a resume."""

import random
from pathlib import Path

import pytest
from small_search import SAMPLERS

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.stage_choices import StageChoices
from mobinas.arch.stage_presets import stage_preset
from mobinas.arch.stage_space import StageSpace
from mobinas.errors import ArchitectureError
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.objective import Objective
from mobinas.search.cell_features import cell_features
from mobinas.search.importance import importances
from mobinas.search.study import pareto_search

SPACE = StageSpace(
    Task(10, 1),
    (16, 24),
    (8, 16),
    (
        StageChoices((16, 24), (0, 1, 2), ("conv", "mbconv", "rep")),
        StageChoices((32, 48), (1, 2), ("ds", "mbconv", "fused"), (2,)),
    ),
)
OBJECTIVES = (Objective("skill", "maximize"), Objective("macs", "minimize"))


def evaluate(architecture: Architecture) -> dict[str, float]:
    """The wider the last stage, and with inverted bottlenecks, the better."""
    last = architecture.stages.stages[-1]
    skill = last.width / 48 + 0.2 * (last.block == "mbconv") + 0.01 * last.expansion
    return {"skill": skill, "macs": float(cost(lower(architecture)).macs)}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_searches_stages(sampler: str) -> None:
    result = pareto_search(SPACE, evaluate, OBJECTIVES, n_trials=12, sampler=sampler, seed=3, n_start=8)
    digests = [e.candidate.digest for e in result.history]
    assert len(set(digests)) == len(digests) == 12
    assert all(SPACE.contains(e.candidate) for e in result.history)
    assert result.members


def test_a_search_over_stages_resumes(tmp_path: Path) -> None:
    for trials in (10, 14):
        parts = pareto_search(
            SPACE, evaluate, OBJECTIVES, n_trials=trials, n_start=6, storage=tmp_path / "study"
        )
    whole = pareto_search(SPACE, evaluate, OBJECTIVES, n_trials=14, n_start=6)
    assert [e.candidate for e in parts.history] == [e.candidate for e in whole.history]


def test_a_small_space_is_searched_to_its_end() -> None:
    small = StageSpace(
        Task(10, 1), (16,), (8,), (StageChoices((16,), (0, 1), ("conv", "rep", "ds"), se=(False,)),)
    )
    result = pareto_search(small, evaluate, OBJECTIVES, n_trials=50, n_start=4)
    assert len(result.history) == small.size() == 1 + 2 + 1 + 2


def test_importances_tell_which_choices_decide() -> None:
    rng = random.Random(0)
    drawn = [SPACE.sample(rng) for _ in range(200)]
    history = [Evaluation(a, {k: Value(v) for k, v in evaluate(a).items()}) for a in drawn]
    found = {one.name: one for one in importances(history, SPACE.encode, OBJECTIVES[0])}
    assert found["stage1.width"].is_clear
    assert found["stage1.block"].is_clear
    assert found["stage1.width"].weight > 3 * found["stage0.width"].weight


def test_a_preset_is_searched() -> None:
    space = stage_preset("tiny", Task(10, 1))
    result = pareto_search(
        space, evaluate, OBJECTIVES, n_trials=12, n_start=6, constraints={"macs": "<= 5e7"}, sampler="tpe"
    )
    assert all(e["macs"] <= 5e7 for e in result.members)


def test_what_works_on_cells_alone_says_so() -> None:
    with pytest.raises(ArchitectureError, match="made of stages; this works on cells alone"):
        cell_features(SPACE.sample(random.Random(0)), ("conv_3x3",))
