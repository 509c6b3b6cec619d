"""Uneven classes: what is told of a model that never answers the rare one, and who decides about it."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, recall_score
from torch import nn
from typer.testing import CliRunner

from exporters.bundle import ExportBundle
from mobinas.cli import app
from mobinas.config import load_config
from mobinas.errors import MobinasError
from mobinas.metrics.objective import Metric
from mobinas.metrics.result import SearchResult
from mobinas.pipeline.family import search_family
from mobinas.pipeline.front_file import FrontRow, load_front
from mobinas.pipeline.job import run
from mobinas.pipeline.run_folder import RunFolder
from mobinas.search.choice_space import Choices
from mobinas.search.define_by_run import DefinedTrial
from mobinas.train.data import load_data
from mobinas.train.recipe import Recipe
from mobinas.train.splits import Splits, split

COMMON, RARE = 100, 10


def write_data(folder: Path) -> Path:
    """Rare pictures are bright, and so are three in ten of the common ones."""
    rng = np.random.default_rng(0)
    levels = [40] * (COMMON * 7 // 10) + [200] * (COMMON * 3 // 10 + RARE)
    images = np.array(levels)[:, None, None] + rng.integers(0, 40, (COMMON + RARE, 8, 8))
    labels = np.repeat([0, 1], [COMMON, RARE])
    path = folder / "uneven.npz"
    np.savez(path, images=images.astype(np.uint8), labels=labels, classes=np.array(["common", "rare"]))
    return path


def build(trial: DefinedTrial) -> nn.Module:
    """A fast network that always answers 'common', and a slower one that calls bright pictures rare."""
    kind = trial.suggest_categorical("kind", ("blind", "keen"))
    last = nn.Linear(1, 2)
    with torch.no_grad():
        last.weight.copy_(torch.tensor([[0.0], [0.0 if kind == "blind" else 9.0]]))
        last.bias.copy_(torch.tensor([1.0, 0.0]))
    more = [] if kind == "blind" else [nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 1)]
    for conv in more:
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)
    return nn.Sequential(*more, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)


def search(data: Path, out: Path, metric: Metric) -> SearchResult[Choices]:
    # So small a rate leaves the weights as they are.
    recipe = Recipe(epochs=1, learning_rate=1e-12, weight_decay=0.0)
    settings: dict[str, Any] = {"n_trials": 2, "n_start": 2, "rounds": 2, "recipe": recipe, "metric": metric}
    return search_family(build, data=str(data), out=out, target="fake", **settings)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def by_accuracy(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "accuracy"
    search(data, directory, "accuracy")
    return directory


@pytest.fixture(scope="module")
def by_recalls(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "balanced"
    search(data, directory, "balanced_accuracy")
    return directory


def parts_of(data: Path) -> Splits:
    return split(load_data(str(data)), seed=0)


def answered(directory: Path, row: FrontRow, data: Path, part: str) -> tuple[list[int], list[int]]:
    """Labels and answers, by the file alone."""
    splits = parts_of(data)
    images = getattr(splits, part)
    session = onnxruntime.InferenceSession(directory / row.onnx)
    shown = images.at(session.get_inputs()[0].shape[-1])
    (logits,) = session.run(None, {"image": splits.normalisation(shown).numpy()})
    return images.labels.tolist(), logits.argmax(1).tolist()


def test_the_metric_decides_membership_and_pick(by_accuracy: Path, by_recalls: Path) -> None:
    (blind,) = load_front(by_accuracy).rows
    assert blind.metric == "accuracy" and blind.classes_answered == 1 and blind.pick
    fast, keen = load_front(by_recalls).rows
    assert fast.digest == blind.digest and keen.pick and not fast.pick
    assert keen.accuracy < fast.accuracy
    assert keen.balanced_accuracy is not None and keen.balanced_accuracy > 0.8
    assert keen.metric == "balanced_accuracy" and keen.classes_answered == keen.classes == 2
    latency = keen.latency_ms**-0.07
    assert keen.score == pytest.approx(keen.balanced_accuracy * latency) and keen.warning == ""
    assert load_front(by_recalls).pick(1e9).name == keen.name


def test_the_record_says_balanced_accuracy_with_its_deviation(data: Path, by_recalls: Path) -> None:
    again = search(data, by_recalls, "balanced_accuracy")
    assert [axis.name for axis in again.objectives] == ["balanced_accuracy", "latency_s"]
    rare = int((parts_of(data).select.labels == 1).sum())
    for evaluation in again.history:
        found = evaluation.values["balanced_accuracy"]
        # A class of so few pictures alone makes half of its recall's deviation.
        assert found.std is not None and found.std > 0.5 * ((rare + 1) / (rare + 2) ** 2 / (rare + 3)) ** 0.5


@pytest.mark.parametrize("part", ["select", "test"])
def test_the_tables_tell_what_the_files_answer(data: Path, by_recalls: Path, part: str) -> None:
    with (by_recalls / "recall.csv").open(encoding="utf-8", newline="") as file:
        recalls = list(csv.DictReader(file))
    with (by_recalls / "confusion.csv").open(encoding="utf-8", newline="") as file:
        pairs = list(csv.DictReader(file))
    for row in load_front(by_recalls).rows:
        labels, answers = answered(by_recalls, row, data, part)
        wanted = recall_score(labels, answers, average=None)
        own = [r for r in recalls if (r["model"], r["part"]) == (row.name, part)]
        assert [r["class"] for r in own] == ["common", "rare"]
        assert [float(r["recall"]) for r in own] == pytest.approx(wanted.tolist())
        assert [int(r["images"]) for r in own] == [labels.count(0), labels.count(1)]
        assert all(float(r["ci_low"]) <= float(r["recall"]) <= float(r["ci_high"]) for r in own)
        counted = {(r["class"], r["answered"]): int(r["images"]) for r in pairs if r["model"] == row.name}
        assert sum(counted.values()) >= len(labels)
        told = row.balanced_accuracy if part == "select" else row.test_balanced_accuracy
        assert told == pytest.approx(balanced_accuracy_score(labels, answers))


def test_a_manifest_alone_tells_the_figures_and_its_files_still_verify(by_accuracy: Path) -> None:
    (row,) = load_front(by_accuracy).rows
    results = ExportBundle.load((by_accuracy / row.onnx).parent).manifest["results"]
    assert results["metric"] == "accuracy" and results["never_answered"] == ["rare"]
    assert results["test"]["accuracy"] == row.test_accuracy
    assert results["test"]["balanced_accuracy"] == row.test_balanced_accuracy == 0.5
    low, high = results["test"]["balanced_accuracy_interval"]
    assert (low, high) == (row.test_balanced_ci_low, row.test_balanced_ci_high) and low < 0.5 < high
    common, rare = results["select"]["classes"]
    assert common["class"] == "common" and common["recall"] == 1 and common["right"] == common["images"]
    assert rare["class"] == "rare" and rare["recall"] == 0 and rare["answered"] == 0


def test_everything_that_is_printed_says_that_the_rare_class_is_never_answered(by_accuracy: Path) -> None:
    sentence = f"never answers 'rare' ({RARE} of {COMMON + RARE} pictures): answers 1 of 2 classes"
    page = (by_accuracy / "report.html").read_text(encoding="utf-8").replace("&#x27;", "'")
    distrust = page.partition("What to distrust")[2]
    assert sentence in distrust and "search.metric = &quot;balanced_accuracy&quot;" in distrust
    assert f"It {sentence}" in page.partition("The trade-off")[0], "in the first answers"
    assert "balanced test accuracy" in page and "class by class" in page
    assert (by_accuracy / "plots" / "recall.png").stat().st_size > 0
    said = CliRunner().invoke(app, ["pick", str(by_accuracy)])
    assert said.exit_code == 0 and sentence in said.output and "(50.0% balanced)" in said.output
    assert load_front(by_accuracy).rows[0].warning == sentence


def test_the_page_names_the_metric_that_decided(by_recalls: Path) -> None:
    page = (by_recalls / "report.html").read_text(encoding="utf-8")
    assert "come from the balanced accuracy on the selection part" in page
    assert "judged by balanced accuracy" in page
    assert "search.metric =" not in page, "it is set already"


def test_another_metric_is_refused_once_it_has_judged(data: Path, by_accuracy: Path, tmp_path: Path) -> None:
    with pytest.raises(MobinasError, match=r"search\.metric was 'accuracy' there, now 'balanced_accuracy'"):
        search(data, by_accuracy, "balanced_accuracy")
    begun = tmp_path / "begun"
    shutil.copytree(by_accuracy, begun)
    index = json.loads((begun / "artefacts.json").read_text())
    for name in ("front.json", "test.json"):
        (begun / name).unlink()
        del index[name]
    (begun / "artefacts.json").write_text(json.dumps(index))
    journal = (begun / "study.journal").read_bytes()
    with pytest.raises(MobinasError, match="objective"):
        search(data, begun, "balanced_accuracy")
    assert (begun / "study.journal").read_bytes() == journal
    search(data, begun, "accuracy")
    assert load_front(begun).rows == load_front(by_accuracy).rows


def test_a_folder_of_an_earlier_version_gains_what_it_lacked(
    data: Path, by_accuracy: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(by_accuracy, old)
    _rewrite(old, "test.json", lambda tested: {name: [9, 22] for name in tested})
    _rewrite(
        old, "front.json", lambda front: {**front, "confirmed": [_before(c) for c in front["confirmed"]]}
    )
    measured = (old / "measurements.jsonl").read_bytes()
    search(data, old, "accuracy")
    assert load_front(old).rows == load_front(by_accuracy).rows
    assert (old / "measurements.jsonl").read_bytes() == measured


def _before(confirmed: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in confirmed.items() if name not in ("select", "balanced_accuracy")}


def _rewrite(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Changes an artefact, as its maker would have written it."""
    path = folder / name
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with RunFolder(folder, (folder / "job.toml").read_text()) as opened:
        opened.finish(name)


def test_a_torn_manifest_is_made_again_with_the_same_model(
    data: Path, by_accuracy: Path, tmp_path: Path
) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(by_accuracy, torn)
    (row,) = load_front(torn).rows
    model, manifest = torn / row.onnx, (torn / row.onnx).with_name("manifest.json")
    before, told = model.read_bytes(), json.loads(manifest.read_text())["results"]
    manifest.write_text(manifest.read_text()[:-9])
    search(data, torn, "accuracy")
    assert model.read_bytes() == before and json.loads(manifest.read_text())["results"] == told
    assert load_front(torn).rows == load_front(by_accuracy).rows


@pytest.mark.slow  # a whole job
def test_a_whole_job_is_decided_by_the_mean_recall(data: Path, tmp_path: Path) -> None:
    shrunk = {"search.trials": 4, "search.baseline_trials": 2, "train.finalists": 2, "train.baselines": ()}
    config = load_config("smoke", {"data": str(data), "search.metric": "balanced_accuracy", **shrunk})
    front = run(config, tmp_path / "run")
    for journal in ("study.journal", "random.journal", "around-sizes.journal", "around-cells.journal"):
        told = (tmp_path / "run" / journal).read_text(encoding="utf-8")
        assert '"balanced_accuracy"' in told and '"accuracy"' not in told
    frozen = json.loads((tmp_path / "run" / "front.json").read_text(encoding="utf-8"))
    points = [(c["balanced_accuracy"], c["latency_s"]) for c in frozen["confirmed"]]
    for row in front.rows:
        labels, answers = answered(tmp_path / "run", row, data, "select")
        assert row.decisive == pytest.approx(balanced_accuracy_score(labels, answers))
        place = row.decisive, row.latency_ms / 1e3
        assert not any(a > place[0] and s < place[1] for a, s in points)
    assert [row.name for row in front.rows if row.pick] == [front.pick().name]
