"""Our own files are known again, whole, older, or cut off at any byte."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from small_search import AXES, SMALL, answer

from exporters.bundle import _is_our_manifest, export_bundle
from mobinas.content import alike, is_our_onnx, is_our_page, is_our_picture, is_our_state
from mobinas.files import write_atomic
from mobinas.graph.lowering import lower
from mobinas.locks import check_lock
from mobinas.nets.module import GraphModule
from mobinas.pipeline.front_file import write_front
from mobinas.pipeline.run_folder import RunFolder, _is_index, _is_owner
from mobinas.report.figures import png
from mobinas.search.journal import STUDY_NAME, journal_state
from mobinas.search.study import pareto_search
from mobinas.targets.target import Target
from mobinas.testing import sample
from mobinas.train.checkpoint import load_state, save_state
from predictors.runners import MeasuringPlan, ModelFile
from predictors.runners.kit import check_kit_place, write_kit


def cuts(data: bytes) -> list[int]:
    """Every byte of the beginning, where files tell who made them, and some of the rest."""
    return [*range(1, min(len(data), 400)), *range(400, len(data), max(1, len(data) // 99)), len(data)]


def search(path: Path, n: int = 4, **more: Any) -> list[str]:
    found = pareto_search(SMALL, answer, AXES, n_trials=n, sampler="random", storage=path, **more)
    return [e.candidate.digest for e in found.history]


def test_a_journal_cut_at_any_byte_is_known_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "study"
    expected = search(path)
    whole = path.read_bytes()
    for end in cuts(whole):
        path.write_bytes(whole[:end])
        assert journal_state(path, STUDY_NAME) != "foreign", end
    lines = [k + 1 for k, byte in enumerate(whole) if byte == ord("\n")]
    for end in {1, 40, *(at + step for at in lines[:5] for step in (-1, 0, 1)), len(whole) - 1}:
        path.write_bytes(whole[:end] + b"\0" * (end % 3))
        assert search(path) == expected, end


def shared(path: Path) -> None:
    more: dict[str, Any] = {"sampler": "random", "storage": path, "workers": 0, "timeout_s": 0.0}
    pareto_search(SMALL, "worker_job:evaluate", AXES, n_trials=1, study="job/front", **more)


def test_a_journal_of_workers_cut_at_any_byte_is_known(tmp_path: Path) -> None:
    path = tmp_path / "study"
    shared(path)
    whole = path.read_bytes()
    for end in cuts(whole):
        path.write_bytes(whole[:end])
        assert journal_state(path, "job/front") != "foreign", end
    for end in (60, whole.index(b"\n") - 1, whole.index(b"\n") + 1, len(whole) - 3):
        path.write_bytes(whole[:end])
        shared(path)
        assert path.read_bytes().count(b"\n") >= whole.count(b"\n")


def front(path: Path) -> None:
    write_front(path, ())


def kit(path: Path) -> None:
    write_kit(path, [ModelFile.of(sample(0))], Target.fake(), MeasuringPlan())


def picture(path: Path) -> None:
    write_atomic(path, png(Figure(figsize=(1, 1)).add_subplot()))


def arrays(path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, scale=np.ones(3), noise=np.ones(2), length=np.ones(9))
    write_atomic(path, buffer.getvalue())


def state(path: Path) -> None:
    save_state(path, {"network": "a", "seed": "1"}, {"weights": torch.ones(300), "epoch": 2})


def weights(path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(torch.nn.Sequential(torch.nn.BatchNorm1d(8), torch.nn.BatchNorm1d(4)).state_dict(), buffer)
    write_atomic(path, buffer.getvalue())


def settings(path: Path) -> None:
    write_atomic(path, json.dumps({"name": "pi", "threads": 4, "host": {"cpu": "größer"}}, indent=1))


def number(path: Path) -> None:
    write_atomic(path, "0.9321\n")


def job(path: Path) -> None:
    write_atomic(path, 'data = "digits"\nseed = 0\n\n[train]\nepochs = 5\n')


@pytest.mark.parametrize(
    "write", [front, kit, picture, arrays, state, weights, settings, number, job], ids=lambda f: f.__name__
)
def test_a_file_of_ours_cut_at_any_byte_is_written_again(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "own"
    write(path)
    whole = path.read_bytes()
    for end in cuts(whole):
        path.write_bytes(whole[:end])
        assert alike(path, whole), end
    for end in (0, 1, len(whole) // 2, len(whole)):
        path.write_bytes(whole[:end])
        write(path)
        assert path.read_bytes() == whole, end
    assert [one.name for one in tmp_path.iterdir()] == ["own"]


def test_a_cut_state_is_none(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    state(path)
    whole = path.read_bytes()
    for end in cuts(whole)[:-1:7]:
        path.write_bytes(whole[:end])
        assert is_our_state(path) and load_state(path, {"network": "a"}) is None, end


def test_marks_outlast_a_cut(tmp_path: Path) -> None:
    path, architecture = tmp_path / "one", sample(0)
    module, size = GraphModule(lower(architecture), seed=0), architecture.resolution
    images = torch.zeros(2, architecture.task.in_channels, size, size)
    bundle = export_bundle(module, tmp_path / "m", name="m", images=images)
    page = b'<!doctype html>\n<html lang="en"><head><title>digits - MOBINAS report</title></head>'
    for whole, is_ours in (
        ((tmp_path / "m" / "manifest.json").read_bytes(), _is_our_manifest),
        (bundle.model_path.read_bytes(), is_our_onnx),
        (page, is_our_page),
        (json.dumps({"a.json": "0" * 64, "b/c.pt": "f" * 64}, indent=1).encode(), _is_index),
    ):
        for end in cuts(whole):
            path.write_bytes(whole[:end])
            assert is_ours(path), whole[:end][-40:]
    for end in range(len(owner := b"process 123 on a-host.of:mine\n") + 1):
        path.write_bytes(owner[:end])
        check_lock(path, _is_owner)


def test_pictures_from_before_they_were_marked_are_ours(tmp_path: Path) -> None:
    path, axes = tmp_path / "p.png", Figure(figsize=(1, 1)).add_subplot()
    axes.get_figure(root=True).savefig(path, format="png", dpi=200, metadata={"Software": None})
    assert is_our_picture(path) and alike(path, png(axes))
    axes.get_figure(root=True).savefig(path, format="png", dpi=100, metadata={"Software": None})
    assert not is_our_picture(path)
    axes.get_figure(root=True).savefig(path, format="png", dpi=200)
    assert not is_our_picture(path)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (
            '{"name": "x", "digest": "y"}',
            '{"name": "x", "digest": "y", "scale": 1, "layout": 2, "n": 3}',
            True,
        ),
        ('{"name": "x", "version": 1}', '{"name": "x", "digest": "y"}', False),
        ("{}", '{"a": 1}', True),
        ("[1]", "[2, 3]", True),
        ("[1]", '{"a": 1}', False),
        ('{"b": 1', '{"a": 1}', False),
        ('"a"', "0.5", False),
        (" \n", "0.5", False),
        ("# my notes\n", "data = 'digits'\nseed = 0\n", False),
        ("\0" * 9, "[1]", True),
        ("\0" * 99_999, "[1]", False),
        ("a,b,c\n1,2,3\n", "a,b,c,d\n", True),
        ("a,z\n1,2\n", "a,b,c,d\n", False),
        ("name,accuracy\nmine,0.9\n", "name,digest,accuracy,test_accuracy,score\n", False),
        ("[project]\nname = 'x'\n", "data = 'digits'\nseed = 0\n", False),
        ("data = 'digits'\nseed = 1\n", "data = 'photos'\nseed = 0\nthreads = 2\n", True),
    ],
)
def test_what_is_alike(old: str, new: str, same: bool, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(old)
    assert alike(tmp_path / "f", new.encode()) is same


def test_a_kit_may_be_replaced_through_a_link_that_stays(tmp_path: Path) -> None:
    kit(tmp_path / "real.zip")
    (tmp_path / "kit.zip").symlink_to("real.zip")
    before = (tmp_path / "real.zip").stat().st_ino
    check_kit_place(tmp_path / "kit.zip")
    kit(tmp_path / "kit.zip")
    assert (tmp_path / "kit.zip").is_symlink() and (tmp_path / "real.zip").stat().st_ino != before


def test_a_run_folder_that_was_killed_at_any_file_goes_on(tmp_path: Path) -> None:
    text = 'data = "digits"\nseed = 0\n'
    with RunFolder(tmp_path / "run", text) as folder:
        folder.data("data.json", lambda: {"name": "digits", "digest": "x"})
    for name in (".lock", "artefacts.json", "data.json"):
        path = tmp_path / "run" / name
        whole = path.read_bytes()
        for end in range(0, len(whole), 5):
            path.write_bytes(whole[:end])
            with RunFolder(tmp_path / "run", text) as folder:
                folder.data("data.json", lambda: {"name": "digits", "digest": "x"})
