"""Reads many picture files as one array, on all cores; what cannot be read is told all at once."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobinas.errors import DataError
from mobinas.progress import Progress
from mobinas.train.adapters.base import Wanted
from mobinas.train.adapters.kept import KeptPictures, digest_of
from mobinas.train.adapters.pictures import Look, look, preparation_for, read_picture
from mobinas.train.adapters.room import room_to_decode
from mobinas.train.preparation import Preparation

T = TypeVar("T")

# A waiting file takes a kilobyte in the pool, and there may be millions.
_BLOCK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class ReadPictures:
    """What became of some files.

    Attributes:
        images: uint8, [n, channels, height, width]; without meaning where a file could not be read.
        looks: Of each, None where it could not be read.
        problems: By position, why a file could not be read.
        preparation: How all were read.
    """

    images: npt.NDArray[np.uint8]
    looks: Sequence[Look | None]
    problems: dict[int, str]
    preparation: Preparation


def read_pictures(paths: Sequence[Path], n_train: int, wanted: Wanted) -> ReadPictures:
    """Reads picture files.

    Args:
        paths: The training pictures, then others.
        n_train: How many are training pictures, by which is decided how all are read.
        wanted: Size and background; where pixels of an earlier start may be; who is told of each file, first
            of the headers, then of the pixels.

    Raises:
        DataError: None of the training pictures can be read, or no one way fits them all.
    """
    kept, progress = KeptPictures(wanted.keep_in), wanted.progress
    problems: dict[int, str] = {}
    looked = _each(paths, _look, "looked at", progress)
    for position, (_, _, problem) in enumerate(looked):
        if problem is not None:
            problems[position] = problem
    preparation = _decided(paths[:n_train], looked[:n_train], problems, wanted, kept)
    good = [position for position in range(len(paths)) if position not in problems]
    digests = [digest for digest, _, _ in looked]
    shape = (len(paths), preparation.channels, preparation.height, preparation.width)
    images = np.zeros(shape, np.uint8)
    filled = kept.fill(digests, preparation, images)
    missing = [position for position in good if not filled[position]]
    unread = [paths[position] for position in missing]
    with _in_threads(unread, lambda path: _attempt(read_picture, path, preparation)) as made:
        for done, (position, (pixels, problem)) in enumerate(zip(missing, made, strict=True), start=1):
            if pixels is None:
                problems[position] = str(problem)
            else:
                images[position] = pixels
                kept.keep(digests[position], pixels)
            progress(done, len(missing), "decoded")
    kept.flush()
    return ReadPictures(images, [found for _, found, _ in looked], problems, preparation)


_Looked = tuple[bytes, Look | None, str | None]


def _look(path: Path) -> _Looked:
    digest, problem = _attempt(digest_of, path)
    if digest is None:
        return b"", None, problem
    found, problem = _attempt(look, path)
    return digest, found, problem


def _decided(
    paths: Sequence[Path],
    looked: Sequence[_Looked],
    problems: dict[int, str],
    wanted: Wanted,
    kept: KeptPictures,
) -> Preparation:
    """How all are read; pictures that turn out to be spoilt on the way join the problems."""
    asked = f"{wanted.image_size} {wanted.background}"
    for is_last in (False, True):
        good = [position for position in range(len(paths)) if position not in problems]
        if not good:
            raise DataError(
                f"none of {len(paths)} pictures can be read, such as {paths[0]} ({problems[0]}); check "
                "the files"
            )
        digests = [looked[position][0] for position in good]
        looks = [found for found in (looked[position][1] for position in good) if found is not None]
        known = kept.preparation(digests, asked)
        if known is not None:
            return known
        chosen = [paths[position] for position in good]
        try:
            made = preparation_for(
                chosen, looks, wanted.image_size, background=wanted.background, progress=wanted.progress
            )
        except DataError:
            spoilt = {} if is_last else _spoilt(paths, good, wanted.progress)
            if not spoilt:
                raise
            problems.update(spoilt)
        else:
            kept.keep_preparation(digests, asked, made)
            return made
    raise AssertionError("unreachable")


def _spoilt(paths: Sequence[Path], good: Sequence[int], progress: Progress) -> dict[int, str]:
    """Why pictures cannot be decoded, by position: all at once, not the first that a search comes upon."""
    chosen = [paths[position] for position in good]
    found = _each(chosen, lambda path: _attempt(_decode, path)[1], "checked", progress)
    return {position: problem for position, problem in zip(good, found, strict=True) if problem is not None}


def _decode(path: Path) -> bool:
    with Image.open(path) as image, room_to_decode(image, 1):
        image.load()
    return True


def _attempt(work: Callable[..., T], path: Path, *more: object) -> tuple[T | None, str | None]:
    """What it gives, or why it fails in a few words."""
    try:
        return work(path, *more), None
    except DataError as error:
        reason = re.sub(
            r"^cannot read image .*? \((?=.)|\); repair or remove it$", "", str(error), flags=re.DOTALL
        )
    except OSError as error:
        reason = error.strerror or str(error)
    except (
        Exception
    ) as error:  # Pillow's decoders raise whatever comes on spoilt files: struct.error, KeyError, ...
        reason = f"{type(error).__name__}: {error}"
    return None, " ".join(reason.replace(f" {str(path)!r}", "").split())


def _each(paths: Sequence[Path], work: Callable[[Path], T], text: str, progress: Progress) -> list[T]:
    found = []
    with _in_threads(paths, work) as results:
        for one in results:
            found.append(one)
            progress(len(found), len(paths), text)
    return found


@contextlib.contextmanager
def _in_threads(paths: Sequence[Path], work: Callable[[Path], T]) -> Iterator[Iterator[T]]:
    """In the order of the paths; Pillow decodes and resizes without Python's lock."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pool = ThreadPoolExecutor(cores)
    try:
        blocks = (paths[start : start + _BLOCK] for start in range(0, len(paths), _BLOCK))
        yield (one for block in blocks for one in pool.map(work, block))
    finally:
        # Who stops in the middle does not wait for the rest.
        pool.shutdown(cancel_futures=True)
