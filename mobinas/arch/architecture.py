"""An architecture: everything that fixes a network's computation, and nothing else (no weights)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

from mobinas.arch.genotype import Genotype, digest_of
from mobinas.arch.stages import ConvBn, StageBody
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

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal body."""
        return self.json_with(self.genotype)

    def json_with(self, genotype: Genotype) -> dict[str, Any]:
        """The same with another genotype."""
        return {
            "kind": "cells",
            "genotype": genotype.to_json(),
            "depth": self.depth,
            "width": self.width,
            "stem": self.stem,
        }


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network's specification: body, input resolution and task.

    Attributes:
        body: What lies between image and classifier: cells or stages.
        resolution: Height and width of the input in pixels; with cells a multiple of the body's stride, with
            stages at least the stride, and a multiple of the patches that the stem cuts.
        task: Channels in and classes out.
    """

    body: CellBody | StageBody
    resolution: int
    task: Task

    def __post_init__(self) -> None:
        match self.body:
            case CellBody():
                if self.resolution < 1 or self.resolution % self.body.stride:
                    raise ArchitectureError(
                        f"resolution is {self.resolution}; with this stem it must be a multiple of "
                        f"{self.body.stride}"
                    )
            case StageBody():
                if not isinstance(self.resolution, int):
                    raise ArchitectureError(f"resolution is {self.resolution!r}; it is a number of pixels")
                if self.resolution < self.body.stride:
                    raise ArchitectureError(
                        f"resolution is {self.resolution}; the strides of stem and stages multiply to "
                        f"{self.body.stride}, so images need at least {self.body.stride} pixels"
                    )
                if self.resolution % self.body.patch:
                    raise ArchitectureError(
                        f"resolution is {self.resolution}; stem '{self.body.stem}' needs a multiple of "
                        f"{self.body.patch}"
                    )
            case _:
                assert_never(self.body)

    @property
    def cells(self) -> CellBody:
        """The body, where it is one of cells.

        Raises:
            ArchitectureError: It is one of stages.
        """
        if not isinstance(self.body, CellBody):
            raise ArchitectureError(f"{self.name} is made of stages; this works on cells alone")
        return self.body

    @property
    def stages(self) -> StageBody:
        """The body, where it is one of stages.

        Raises:
            ArchitectureError: It is one of cells.
        """
        if not isinstance(self.body, StageBody):
            raise ArchitectureError(f"{self.name} is made of cells; this works on stages alone")
        return self.body

    @property
    def digest(self) -> str:
        """64 hex digits, shared by architectures that compute the same.

        These are isomorphic cells, and stages that stand for the same sequence of operations.
        """
        match self.body:
            case CellBody():
                return digest_of(self._json_with(self.body.json_with(self.body.genotype.canonical())))
            case StageBody():
                operations = self.body.canonical(self.task.in_channels)
                return digest_of(self._json_with({"kind": "stages", "operations": operations}))
            case _:
                assert_never(self.body)

    @property
    def name(self) -> str:
        """A short readable name: resolution, depth, width and the start of the digest.

        Of cells it tells their number and first width; of stages the number of convolutions in a row and the
        width of the last.
        """
        match self.body:
            case CellBody():
                size = f"d{self.body.depth}-w{self.body.width}"
            case StageBody():
                operations = [one for _, one in self.body.operations(self.task.in_channels)]
                convs = [one for one in operations if isinstance(one, ConvBn)]
                size = f"c{len(convs)}-w{convs[-1].outputs}"
            case _:
                assert_never(self.body)
        return f"r{self.resolution}-{size}-{self.digest[:8]}"

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal architecture."""
        return self._json_with(self.body.to_json())

    def _json_with(self, body: dict[str, Any]) -> dict[str, Any]:
        return {
            "body": body,
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
            task, numbers = data["task"], (data["resolution"], *data["task"].values())
            if not isinstance(data, Mapping) or not all(type(n) is int for n in numbers):
                raise TypeError
            return cls(_body(data["body"]), data["resolution"], Task(**task))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ArchitectureError(
                "an architecture is {'body': {'kind': 'cells', genotype, depth, width, stem} or {'kind': "
                "'stages', ...}, 'resolution', 'task'}"
            ) from None


def _body(data: Any) -> CellBody | StageBody:
    if data["kind"] == "stages":
        return StageBody.from_json(data)
    if data["kind"] != "cells":
        raise ArchitectureError(f"the body's kind is {data['kind']!r}; it must be 'cells' or 'stages'")
    rest = {name: value for name, value in data.items() if name != "kind"}
    genotype = Genotype.from_json(rest.pop("genotype"))
    if not all(type(rest[name]) is int for name in ("depth", "width")):
        raise TypeError
    return CellBody(genotype, **rest)
