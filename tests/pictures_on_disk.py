"""Folders of tiny pictures, no two alike."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

Content = Mapping[str, int | str]


def put(root: Path, content: Content, *, seed: int = 0) -> Path:
    """Writes, by folder, so many pictures of 3 x 3 pixels; a text is a file of that content.

    Returns:
        The root.
    """
    rng = np.random.default_rng(seed)
    for name, what in content.items():
        where = root / name
        if isinstance(what, str):
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_text(what, encoding="utf-8")
            continue
        where.mkdir(parents=True, exist_ok=True)
        for i in range(what):
            pixels = rng.integers(0, 256, (3, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(where / f"{i}.png")
    return root


def within(*parts: str, classes: str = "ab", n: int = 2) -> dict[str, int]:
    """So many pictures for each class in each part: ``train/a``, ``train/b``, ..."""
    return {f"{part}/{name}": n for part in parts for name in classes}
