"""Splits that are listed in text files: train.txt and test.txt, each line the path of a picture."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mobinas.train.adapters.part_names import Role, role_of

_ENDINGS = frozenset((".txt", ".csv", ".tsv", ".lst"))
# Fewer matching lines than this, and a file lists something else.
_LEAST_MATCHING = 0.9

Files = dict[str, list[Path]]


def is_label_file(name: str) -> bool:
    """Whether a file may tell classes or parts of pictures."""
    ending = name.lower().endswith((".csv", ".tsv", ".txt", ".json", ".lst", ".xml", ".parquet"))
    return ending and not any(word in name.lower() for word in ("readme", "licen", "submission"))


def lists_among(files: Sequence[Path]) -> dict[Role, list[Path]]:
    """Those files whose names speak of a part: train.txt, val_list.csv, and train_test_split.txt of two."""
    found: dict[Role, list[Path]] = {}
    for path in files:
        role, rest = role_of(path.stem)
        if rest == "train test split":
            role, rest = "train", ""
        if path.suffix.lower() in _ENDINGS and role in ("train", "val", "test") and rest in ("", "list"):
            found.setdefault(role, []).append(path)
    return found


def split_by_lists(classes: Files, lists: Mapping[Role, Sequence[Path]]) -> dict[Role, Files] | None:
    """The pictures of each part and class, where lists of training and another part name the pictures.

    Args:
        classes: Pictures of each class.
        lists: One file a part, as of `lists_among`; with lines such as ``apple/1.jpg``, ``apple/1`` or
            ``images/apple/1.jpg 3``.

    Returns:
        None where there are no such lists, several for a part, or they name other things.
    """
    if "train" not in lists or len(lists) < 2 or any(len(paths) > 1 for paths in lists.values()):
        return None
    known = {
        f"{name}/{written}": (name, path)
        for name, paths in classes.items()
        for path in paths
        for written in (path.name, path.stem)
    }
    parts: dict[Role, Files] = {}
    for role, (path, *_) in lists.items():
        named = list(_named(path))
        matching = dict.fromkeys(known[key] for key in named if key in known)
        if not named or len(matching) < _LEAST_MATCHING * len(set(named)):
            return None
        parts[role] = {}
        for name, picture in matching:
            parts[role].setdefault(name, []).append(picture)
    return parts


def _named(path: Path) -> Iterator[str]:
    """Class folder and file of each line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        first = re.split(r"[,;\t]|\s+-?\d+$", line.strip())[0].strip(" \"'")
        pieces = first.replace("\\", "/").split("/")
        if len(pieces) > 1:
            yield "/".join(pieces[-2:])
