"""Networks of one's own, from a build function to measured files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from exporters.bundle import ExportBundle
from mobinas.errors import Infeasible, SearchError
from mobinas.pipeline.confirm import OBJECTIVES
from mobinas.pipeline.family import search_family
from mobinas.pipeline.profile import MEASUREMENTS
from mobinas.search.define_by_run import DefinedTrial
from mobinas.train.recipe import Recipe

FAST: dict[str, Any] = {
    "data": "digits",
    "target": "fake",
    "recipe": Recipe(epochs=1),
    "rounds": 2,
    "n_start": 2,
}


def build(trial: DefinedTrial) -> nn.Module:
    width = trial.suggest_int("width", 4, 8, step=4)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 10))


def test_every_candidate_is_a_verified_file_that_was_measured(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    result = search_family(build, out=tmp_path, n_trials=5, **FAST)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert result.exhausted and len(result.history) == 2
    measured = [json.loads(line) for line in (tmp_path / MEASUREMENTS).read_text().splitlines()]
    for evaluation in result.history:
        bundle = ExportBundle.load(tmp_path / "models" / evaluation.candidate.name)
        assert any(bundle.model_sha256 in json.dumps(line) for line in measured)
        sources = [evaluation.values[axis.name].source for axis in OBJECTIVES]
        assert sources == ["trained", "measured"]
    logged = (tmp_path / MEASUREMENTS).read_bytes()
    again = search_family(build, out=tmp_path, n_trials=5, **FAST)
    assert again.front == result.front
    assert (tmp_path / MEASUREMENTS).read_bytes() == logged, "nothing is done again"


def test_what_cannot_be_meant_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"returned a int; return a torch\.nn\.Module"):
        search_family(lambda trial: trial.suggest_int("a", 1, 2), out=tmp_path / "a", n_trials=1, **FAST)  # type: ignore[arg-type]
    with pytest.raises(Infeasible, match="latency_s <= 1e-12"):
        search_family(build, out=tmp_path / "b", n_trials=2, max_latency_s=1e-12, **FAST)
