"""Reading folders of pictures: what is skipped, broken, large or linked, and what is kept."""

import errno
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures_on_disk import put
from PIL import Image

from mobinas.errors import DataError, RunFolderError
from mobinas.train.adapters import kept, pictures, reader, room
from mobinas.train.adapters.base import Wanted
from mobinas.train.data import ImageData, load_data
from mobinas.train.splits import split
from mobinas.train.usable import summary

CLASSES = {"a": 5, "b": 5}


def skipped_by(data: ImageData) -> str:
    return summary(data).partition("; skipped: ")[2]


# What is skipped


def test_pictures_are_known_by_content_whatever_their_ending(tmp_path: Path) -> None:
    put(tmp_path, CLASSES)
    for i, ending in enumerate((".JPG", ".jfif", ".jpe", ".unknown", "")):
        path = tmp_path / "a" / f"{i}.png"
        Image.open(path).save(path.with_name(f"{i}{ending}"), format="JPEG")
        path.unlink()
    data = load_data(str(tmp_path))
    assert len(data.images) == 10 and not skipped_by(data)


def test_what_is_no_picture_is_counted(tmp_path: Path) -> None:
    put(tmp_path, {**CLASSES, "a/notes.txt": "x", "b/list.csv": "y", "b/Thumbs.db": "z", "readme": "w"})
    for name in ("a/.DS_Store", "a/._0.png", "b/._1.png", "b/.hidden.png"):
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07")
    said = skipped_by(load_data(str(tmp_path)))
    assert "4 other files (.txt, .db, .csv, readme)" in said
    assert "4 hidden files (.DS_Store, ._*, .hidden.png)" in said


def test_hidden_folders_are_not_read_and_named_where_pictures_are_lost(tmp_path: Path) -> None:
    content = {
        **CLASSES,
        "__background__": 4,
        ".net": 4,
        "b/.ipynb_checkpoints": 4,
        ".git/x": "x",
        "__MACOSX/a": 2,
    }
    data = load_data(str(put(tmp_path, content)))
    assert data.classes == ("__background__", "a", "b") and len(data.images) == 14
    said = skipped_by(data)
    assert "1 hidden folders with pictures, rename them to use them (.net: 4 pictures)" in said
    assert ".git" in said and "b/.ipynb_checkpoints" in said and "__MACOSX" in said


def test_links_are_followed_once_and_broken_ones_named(tmp_path: Path) -> None:
    root = put(tmp_path / "data", CLASSES)
    put(tmp_path / "elsewhere", {".": 3}, seed=1)
    (root / "a" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "b" / "up").symlink_to(root)
    (root / "b" / "self.png").symlink_to(root / "b" / "self.png")
    (root / "b" / "gone.png").symlink_to(tmp_path / "gone.png")
    (root / "b" / "9.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    data = load_data(str(root))
    assert torch.bincount(data.labels).tolist() == [8, 6]
    said = skipped_by(data)
    assert "2 broken links (b/gone.png, b/self.png)" in said and "1 links to a folder above (b/up)" in said


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    put(tmp_path, CLASSES)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    assert "1 other files (.png)" in skipped_by(load_data(str(tmp_path)))


def test_run_folders_within_the_data_are_no_classes(tmp_path: Path) -> None:
    put(tmp_path, {**CLASSES, "runs/photos/job.toml": "", "runs/photos/.lock": "", "runs/photos/plots": 2})
    data = load_data(str(tmp_path))
    assert data.classes == ("a", "b") and "1 run folders (runs/photos)" in skipped_by(data)
    with pytest.raises(DataError, match="is a run folder"):
        load_data(str(tmp_path / "runs" / "photos"))


def test_the_summary_tells_classes_images_and_sizes(tmp_path: Path) -> None:
    put(tmp_path, {"train/a": 3, "train/b": 4, "val/a": 2, "test/a": 1})
    Image.new("L", (7, 5)).save(tmp_path / "train" / "a" / "large.png")
    note = summary(load_data(str(tmp_path)))
    assert (
        note
        == "2 classes, 8 images and 2 to select by and 1 to test, of 3 x 3 to 7 x 5 pixels, read at 3 x 3"
    )
    arrays = {"images": np.arange(90, dtype=np.uint8).reshape(10, 3, 3), "labels": np.arange(10) % 2}
    np.savez(tmp_path / "some.npz", **arrays)  # type: ignore[arg-type]
    assert summary(load_data(str(tmp_path / "some.npz"))) == "2 classes, 10 images, of 3 x 3 pixels"


# Broken pictures


def break_some(root: Path) -> None:
    whole = (root / "a" / "0.png").read_bytes()
    for name, content in {
        "a/90.png": b"",
        "a/91.jpg": b"\xff\xd8\xff\xe0",
        "b/92.png": b"no picture",
        "b/93.png": whole[:-30],
        "b/94.png": whole[:40],
    }.items():
        (root / name).write_bytes(content)


def test_all_broken_pictures_are_told_at_once_and_can_be_skipped(tmp_path: Path) -> None:
    put(tmp_path, {**CLASSES, "c": 2})
    break_some(tmp_path)
    with pytest.raises(DataError) as caught:
        load_data(str(tmp_path))
    text = str(caught.value)
    assert "cannot read 5 images: a/90.png (" in text and "a/91.jpg" in text and "and 1 more" in text
    assert "class 'c' of" in text and "has 2" in text and "at least 4" in text
    assert "--skip-bad (images.skip_bad = true)" in text and "\n" not in text
    data = load_data(str(tmp_path), skip_bad=True)
    assert data.classes == ("a", "b") and len(data.images) == 10
    assert "5 unreadable images (a/90.png (" in skipped_by(data)
    assert "1 classes with fewer than 4 different training images (c: 2)" in skipped_by(data)


def test_nothing_but_broken_pictures(tmp_path: Path) -> None:
    put(tmp_path, {"a/0.png": "x", "b/0.png": "y"})
    with pytest.raises(DataError, match=r"none of 2 pictures can be read, such as .*a/0\.png"):
        load_data(str(tmp_path), skip_bad=True)


def test_whatever_a_decoder_raises_is_told_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, CLASSES)

    def fail(path: Path, *_: object) -> object:
        if path.name == "3.png":
            raise KeyError("strips")
        return pictures.read_picture(path, *_)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "read_picture", fail)
    with pytest.raises(DataError, match=r"cannot read 2 images: a/3\.png \(KeyError: 'strips'\)"):
        load_data(str(tmp_path))


def test_the_same_picture_under_two_labels_is_named(tmp_path: Path) -> None:
    put(tmp_path, CLASSES)
    (tmp_path / "b" / "copy.png").write_bytes((tmp_path / "a" / "1.png").read_bytes())
    splits = split(load_data(str(tmp_path)))
    assert splits.notes == ("1 images are the same under two labels (a/1.png = b/copy.png)",)


# Large pictures


def test_large_pictures_are_refused_with_the_limit_and_large_jpegs_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, CLASSES)
    monkeypatch.setattr(room, "_LARGEST_BYTES", 64 * 64 * 4)
    monkeypatch.setattr(room, "_free_bytes", 64 * 64 * 4)
    Image.new("L", (400, 400), 200).save(tmp_path / "a" / "large.jpg")
    Image.new("L", (65, 64)).save(tmp_path / "a" / "large.png")
    Image.new("RGB", (400, 400)).save(tmp_path / "a" / "progressive.jpg", progressive=True)
    with pytest.raises(
        DataError, match=r"2 images: a/large\.png \(0 megapixels, 0\.0 GB decoded; at most"
    ) as caught:
        load_data(str(tmp_path), image_size=8)
    assert "progressive" in str(caught.value)
    data = load_data(str(tmp_path), image_size=8, skip_bad=True)
    assert len(data.images) == 11 and (data.images == 200).all(dim=(1, 2, 3)).sum() == 1
    assert room._free_bytes == 64 * 64 * 4


def test_pillows_limit_neither_warns_nor_stops_and_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, CLASSES)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_data(str(tmp_path)).images) == 10
    assert Image.MAX_IMAGE_PIXELS == 2


# What is kept


def reading(folder: Path) -> Wanted:
    return Wanted(keep_in=folder / "kept")


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that are decoded from now on."""
    names: list[str] = []
    read = pictures.read_picture

    def note(path: Path, preparation: object) -> object:
        names.append(path.name)
        return read(path, preparation)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "read_picture", note)
    return names


def test_a_second_start_decodes_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = put(tmp_path / "data", CLASSES)
    first = load_data(str(root), wanted=reading(tmp_path))
    names = decoded(monkeypatch)
    assert load_data(str(root), wanted=reading(tmp_path)).digest == first.digest and not names
    (root / "a" / "0.png").rename(root / "a" / "renamed.png")
    put(root, {"b": 1}, seed=9)
    put(root, {"b/more": 1}, seed=10)
    again = load_data(str(root), wanted=reading(tmp_path))
    assert sorted(names) == ["0.png", "0.png"] and again.digest == load_data(str(root)).digest


def test_another_preparation_reads_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = put(tmp_path / "data", CLASSES)
    load_data(str(root), wanted=reading(tmp_path))
    names = decoded(monkeypatch)
    small = load_data(str(root), image_size=2, wanted=reading(tmp_path))
    assert len(names) == 10 and small.digest == load_data(str(root), image_size=2).digest


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", None])
def test_torn_and_foreign_files_are_made_anew(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put(tmp_path / "data", CLASSES)
    first = load_data(str(root), wanted=reading(tmp_path))
    for path in (tmp_path / "kept").glob("*.npz"):
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.write_bytes(
            whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :] if content is None else content
        )
    np.savez(tmp_path / "kept" / "other.npz", weights=np.zeros(3))
    names = decoded(monkeypatch)
    assert load_data(str(root), wanted=reading(tmp_path)).digest == first.digest
    # A flipped bit may lie where it changes nothing; a torn file is read again as a whole.
    assert content is None or len(names) == 10
    names.clear()
    assert load_data(str(root), wanted=reading(tmp_path)).digest == first.digest and not names
    assert (tmp_path / "kept" / "other.npz").exists(), "what is not ours stays"


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = put(tmp_path / "data", CLASSES)
    monkeypatch.setattr(kept, "LARGEST_BYTES", 4 * 9)
    load_data(str(root), wanted=reading(tmp_path))
    names = decoded(monkeypatch)
    load_data(str(root), wanted=reading(tmp_path))
    assert len(names) == 6


def test_a_full_disk_does_not_end_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = put(tmp_path / "data", CLASSES)

    def full(path: Path, _content: bytes) -> None:
        raise RunFolderError(f"cannot write {path}: {os.strerror(errno.ENOSPC)}")

    monkeypatch.setattr(kept, "write_atomic", full)
    assert len(load_data(str(root), wanted=reading(tmp_path)).images) == 10
    assert not (tmp_path / "kept").exists()


def test_progress_tells_headers_then_pixels(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    load_data(str(put(tmp_path, CLASSES)), wanted=Wanted(progress=lambda *what: told.append(what)))
    assert told == [(k, 10, text) for text in ("looked at", "decoded") for k in range(1, 11)]
