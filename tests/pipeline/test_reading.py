"""The job's first step: what is said, which keys there are, and which folder takes which data."""

import json
from pathlib import Path

import numpy as np
import pytest
from pictures_on_disk import put, within
from PIL import Image
from typer.testing import CliRunner

from mobinas.cli import app
from mobinas.config import JobConfig, dump_toml, load_config
from mobinas.console import LineReporter
from mobinas.errors import ConfigError, DataError, RunFolderError
from mobinas.pipeline.context import Job
from mobinas.pipeline.load import load
from mobinas.pipeline.run_folder import RunFolder
from mobinas.progress import NoteReporter, SilentReporter
from mobinas.targets.registry import find_target
from mobinas.train.device import find_device
from mobinas.train.splits import Splits


class _Notes(SilentReporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def read(data: Path, out: Path, *, work: str | None = None, **images: object) -> tuple[Splits, list[str]]:
    """Reads the images as a job does; `work` names something that it computes afterwards."""
    config = load_config(
        "smoke", {"data": str(data)} | {f"images.{key}": value for key, value in images.items()}
    )
    reporter = _Notes()
    with RunFolder(out, dump_toml(config)) as folder:
        job = Job(config, folder, find_target(config.target), find_device("cpu"), reporter)
        splits = load(job)
        if work is not None:
            folder.data(work, lambda: {})
    return splits, reporter.notes


def sizes(splits: Splits) -> list[int]:
    return [len(part) for part in (splits.weights, splits.alphas, splits.select, splits.test)]


def test_what_was_read_is_said_and_kept(tmp_path: Path) -> None:
    data = put(tmp_path / "data", {**within("train", n=9), **within("val"), "test": 3})
    (data / "train" / "a" / "again.png").write_bytes((data / "val" / "a" / "0.png").read_bytes())
    splits, notes = read(data, tmp_path / "run")
    assert sizes(splits) == [8, 6, 4, 4]
    assert notes == [
        "2 classes, 19 images and 4 to select by, of 3 x 3 pixels",
        "test/ is not used: its 3 pictures lie in no class folders",
        "val/: the selection part",
        "1 training images are dropped, as the select part holds them, too",
    ]
    assert json.loads((tmp_path / "run" / "data.json").read_text())["notes"] == notes
    assert read(data, tmp_path / "run")[1] == notes


def test_val_is_merged_where_that_is_asked(tmp_path: Path) -> None:
    data = put(tmp_path / "data", {**within("train", n=8), **within("val", n=8)})
    splits, notes = read(data, tmp_path / "run", merge_val=True)
    assert sum(sizes(splits)) == 32 and len(splits.select) < 8
    assert notes[-1] == "16 images to select by are split with the others (images.merge_val)"


def test_keys_name_folders_or_none(tmp_path: Path) -> None:
    data = put(tmp_path / "data", {"ok": 5, "nok": 5, "test": 5})
    for k, value in enumerate(("none", "", [])):
        assert len(read(data, tmp_path / f"run{k}", test=value)[0].classes) == 3
    assert read(data, tmp_path / "left", ignore="test")[0].classes == ("nok", "ok")
    assert read(data, tmp_path / "slash", test="test/")[0].classes == ("nok", "ok")
    with pytest.raises(DataError, match="did you mean 'test'"):
        read(data, tmp_path / "x", test="tset")
    with pytest.raises(DataError, match=r"'digits' is no folder, so images\.train"):
        read(Path("digits"), tmp_path / "y", train="train")


@pytest.mark.parametrize(("key", "value"), [("test", "/data/test"), ("train", "../x"), ("val", ["a", "/b"])])
def test_only_folders_below_the_data_can_be_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"images\.{key}.*folders below the data folder, such as 'test'"):
        load_config("smoke", {f"images.{key}": value})


def test_unknown_keys_suggest_and_all_keys_survive_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'skip_bad'"):
        load_config("smoke", {"images.skip_bed": True})
    keys = {
        "images.train": ["train", "extra"],
        "images.val": "none",
        "images.ignore": "x",
        "images.merge_val": True,
    }
    config = load_config("smoke", keys | {"images.skip_bad": True, "images.min_per_class": 5})
    (tmp_path / "job.toml").write_text(dump_toml(config), encoding="utf-8")
    assert load_config(tmp_path / "job.toml") == config


def test_shares_of_own_parts_are_refused(tmp_path: Path) -> None:
    data = put(tmp_path / "data", {**within("train", n=20), **within("val")})
    with pytest.raises(
        ConfigError, match=r"images\.select_share is set, but these data bring their own select"
    ):
        read(data, tmp_path / "x", select_share=0.2)
    splits, _ = read(data, tmp_path / "y", alphas_share=0.3, test_share=0.1)
    assert sizes(splits) == [24, 12, 4, 4]


def test_a_folder_without_work_takes_new_data_and_new_settings(tmp_path: Path) -> None:
    data, out = put(tmp_path / "data", {"a": 6, "b": 6, "c": 2}), tmp_path / "run"
    (data / "a" / "broken.png").write_bytes(b"x")
    with pytest.raises(DataError, match="--skip-bad"):
        read(data, out)
    assert len(read(data, out, skip_bad=True)[0].classes) == 2
    put(data, {"c": 7}, seed=1)
    (data / "a" / "broken.png").unlink()
    assert len(read(data, out)[0].classes) == 3
    put(data, {"a": 8}, seed=2)
    assert read(data, out, min_per_class=7, work="profile.json")[0].classes == ("a", "c")
    (data / "a" / "0.png").unlink()
    with pytest.raises(RunFolderError, match=r"the images of .* changed since this run began"):
        read(data, out, min_per_class=7)
    with pytest.raises(RunFolderError, match=r"images\.min_per_class was 7 there, now 5"):
        read(data, out, min_per_class=5)


def test_nothing_depends_on_what_is_kept(tmp_path: Path) -> None:
    data, out = put(tmp_path / "data", {"a": 6, "b": 6}), tmp_path / "run"
    first, _ = read(data, out, work="profile.json")
    kept = list((out / ".decoded").iterdir())
    assert len(kept) == 2
    for path in kept:
        path.unlink()
    assert (read(data, out)[0].weights.images == first.weights.images).all()


def test_npz_with_a_validation_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{part}_{what}": rng.integers(0, 256, (n, 3, 3), dtype=np.uint8)
        if what == "images"
        else np.arange(n) % 2
        for part, n in (("train", 20), ("val", 6), ("test", 4))
        for what in ("images", "labels")
    }
    np.savez(tmp_path / "medical.npz", **arrays)  # type: ignore[arg-type]
    splits, notes = read(tmp_path / "medical.npz", tmp_path / "run")
    assert sizes(splits)[2:] == [6, 4]
    assert notes == ["2 classes, 20 images and 6 to select by and 4 to test, of 3 x 3 pixels"]


def test_python_calls_tell_notes_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = NoteReporter()
    with reporter.step(1, 2, "read") as progress:
        progress(1, 2, "x")
        reporter.note("2 classes")
    assert capsys.readouterr().err == "mobinas: 2 classes\n"


def test_time_left_begins_anew_with_the_next_part_of_a_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("mobinas.console.time.monotonic", lambda: now[0])
    with LineReporter().step(1, 10, "read the images") as progress:
        for at, done, text in ((1000.0, 100, "looked at"), (1100.0, 1, "decoded"), (1200.0, 51, "decoded")):
            now[0] = at
            progress(done, 100, text)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[1/10] read the images"
    # 51 in the 100 s since the first was told, so 96 s for the other 49.
    assert lines[3].strip() == "51/100, about 1:36 left. decoded"


def test_the_command_line_names_and_takes_the_way_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[JobConfig] = []

    def stop(config: JobConfig, *_: object, **__: object) -> None:
        taken.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("mobinas.pipeline.job.run", stop)
    CliRunner().invoke(app, ["run", "--data", str(tmp_path), "--skip-bad"])
    CliRunner().invoke(app, ["run", "--data", str(tmp_path)])
    assert [config.images.skip_bad for config in taken] == [True, False]


def test_a_picture_within_a_run_folder_is_no_data(tmp_path: Path) -> None:
    data = put(tmp_path, {"a": 5, "b": 5})
    out = data / "runs" / "mine"
    read(data, out)
    Image.new("L", (3, 3)).save(out / "plot.png")
    assert read(data, out)[0].classes == ("a", "b")
