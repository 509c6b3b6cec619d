"""An architecture: everything that fixes a network's computation, and nothing else (no weights)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mobinas.arch.genotype import Genotype, digest_of
from mobinas.errors import ArchitectureError

Stem = Literal["cifar", "strided", "imagenet"]
STEM_STRIDE: dict[Stem, int] = {"cifar": 1, "strided": 2, "imagenet": 8}
CELL_STRIDE = 4
"""Of the two reduction cells together."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the network is for: images of so many channels into so many classes."""

    classes: int
    in_channels: int = 3

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ArchitectureError(f"classes is {self.classes}; a classifier needs at least 2")
        if self.in_channels < 1:
            raise ArchitectureError(f"in_channels is {self.in_channels}; an image has at least 1 channel")


@dataclass(frozen=True, slots=True)
class CellBody:
    """A chain of cells; the cells at 1/3 and 2/3 of the depth are reduction cells (DARTS, section 3.2).

    Attributes:
        genotype: The two cells.
        depth: Number of cells.
        width: Channels of a node in the first cells; doubled by each reduction cell.
        stem: ``cifar`` (one convolution, stride 1), ``strided`` (two, stride 2: cells at half the size of the
            image, which the network itself brings there) or ``imagenet`` (three, stride 8).
    """

    genotype: Genotype
    depth: int
    width: int
    stem: Stem = "cifar"

    def __post_init__(self) -> None:
        if self.depth < 2:
            raise ArchitectureError(f"depth is {self.depth}; the two reduction cells need at least 2")
        if self.width < 2 or self.width % 2:
            raise ArchitectureError(
                f"width is {self.width}; it must be an even number of at least 2 channels"
            )
        if self.stem not in get_args(Stem):
            raise ArchitectureError(f"stem is '{self.stem}'; choose from {', '.join(get_args(Stem))}")

    @property
    def reductions(self) -> tuple[int, int]:
        """Positions of the reduction cells."""
        return self.depth // 3, 2 * self.depth // 3

    @property
    def stride(self) -> int:
        """Input pixels per pixel of the last cell, along one axis."""
        return STEM_STRIDE[self.stem] * CELL_STRIDE


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network's specification: body, input resolution and task.

    Attributes:
        body: What lies between image and classifier.
        resolution: Height and width of the input in pixels; a multiple of the body's stride.
        task: Channels in and classes out.
    """

    body: CellBody
    resolution: int
    task: Task

    def __post_init__(self) -> None:
        if self.resolution < 1 or self.resolution % self.body.stride:
            raise ArchitectureError(
                f"resolution is {self.resolution}; with this stem it must be a multiple of {self.body.stride}"
            )

    @property
    def digest(self) -> str:
        """64 hex digits; isomorphic architectures share them."""
        return digest_of(self._json_with(self.body.genotype.canonical()))

    @property
    def name(self) -> str:
        """A short readable name: resolution, depth, width and the start of the digest."""
        return f"r{self.resolution}-d{self.body.depth}-w{self.body.width}-{self.digest[:8]}"

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal architecture."""
        return self._json_with(self.body.genotype)

    def _json_with(self, genotype: Genotype) -> dict[str, Any]:
        body = self.body
        return {
            "body": {
                "kind": "cells",
                "genotype": genotype.to_json(),
                "depth": body.depth,
                "width": body.width,
                "stem": body.stem,
            },
            "resolution": self.resolution,
            "task": {"classes": self.task.classes, "in_channels": self.task.in_channels},
        }

    @classmethod
    def from_json(cls, data: Any) -> "Architecture":
        """Reads what `to_json` wrote.

        Raises:
            ArchitectureError: The data are not of that form, or break a rule.
        """
        try:
            body, task = dict(data["body"]), data["task"]
            if body.pop("kind") != "cells":
                raise ArchitectureError("the body's kind must be 'cells'")
            genotype = Genotype.from_json(body.pop("genotype"))
            numbers = (body["depth"], body["width"], data["resolution"], *task.values())
            if not isinstance(data, Mapping) or not all(type(n) is int for n in numbers):
                raise TypeError
            return cls(CellBody(genotype, **body), data["resolution"], Task(**task))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ArchitectureError(
                "an architecture is {'body': {kind, genotype, depth, width, stem}, 'resolution', 'task'}"
            ) from None
