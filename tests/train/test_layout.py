"""How folders of pictures are understood, or what is asked."""

from pathlib import Path

import pytest
from pictures_on_disk import Content, put, within

from mobinas.errors import DataError
from mobinas.train.adapters.layout import Layout, PartFolders, find_layout
from mobinas.train.adapters.tree import scan


def layout_of(root: Path, content: Content, **asked: tuple[str, ...]) -> tuple[Layout, str]:
    """The layout, and what is said to be skipped."""
    tree, skipped = scan(put(root, content))
    layout = find_layout(tree, PartFolders(**asked), skipped)
    return layout, "; ".join(skipped.lines())


def counts(layout: Layout) -> dict[str, dict[str, int]]:
    parts = {"train": layout.train, "val": layout.val, "test": layout.test}
    return {
        part: {name: len(paths) for name, paths in files.items()} for part, files in parts.items() if files
    }


EACH = {"a": 2, "b": 2}
UNDERSTOOD: dict[str, tuple[Content, dict[str, dict[str, int]]]] = {
    "classes alone": ({"a": 2, "b": 2}, {"train": EACH}),
    "capitals": (within("Train", "Test"), {"train": EACH, "test": EACH}),
    "three parts": (within("training", "valid", "testing"), {"train": EACH, "val": EACH, "test": EACH}),
    "words around": (within("train_images", "imgs_test"), {"train": EACH, "test": EACH}),
    "years": (within("train-2020", "test-2020"), {"train": EACH, "test": EACH}),
    "dev": (within("train", "dev", "test"), {"train": EACH, "val": EACH, "test": EACH}),
    "eval alone is the test": (within("train", "eval"), {"train": EACH, "test": EACH}),
    "eval beside test": (within("train", "eval", "test"), {"train": EACH, "val": EACH, "test": EACH}),
    "train and val": (within("train", "validation"), {"train": EACH, "val": EACH}),
    "train and loose pictures": ({**within("train"), ".": 3}, {"train": EACH}),
    "one wrapper": (within("set/train", "set/test"), {"train": EACH, "test": EACH}),
    "two wrappers": (within("x/set/train", "x/set/test"), {"train": EACH, "test": EACH}),
    "wrapped classes": (within("images"), {"train": EACH}),
    "parts in wrappers": (within("my_train/my_train", "my_test/my_test"), {"train": EACH, "test": EACH}),
    "images beside labels": (
        {**within("images/train", "images/val"), "labels/train/0.txt": "0"},
        {"train": EACH, "val": EACH},
    ),
    "parts within classes": (
        {f"{c}/{p}": 2 for c in "ab" for p in ("train", "test")},
        {"train": EACH, "test": EACH},
    ),
    "parts in names of classes": (
        {f"{c}_{p}": 2 for c in "ab" for p in ("train", "test")},
        {"train": EACH, "test": EACH},
    ),
    "trainA": ({"trainA": 2, "trainB": 2, "testA": 2, "testB": 2}, {"train": EACH, "test": EACH}),
    "a set's name in the parts": (within("asl_train", "asl_test"), {"train": EACH, "test": EACH}),
    "numbered parts": (
        within("train1", "train2", "test1", "test2"),
        {"train": {"a": 4, "b": 4}, "test": {"a": 4, "b": 4}},
    ),
    "test with the classes beside it": ({"a": 2, "b": 2, **within("test")}, {"train": EACH, "test": EACH}),
    "folders within classes": ({"a/x/images": 1, "a/y": 1, "b/images": 2}, {"train": EACH}),
    "test words in names of classes": ({"crash_test": 2, "b": 2}, {"train": {"b": 2, "crash_test": 2}}),
    "macOS": ({**within("train", "test"), "__MACOSX/train/a": 2}, {"train": EACH, "test": EACH}),
    "a copy beside": (within("set/train", "set/test", "set/set/train"), {"train": EACH, "test": EACH}),
    "listed": (
        {"a": 3, "b": 3, "train.txt": "a/0.png\na/1.png\nb/0.png\nb/1.png", "test.txt": "a/2.png\nb/2.png"},
        {"train": EACH, "test": {"a": 1, "b": 1}},
    ),
    "listed without endings, elsewhere": (
        {
            **within("images", n=3),
            "meta/train.txt": "a/0\na/1\nb/0\nb/1",
            "meta/val.csv": "images/a/2,a\nimages/b/2,b",
        },
        {"train": EACH, "val": {"a": 1, "b": 1}},
    ),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_layouts_that_are_understood(name: str, tmp_path: Path) -> None:
    content, wanted = UNDERSTOOD[name]
    assert counts(layout_of(tmp_path, content)[0]) == wanted


FLAT_TEST = {**within("train"), "test": 3}
ASKED: dict[str, tuple[Content, str]] = {
    "flat test beside classes": (
        {"ok": 2, "nok": 2, "test": 3},
        r'test/ \(3 pictures\) beside .*nok, ok.*images\.test = "test" \(.*\) or images\.test = "none"',
    ),
    "a vehicle": ({"bus": 2, "car": 2, "train": 2}, r'images\.train = "none" \(it is a class\)'),
    "valid and invalid": ({"valid": 2, "invalid": 2}, r'images\.val = "none"'),
    "unlabelled beside classes": ({"a": 2, "b": 2, "unlabelled": 2}, r'images\.ignore = "unlabelled"'),
    "training beside its classes": (
        {"a": 2, "b": 2, **within("train")},
        r"beside it .*\(a, b\).*images\.train = ",
    ),
    "copies": (within("train", "train_aug", "test"), r'images\.train = \["train", "train_aug"\]'),
    "folds": (within("fold1", "fold2"), r'images\.train = \["fold1", "fold2"\] .* or images\.train = "none"'),
    "another language": (within("entrenamiento", "prueba"), r"each hold the folders a, b"),
    "sizes": (
        {f"{size}/{kind}": 2 for size in ("16x16", "32x32") for kind in ("apps", "places")} | {"8x8/apps": 1},
        r"16x16, 32x32, 8x8 .* each hold the folders apps, places",
    ),
    "two data sets": (within("x/train", "x/test", "y/train", "y/test"), r'images\.train = "x/train"'),
    "pictures and masks": (
        within("images/train", "masks/train", classes="c"),
        r'images\.train = "images/train"',
    ),
    "one class without parts": (
        {"a/train": 2, "a/test": 2, "b": 2},
        r'b/ is without.*images\.train = "a/train"',
    ),
    "a part within a part": ({**within("train"), "train/val": 2}, r'train/val/ .*images\.val = "train/val"'),
    "nothing to train with": (within("val", "test"), r"nothing to train with; .*images\.train"),
    "classes that training lacks": (
        {**within("train"), "test/c": 2},
        r"lack \(c; 2 pictures; training has a, b\)",
    ),
    "flat with a table": (
        {"train": 2, "test": 2, "labels.csv": "x"},
        r"no class folders but 4 pict.*labels\.csv",
    ),
    "flat": ({".": 2}, r"holds no class folders but 2 pictures"),
}


@pytest.mark.parametrize("name", ASKED)
def test_layouts_with_two_readings_are_asked_for(name: str, tmp_path: Path) -> None:
    content, message = ASKED[name]
    with pytest.raises(DataError, match=message):
        layout_of(tmp_path, content)


def test_what_is_asked_can_be_said(tmp_path: Path) -> None:
    factory = {"ok": 2, "nok": 2, "test": 3}
    layout, skipped = layout_of(tmp_path / "1", factory, test=("test",))
    assert counts(layout) == {"train": {"nok": 2, "ok": 2}} and not skipped
    assert layout.notes == ("test/ is not used: its 3 pictures lie in no class folders",)
    layout, _ = layout_of(tmp_path / "2", factory, test=())
    assert counts(layout) == {"train": {"nok": 2, "ok": 2, "test": 3}}
    layout, skipped = layout_of(tmp_path / "3", factory, ignore=("test",))
    assert counts(layout) == {"train": {"nok": 2, "ok": 2}}
    assert skipped == "3 pictures left out by images.ignore (test/)"
    folds = within("fold1", "fold2", "fold3")
    layout, _ = layout_of(tmp_path / "4", folds, train=("fold1", "fold2"), test=("fold3",))
    assert counts(layout) == {"train": {"a": 4, "b": 4}, "test": EACH}
    layout, _ = layout_of(tmp_path / "5", folds, train=())
    assert counts(layout) == {"train": {"fold1": 4, "fold2": 4, "fold3": 4}}
    masks = within("images/train", "images/test", "masks/train", "masks/test")
    layout, skipped = layout_of(tmp_path / "6", masks, train=("images/train",))
    assert counts(layout) == {"train": EACH, "test": EACH} and skipped.startswith("8 pictures that no class")
    extra = within("train", "test", "extra")
    layout, skipped = layout_of(tmp_path / "7", extra)
    assert counts(layout) == {"train": EACH, "test": EACH} and "4 pictures" in skipped and "extra/" in skipped
    layout, _ = layout_of(tmp_path / "8", extra, train=("train", "extra"))
    assert counts(layout)["train"] == {"a": 4, "b": 4}
    layout, skipped = layout_of(tmp_path / "9", within("train", "val", "test"), test=())
    assert counts(layout) == {"train": EACH, "val": EACH} and "test/" in skipped


@pytest.mark.parametrize(
    "content", [FLAT_TEST, {**within("train"), "test/images": 3}, {**within("train"), "test/test": 3}]
)
def test_an_unlabelled_test_part_is_said_to_be_unused(content: Content, tmp_path: Path) -> None:
    layout, _ = layout_of(tmp_path, content)
    assert counts(layout) == {"train": EACH}
    assert layout.notes == ("test/ is not used: its 3 pictures lie in no class folders",)


def test_unlabelled_folders_beside_the_parts_are_said_to_be_skipped(tmp_path: Path) -> None:
    layout, skipped = layout_of(tmp_path, {**within("train", "test"), "unlabeled": 3, "samples": 1})
    assert counts(layout) == {"train": EACH, "test": EACH}
    assert skipped == "4 pictures that no class or part holds (samples/, unlabeled/)"


def test_a_wrapper_and_the_own_parts_are_named(tmp_path: Path) -> None:
    layout, _ = layout_of(tmp_path, within("set/train", "set/val"))
    assert layout.notes == (f"read from set/ within {tmp_path}", "set/val/: the selection part")


def test_one_odd_folder_within_many_classes_is_read_and_named(tmp_path: Path) -> None:
    layout, _ = layout_of(tmp_path, {"a": 2, "b": 2, "c/test": 2, "c/x": 1})
    assert counts(layout) == {"train": {"a": 2, "b": 2, "c": 3}}
    assert layout.notes == ("c/test/: named like a part of a split, but read like any other",)


def test_a_list_that_is_none_is_named(tmp_path: Path) -> None:
    layout, _ = layout_of(tmp_path, {"a": 2, "b": 2, "train.txt": "1 2\n3 4\n", "test.txt": "x/7.png"})
    assert counts(layout) == {"train": EACH} and "not read as a split" in layout.notes[0]


def test_folders_that_are_not_there_suggest(tmp_path: Path) -> None:
    content = within("Train", "Test")
    with pytest.raises(DataError, match=r"images\.test = 'test'.*did you mean 'Test'"):
        layout_of(tmp_path, content, test=("test",))
    with pytest.raises(DataError, match=r"did you mean 'Train'"):
        layout_of(tmp_path, content, train=("Trian",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"'empty': this folder of .* holds no pictures"):
        layout_of(tmp_path, content, val=("empty",))
