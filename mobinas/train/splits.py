"""The one split of the data: four disjoint parts, each class in each."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mobinas.errors import DataError
from mobinas.train.images import ImageData, check_images, resize
from mobinas.train.preparation import Preparation
from mobinas.train.usable import check_splittable, drawn_parts, fingerprints, under_two_labels

# A part keeps resized copies up to this size in all; beyond it, batches are resized when they are drawn.
_CACHE_BYTES = 1 << 29
_MIN_STD = 1e-3
_SHOWN_CLASSES = 4


@dataclass(frozen=True, slots=True)
class Normalisation:
    """``(pixel / 255 - mean) / std`` for each channel.

    Attributes:
        mean: Of the training pixels, in [0, 1], one per channel.
        std: Of the training pixels, one per channel, above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise DataError(
                f"mean has {len(self.mean)} channels and std {len(self.std)}; give one of each a channel"
            )
        if min(self.std) <= 0:
            raise DataError(f"std is {self.std}; each must be above 0")

    def __call__(self, images: Tensor) -> Tensor:
        """Turns uint8 [n, channels, height, width] into normalised float32, on the same device."""
        shape = (1, len(self.mean), 1, 1)
        scale = torch.tensor([1 / (255 * s) for s in self.std], device=images.device).view(shape)
        shift = torch.tensor([m / s for m, s in zip(self.mean, self.std, strict=True)], device=images.device)
        return images.float().mul_(scale).sub_(shift.view(shape))

    @classmethod
    def of(cls, images: Tensor) -> "Normalisation":
        """Takes the statistics of uint8 images, [n, channels, height, width].

        A channel without any contrast keeps a std of 0.001, so that it stays finite.
        """
        levels = torch.arange(256, dtype=torch.float64) / 255
        means, stds = [], []
        for channel in images.unbind(dim=1):
            share = torch.bincount(channel.flatten().int(), minlength=256).double() / channel.numel()
            mean = float(share @ levels)
            means.append(mean)
            stds.append(max(float(share @ (levels - mean) ** 2) ** 0.5, _MIN_STD))
        return cls(tuple(means), tuple(stds))


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some of the images, with their labels.

    Attributes:
        images: uint8, [n, channels, height, width], as loaded.
        labels: int64, [n], on the same device.
    """

    images: Tensor
    labels: Tensor
    _resized: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_images(
            self.images, self.labels, int(self.labels.max()) + 1 if len(self.labels) else 1, "a part"
        )

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, resolution: int) -> Tensor:
        """The images as uint8 [n, channels, resolution, resolution]; computed once unless very large."""
        if resolution in self._resized:
            return self._resized[resolution]
        images = resize(self.images, resolution, resolution)
        if self._fits(resolution):
            self._resized[resolution] = images
        return images

    def batch(self, positions: Tensor, resolution: int) -> Tensor:
        """The images at these positions (int64, [k]) as uint8 [k, channels, resolution, resolution]."""
        if self._fits(resolution):
            return self.at(resolution)[positions]
        return resize(self.images[positions], resolution, resolution)

    def subset(self, positions: Tensor) -> "Part":
        """The images and labels at these positions (int64, [k])."""
        return Part(self.images[positions], self.labels[positions])

    def to(self, device: torch.device) -> "Part":
        """The part with its images and labels on a device, where batches are then made."""
        if self.images.device == device:
            return self
        return Part(self.images.to(device), self.labels.to(device))

    def _fits(self, resolution: int) -> bool:
        if resolution in self._resized:
            return True
        kept = sum(images.numel() for images in self._resized.values())
        return kept + len(self) * self.images.shape[1] * resolution**2 <= _CACHE_BYTES


@dataclass(frozen=True, slots=True)
class Fractions:
    """Shares of the four parts; where the data bring a part of their own, the others are scaled up."""

    weights: float = 0.4
    alphas: float = 0.25
    select: float = 0.15
    test: float = 0.2

    def __post_init__(self) -> None:
        shares = (self.weights, self.alphas, self.select, self.test)
        if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            raise DataError(f"fractions are {shares}; each must be above 0 and they must sum to 1")


# Data that brings its own test part tends to be large, where a tenth suffices to select.
_FRACTIONS_WITH_OWN_TEST = Fractions(0.44, 0.28, 0.08, 0.2)


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """The four parts; no image lies in two of them.

    Attributes:
        weights: Trains the weights of a supernet.
        alphas: Trains architecture parameters.
        select: Judges candidates, finalists and the pick.
        test: Opened once, when the front is frozen.
        classes: Names of the classes.
        normalisation: Statistics of the training images.
        preparation: How stored pictures became these images; None where that is not known.
        notes: What a user should know of the split, a line each.
        training: weights and alphas together, for the elastic supernet and the finalists.
    """

    weights: Part
    alphas: Part
    select: Part
    test: Part
    classes: tuple[str, ...]
    normalisation: Normalisation
    preparation: Preparation | None = None
    notes: tuple[str, ...] = ()
    training: Part = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "training", _joined(self.weights, self.alphas))

    def to(self, device: torch.device) -> "Splits":
        """The same split with all parts on a device."""
        if all(part.images.device == device for part in (self.weights, self.alphas, self.select, self.test)):
            return self
        weights, alphas, select, test = (
            part.to(device) for part in (self.weights, self.alphas, self.select, self.test)
        )
        return Splits(
            weights, alphas, select, test, self.classes, self.normalisation, self.preparation, self.notes
        )


def default_fractions(own_test: bool) -> Fractions:
    """The shares where nobody asks for others; `own_test` tells whether the data bring a test part."""
    return _FRACTIONS_WITH_OWN_TEST if own_test else Fractions()


def split(data: ImageData, *, seed: int = 0, fractions: Fractions | None = None) -> Splits:
    """Splits the data, class by class; identical images stay in one part.

    Args:
        data: Parts of its own are kept: the test part whole, the selection part without images that occur in
            the test part, too. Training images that occur in either are dropped.
        seed: Draws the split.
        fractions: Shares of the parts. By default weights, alphas, select and test get 40, 25, 15 and 20 %.
            With a test part of its own, the first three get 55, 35 and 10 %; with a selection part of its
            own, weights, alphas and test get 47.1, 29.4 and 23.5 %; with both, weights and alphas get 61.1
            and 38.9 %.

    Raises:
        DataError: A class has too few different images for each part to get one.
    """
    check_splittable(data)
    shares = fractions or default_fractions(data.test is not None)
    names = drawn_parts(data)
    share = np.array([getattr(shares, name) for name in names])
    own, notes = _own_parts(data)
    notes = under_two_labels(data) + notes
    groups = fingerprints(data.images)
    kept = [fingerprints(part.images) for part in own.values()]
    excluded = np.isin(groups, np.concatenate(kept)) if kept else np.zeros(len(groups), bool)
    if excluded.any():
        notes.append(
            f"{excluded.sum()} training images are dropped, as the {' or '.join(own)} part holds them, too"
        )
    membership = _assign(groups, data.labels.numpy(), share / share.sum(), excluded, seed, data)
    drawn = {name: _part(data, membership == k) for k, name in enumerate(names)}
    parts = drawn | own
    statistics = Normalisation.of(_joined(parts["weights"], parts["alphas"]).images)
    weights, alphas, select, test = (parts[name] for name in ("weights", "alphas", "select", "test"))
    return Splits(weights, alphas, select, test, data.classes, statistics, data.preparation, tuple(notes))


def _own_parts(data: ImageData) -> tuple[dict[str, Part], list[str]]:
    """The parts that the data bring, no image in both, and what is to be said of them."""
    own, notes = {}, []
    if data.select is not None:
        images, labels = data.select
        if data.test is not None:
            repeated = np.isin(fingerprints(images), fingerprints(data.test[0]))
            if repeated.all():
                raise DataError(f"every selection image of {data.name} is a test image, too; give others")
            if repeated.any():
                notes.append(
                    f"{repeated.sum()} selection images are dropped, as the test part holds them, too"
                )
            places = torch.from_numpy(np.flatnonzero(~repeated))
            images, labels = images[places], labels[places]
        own["select"] = Part(images, labels)
    if data.test is not None:
        own["test"] = Part(*data.test)
    for name, part in own.items():
        absent = sorted(set(range(len(data.classes))) - set(part.labels.tolist()))
        if absent:
            names = ", ".join(data.classes[label] for label in absent[:_SHOWN_CLASSES])
            notes.append(
                f"the {name} part holds none of {len(absent)} of {len(data.classes)} classes ({names})"
            )
    return own, notes


def _joined(first: Part, second: Part) -> Part:
    return Part(torch.cat([first.images, second.images]), torch.cat([first.labels, second.labels]))


def _part(data: ImageData, mask: npt.NDArray[np.bool_]) -> Part:
    chosen = torch.from_numpy(np.flatnonzero(mask))
    return Part(data.images[chosen], data.labels[chosen])


def _assign(
    groups: npt.NDArray[np.uint64],
    labels: npt.NDArray[np.int64],
    share: npt.NDArray[np.float64],
    excluded: npt.NDArray[np.bool_],
    seed: int,
    data: ImageData,
) -> npt.NDArray[np.int64]:
    """The part of each image, -1 for excluded ones; identical images go by the label of their first one."""
    rng = np.random.default_rng(seed)
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    part_of_group = np.full(len(first), -1)
    usable = ~excluded[first]
    # np.unique sorts by hash; ordering by first occurrence keeps the draw a matter of the seed alone.
    by_occurrence = np.argsort(first)
    for label in range(len(data.classes)):
        candidates = by_occurrence[(labels[first] == label)[by_occurrence] & usable[by_occurrence]]
        sizes = _sizes(len(candidates), share)
        part_of_group[rng.permutation(candidates)] = np.repeat(np.arange(len(share)), sizes)
    return part_of_group[member]


def _sizes(n: int, share: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Largest remainders, then one from the largest part for each that would stay empty."""
    sizes = np.floor(n * share).astype(np.int64)
    sizes[np.argsort(sizes - n * share, kind="stable")[: n - sizes.sum()]] += 1
    while sizes.min() < 1 and sizes.max() > 1:
        sizes[np.argmin(sizes)] += 1
        sizes[np.argmax(sizes)] -= 1
    return sizes
