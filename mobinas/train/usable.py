"""Which images can be used: what cannot be read, too small classes, the same image under two labels."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mobinas.errors import DataError
from mobinas.train.images import ImageData

_SHOWN = 4


def fingerprints(images: Tensor) -> npt.NDArray[np.uint64]:
    """A number for each of uint8 images [n, channels, height, width]; equal ones have the same."""
    rows = images.contiguous().numpy()
    digests = (hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def drawn_parts(data: ImageData) -> tuple[str, ...]:
    """Names of the parts that are drawn from the images: those that the data do not bring themselves."""
    own = {"select": data.select is not None, "test": data.test is not None}
    return tuple(name for name in ("weights", "alphas", "select", "test") if not own.get(name))


def usable(data: ImageData, *, skip_bad: bool = False, min_per_class: int | None = None) -> ImageData:
    """Leaves out what cannot be used where that is allowed.

    Args:
        data: As read.
        skip_bad: Go on without images that cannot be read, and without classes too small to be split.
        min_per_class: Classes with fewer different training images are dropped.

    Returns:
        The data without them; `found.skipped` says so.

    Raises:
        DataError: Unreadable images that nobody allowed to leave out; it tells of too small classes, too.
    """
    unreadable = data.found.unreadable
    needed, counts = len(drawn_parts(data)), _different_images(data)
    least = max(min_per_class or 0, needed if skip_bad else 0)
    if unreadable and not skip_bad:
        faults = [_unreadable_words(unreadable), *_small_words(data, least), *under_two_labels(data)]
        raise DataError(f"{data.name}: {'; '.join(faults)}; {_way(data, small_alone=False)}")
    if not least and any(not (data.labels == label).any() for label in range(len(counts))):
        check_splittable(data)
    dropped = [label for label in range(len(counts)) if counts[label] < least]
    skipped = list(data.found.skipped)
    if unreadable:
        skipped.append(f"{len(unreadable)} unreadable images ({_some(unreadable)})")
    if dropped:
        names = _some([f"{data.classes[label]}: {counts[label]}" for label in dropped])
        skipped.append(f"{len(dropped)} classes with fewer than {least} different training images ({names})")
    found = dataclasses.replace(data.found, skipped=tuple(skipped), unreadable=())
    return _without(dataclasses.replace(data, found=found), dropped)


def _unreadable_words(unreadable: Sequence[str]) -> str:
    one = len(unreadable) == 1
    return f"cannot read {'image' if one else f'{len(unreadable)} images:'} {_some(unreadable)}"


def check_splittable(data: ImageData) -> None:
    """Refuses classes with too few different images for each part to get one; names all of them.

    Raises:
        DataError: There are such classes.
    """
    small = _small_words(data, 0)
    if small:
        raise DataError("; ".join([*small, *under_two_labels(data), _way(data, small_alone=True)]))


def _way(data: ImageData, *, small_alone: bool) -> str:
    """How to go on."""
    needed = len(drawn_parts(data))
    if (_different_images(data) >= needed).sum() < 2:
        return "add images"
    if small_alone:
        return (
            f"add images, or go on without these classes: images.min_per_class = {needed} "
            f"(--set images.min_per_class={needed}, or --skip-bad)"
        )
    return "repair or remove them, or go on without them: --skip-bad (images.skip_bad = true)"


def _small_words(data: ImageData, least: int) -> list[str]:
    """Which classes cannot be split, of those that `least` does not drop; none, or one text."""
    needed, counts = len(drawn_parts(data)), _different_images(data)
    small = [label for label in range(len(counts)) if least <= counts[label] < needed]
    if not small:
        return []
    names = _some([f"class '{data.classes[label]}' of {data.name} has {counts[label]}" for label in small])
    return [
        f"too few images: {names} different ones to train with, at least {needed} are needed, one for each "
        "part of the split"
    ]


def _different_images(data: ImageData) -> npt.NDArray[np.int64]:
    """Of each class, how many different training images remain when those of own parts are taken away."""
    groups = fingerprints(data.images)
    # What carries two labels counts for the first, as in the split.
    _, first = np.unique(groups, return_index=True)
    own = [fingerprints(part[0]) for part in (data.select, data.test) if part is not None]
    free = ~np.isin(groups[first], np.concatenate(own)) if own else np.ones(len(first), bool)
    return np.bincount(data.labels.numpy()[first[free]], minlength=len(data.classes))


def _parts(data: ImageData) -> Iterator[tuple[Tensor, Tensor]]:
    yield data.images, data.labels
    yield from (part for part in (data.select, data.test) if part is not None)


def under_two_labels(data: ImageData) -> list[str]:
    """Says which images are the same under two labels, by their names or places; nothing, or one text."""
    groups = np.concatenate([fingerprints(images) for images, _ in _parts(data)])
    labels = np.concatenate([labels.numpy() for _, labels in _parts(data)])
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    others = np.flatnonzero(labels != labels[first[member]])
    once = sorted({int(member[place]): int(place) for place in others[::-1]}.values())
    if not once:
        return []
    pairs = [f"{_name(data, labels, first[member[place]])} = {_name(data, labels, place)}" for place in once]
    return [f"{len(pairs)} images are the same under two labels ({_some(pairs)})"]


def _name(data: ImageData, labels: npt.NDArray[np.int64], place: int) -> str:
    if data.found.names:
        return data.found.names[place]
    return f"image {place} ({data.classes[labels[place]]})"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _without(data: ImageData, dropped: Sequence[int]) -> ImageData:
    """The data without these classes; the others move together."""
    if not dropped:
        return data
    kept = sorted(set(range(len(data.classes))) - set(dropped))
    if len(kept) < 2:
        raise DataError(
            f"{data.name} keeps {len(kept)} of {len(data.classes)} classes ({data.found.skipped[-1]}); "
            "add images, or lower images.min_per_class"
        )
    place = torch.full((len(data.classes),), -1)
    place[kept] = torch.arange(len(kept))

    def chosen(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor] | None:
        moved = place[labels]
        return (images[moved >= 0], moved[moved >= 0]) if (moved >= 0).any() else None

    images, labels = chosen(data.images, data.labels) or (data.images[:0], data.labels[:0])
    test, select = (None if own is None else chosen(*own) for own in (data.test, data.select))
    return dataclasses.replace(
        data,
        images=images,
        labels=labels,
        classes=tuple(data.classes[label] for label in kept),
        test=test,
        select=select,
        found=dataclasses.replace(data.found, names=_kept_names(data, kept)),
    )


def _kept_names(data: ImageData, kept: Sequence[int]) -> tuple[str, ...]:
    labels = [label for _, labels in _parts(data) for label in labels.tolist()]
    return tuple(name for name, label in zip(data.found.names, labels, strict=False) if label in set(kept))


def summary(data: ImageData) -> str:
    """Classes, images and their sizes, and what was passed over, in one line."""
    sizes = data.found.sizes
    shape = f"{data.images.shape[3]} x {data.images.shape[2]}"
    size = f"{sizes} pixels, read at {shape}" if sizes and sizes != shape else f"{shape} pixels"
    own = [
        f"{len(part[1])} {use}"
        for use, part in (("to select by", data.select), ("to test", data.test))
        if part
    ]
    counts = " and ".join([f"{len(data.labels)} images", *own])
    skipped = f"; skipped: {', '.join(data.found.skipped)}" if data.found.skipped else ""
    return f"{len(data.classes)} classes, {counts}, of {size}{skipped}"
