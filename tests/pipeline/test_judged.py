"""On which images candidates are judged, and by what, for either metric."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seen_points import seen_of, some_points

from mobinas.arch.architecture import Task
from mobinas.arch.space import SearchSpace
from mobinas.config import load_config
from mobinas.errors import ConfigError
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.front import ParetoFront
from mobinas.metrics.objective import Metric, trade_off
from mobinas.metrics.result import SearchResult
from mobinas.metrics.score import score
from mobinas.pipeline.background import front_words
from mobinas.pipeline.comparisons import Comparisons
from mobinas.pipeline.front import judge_of
from mobinas.pipeline.judged import judged_value, judging_subset
from mobinas.pipeline.load import subset
from mobinas.pipeline.why_info import corner_of
from mobinas.search.samplers.reinforce import rewards
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.train.splits import Normalisation, Part, Splits

SPACE = SearchSpace(Task(2, 1), (8,), (2,), (2,), (("skip_connect", "max_pool_3x3"),), nodes=1)


def part(*sizes: int, seed: int = 0) -> Part:
    """Random images, so many of each class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.full((n,), k) for k, n in enumerate(sizes)])
    order = torch.randperm(len(labels), generator=generator)
    images = torch.randint(256, (len(labels), 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Part(images, labels[order])


def counts(found: Part) -> list[int]:
    return torch.bincount(found.labels).tolist()


@pytest.mark.parametrize(
    ("sizes", "n", "wanted"),
    [
        ((1000, 1), 100, [99, 1]),  # 1 : 1000, and one picture alone
        ((500, 30, 3), 60, [29, 28, 3]),  # what small classes cannot fill is shared by the others
        ((50, 50), 20, [10, 10]),
        ((5, 4, 3, 2), 2, [1, 1, 1, 1]),  # fewer than classes: one of each
        ((9, 1), 10, [9, 1]),
    ],
)
def test_a_mean_of_recalls_is_taken_on_some_of_each_class(
    sizes: tuple[int, ...], n: int, wanted: list[int]
) -> None:
    whole = part(*sizes)
    found = judging_subset(whole, n, "balanced_accuracy", 0)
    assert counts(found) == wanted
    again, other = (judging_subset(whole, n, "balanced_accuracy", seed) for seed in (0, 1))
    assert torch.equal(found.images, again.images)
    assert len(found) == len(whole) or not torch.equal(found.images, other.images)


def test_an_accuracy_is_taken_on_any_images() -> None:
    whole = part(100, 10)
    found, drawn = judging_subset(whole, 30, "accuracy", 3), subset(whole, 30, 3)
    assert torch.equal(found.images, drawn.images) and torch.equal(found.labels, drawn.labels)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_inherited_weights_are_judged_by_the_jobs_metric(metric: Metric) -> None:
    config = load_config("smoke", {"search.metric": metric, "search.select_images": 20})
    parts = [part(40, 3, seed=seed) for seed in range(4)]
    splits = Splits(*parts, ("common", "rare"), Normalisation((0.5,), (0.3,)))
    supernet, architecture = ElasticSupernet(SPACE, 0), SPACE.sample(random.Random(0))
    values = judge_of(config, torch.device("cpu"), splits, supernet)(architecture)
    chosen = judging_subset(splits.select, 20, metric, config.seed)
    answers = supernet.judge(architecture, splits.training, chosen, normalisation=splits.normalisation)
    assert dict(values) == {metric: judged_value(answers, metric, "inherited")}
    assert values[metric].std == answers.share(metric).std and values[metric].source == "inherited"


def test_an_unknown_metric_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"search\.metric.*choose from accuracy, balanced_accuracy.*'f1'"):
        load_config("smoke", {"search.metric": "f1"})


def evaluated(name: str, share: float, latency_s: float) -> Evaluation[Any]:
    values = {"balanced_accuracy": Value(share), "latency_s": Value(latency_s, "s")}
    return Evaluation(SimpleNamespace(name=name, digest=name), values)


def test_score_hypervolume_and_words_follow_the_metric() -> None:
    axes = trade_off("balanced_accuracy")
    history = (evaluated("fast", 0.5, 1e-5), evaluated("good", 0.9, 2e-5))
    searched = SearchResult(axes, ParetoFront.of(history, axes), history)
    assert searched.best_score().candidate.name == "good"
    assert corner_of(searched, Comparisons(None, {})) == {"balanced_accuracy": 0.0, "latency_s": 2e-5}
    job: Any = SimpleNamespace(config=load_config("smoke", {"search.metric": "balanced_accuracy"}))
    assert "judged by balanced accuracy" in front_words(job, searched)


def test_a_learned_controller_is_rewarded_by_the_score_of_either_metric() -> None:
    losses = [(-0.9, 1e-3), (-0.6, 5e-4), (-0.7, 2e-3)]
    plain, balanced = (
        rewards(seen_of(some_points(3), losses, metrics=(metric, "latency_s"))).tolist()
        for metric in ("accuracy", "balanced_accuracy")
    )
    known = [score(-loss, latency_s) for loss, latency_s in losses]
    assert plain == balanced
    assert sorted(range(3), key=known.__getitem__) == sorted(range(3), key=balanced.__getitem__)
