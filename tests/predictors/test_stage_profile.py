"""Profiles of spaces of stages: what is measured covers them, and what is predicted lies within."""

import random

import numpy as np

from mobinas.arch.architecture import Task
from mobinas.arch.stage_choices import StageChoices
from mobinas.arch.stage_presets import stage_preset
from mobinas.arch.stage_space import StageSpace
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.targets.target import Target
from predictors.measure import measure
from predictors.models.latency import LatencyPredictor
from predictors.sampling import sample_for_profile

TASK = Task(10, 1)


def test_the_largest_and_the_smallest_come_first() -> None:
    space = stage_preset("tiny", TASK)
    models = sample_for_profile(space, 12, random.Random(0))
    assert len({model.digest for model in models}) == 12
    assert all(space.contains(model) for model in models)
    largest, smallest = (model.stages for model in models[:2])
    assert [models[0].resolution, models[1].resolution] == [32, 8]
    assert [stage.depth for stage in largest.stages] == [2, 3, 2]
    assert [stage.width for stage in largest.stages] == [32, 64, 128]
    assert [stage.block for stage in smallest.stages][::2] == ["identity", "identity"]


def test_a_small_space_is_taken_whole() -> None:
    space = StageSpace(TASK, (16,), (8,), (StageChoices((16,), (0, 1), ("conv", "rep"), se=(False,)),))
    assert len(sample_for_profile(space, 50, random.Random(0))) == space.size() == 4


def test_a_profile_predicts_other_networks_of_the_space() -> None:
    models = sample_for_profile(stage_preset("tiny", TASK), 26, random.Random(0))
    known, others = models[:18], models[18:]
    measured = measure(models, Target.fake())
    predicted = LatencyPredictor.fit(known, measured[:18]).predict(others)
    seen_s = np.array([one.median_s for one in measured[18:]])
    assert predicted.in_distribution.mean() >= 0.75
    assert np.median(np.abs(predicted.mean_s / seen_s - 1)) < 0.15
    macs = [cost(lower(model)).macs for model in others]
    assert np.corrcoef(np.argsort(np.argsort(macs)), np.argsort(np.argsort(predicted.mean_s)))[0, 1] > 0.5
