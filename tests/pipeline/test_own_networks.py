"""Networks of users, and trainings of single ones that fail."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mobinas.config import JobConfig, checked, dump_toml
from mobinas.errors import Diverged, SearchError
from mobinas.pipeline.context import Contender, Job
from mobinas.pipeline.family import search_family
from mobinas.pipeline.load import load
from mobinas.pipeline.own_networks import check_logits, uncompiled
from mobinas.pipeline.run_folder import RunFolder
from mobinas.pipeline.train import diverged_names, train_contenders, train_epochs
from mobinas.progress import Progress, silent
from mobinas.search.define_by_run import DefinedTrial
from mobinas.targets.target import Target
from mobinas.train.recipe import Recipe


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @contextmanager
    def step(self, _number: int, _total: int, _title: str) -> Iterator[Progress]:
        yield silent

    def note(self, text: str) -> None:
        self.told.append(text)


class Viewing(nn.Module):
    """Cannot take channels_last, is made lazily, counts its images by len, and computes in double."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3).double()
        self.linear = nn.LazyLinear(10, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(self.conv(x).view(len(x), -1))
        return result


class Answering(nn.Module):
    """Answers a dict."""

    def forward(self, x: Tensor) -> Any:
        return {"logits": x}


class Exploding(nn.Module):
    """Whose loss is not finite in training."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.flatten(1))
        return logits * torch.inf if self.training else logits


def plain() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_each_is_trained_as_its_code_allows_or_fails_by_itself(tmp_path: Path) -> None:
    kinds = {"plain": plain, "viewing": Viewing, "answering": Answering, "exploding": Exploding}

    def build(trial: DefinedTrial) -> nn.Module:
        return kinds[trial.suggest_categorical("kind", tuple(kinds))]()

    notes = Notes()
    result = search_family(
        build,
        data="digits",
        out=tmp_path,
        n_trials=4,
        target="fake",
        recipe=Recipe(epochs=1),
        rounds=2,
        reporter=notes,
    )
    found = {e.candidate["kind"]: e for e in result.history}
    assert found["answering"].reason.endswith(
        "the network returns a dict; let its forward return the logits alone, a tensor "
        "[images, 10 classes], in evaluation mode"
    )
    assert "Diverged" in found["exploding"].reason and "not finite" in found["exploding"].reason
    assert not found["plain"].error and not found["viewing"].error
    for kind, layout in (("plain", "channels_last"), ("viewing", "contiguous")):
        history = json.loads((tmp_path / "trained" / f"{found[kind].candidate.name}.json").read_text())
        assert history["layout"] == layout
    assert any("trained in contiguous layout" in note for note in notes.told)
    page = (tmp_path / "report.html").read_text()
    assert "memory layout" in page and "2 of them failed" in page


@contextmanager
def job_in(folder: Path) -> Iterator[tuple[Job, Notes]]:
    config: JobConfig = checked({"images": {"limit": 100}, "train": {"epochs": 1, "workers": 1}})
    notes = Notes()
    with RunFolder(folder, dump_toml(config, folder)) as run_folder:
        yield Job(config, run_folder, Target.fake(), torch.device("cpu"), notes), notes


def contender(name: str, make: Any) -> Contender:
    return Contender(name, name, 8, own=make)


def test_a_finalist_that_diverges_is_left_out_and_not_trained_again(tmp_path: Path) -> None:
    made: list[str] = []

    def exploding() -> nn.Module:
        made.append("exploding")
        return Exploding()

    both = (contender("good", plain), contender("bad", exploding))
    for k in range(2):
        with job_in(tmp_path) as (job, notes):
            splits = load(job)
            assert list(train_contenders(job, both, splits, silent)) == ["good"]
            assert diverged_names(job) == ["bad"]
            told = [note for note in notes.told if note.startswith("bad is left out: training: the loss")]
            assert len(told) == (1 if k == 0 else 0)
            trained = len(made)
            with pytest.raises(Diverged, match="not finite in epoch 1, also at half"):
                train_contenders(job, both[1:], splits, silent)
            with pytest.raises(Diverged, match="not finite"):
                train_epochs(job, both, splits, silent)
            assert len(made) == trained


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:DeprecationWarning")
def test_compiled_modules_are_taken_as_they_are_written() -> None:
    whole = plain()
    assert uncompiled(torch.compile(whole, backend="eager")) is whole  # type: ignore[arg-type]
    inner = nn.Linear(2, 2)
    outer = nn.Sequential(nn.Sequential(torch.compile(inner, backend="eager")), inner)  # type: ignore[arg-type]
    outer.compile(backend="eager")
    plainly = uncompiled(outer)
    assert plainly[0][0] is inner and plainly._compiled_call_impl is None
    with pytest.raises(SearchError, match="Linear is scripted, which"):
        uncompiled(nn.Sequential(torch.jit.script(nn.Linear(2, 2))))


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ((torch.zeros(2, 3), torch.zeros(2, 3)), "returns a tuple"),
        (None, "returns a NoneType"),
        (torch.zeros(2, 5), r"the shape \[2, 5\] for 2 image\(s\); it must be \[2, 3\]"),
        (torch.zeros(2, 3, 1, 1), r"\[2, 3, 1, 1\]"),
        (torch.zeros(3), r"\[3\]"),
    ],
)
def test_what_is_no_classifier_is_refused(output: Any, text: str) -> None:
    check_logits(torch.zeros(2, 3), 2, 3)
    with pytest.raises(SearchError, match=text):
        check_logits(output, 2, 3)
