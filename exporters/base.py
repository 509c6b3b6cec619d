"""What an export format must offer, and the facts about an exported model."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mobinas.arch.architecture import Architecture
from mobinas.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor, nn

ImageShape = tuple[int, int, int]

# Float32 sums in another order differ by about 1e-6 of the result per hundred layers; a wrong padding, a
# transposed kernel or unfolded statistics by more than 1e-2.
RELATIVE_TOLERANCE = 1e-4

RESIZE_NOTE = (
    "The file expects images already resized to its resolution (bilinear, antialiased), scaled to [0, 1] "
    "and normalised: (x / 255 - mean) / std per channel; 'preprocessing' states every step from a "
    "stored picture "
    "on. All that happens outside of the file, and the measured latency does not include it."
)


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a file's outputs lie from those of the network it was made from.

    Attributes:
        max_abs_error: Largest absolute difference of two outputs.
        max_rel_error: The same, divided by the largest absolute output of the network.
        agreeing_share: Share of images whose largest output is the same class in both, in [0, 1].
        n: Number of images compared.
    """

    max_abs_error: float
    max_rel_error: float
    agreeing_share: float
    n: int

    def __post_init__(self) -> None:
        for name in ("max_abs_error", "max_rel_error"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise ExportError(f"{name} is {value}; an error is a finite number of at least 0")
        if not 0 <= self.agreeing_share <= 1 or self.n < 1:
            raise ExportError(
                f"{self.agreeing_share} of {self.n} images agree; it must be a share in [0, 1] of at least 1"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Exported:
    """A written file and what is exactly known about it.

    Attributes:
        path: The file.
        opset: Version of its operator set.
        precision: Type of its weights and activations, such as ``fp32``.
        outputs: Numbers per image, the classes of a classifier.
        params: Trainable numbers of the network, batch normalisation included.
        macs: Multiply-accumulates per image.
    """

    path: Path
    opset: int
    precision: str
    outputs: int
    params: int
    macs: int


class Exporter(Protocol):
    """One export format. `requires`, `export` and `ensures` are called in this order for each network."""

    @property
    def name(self) -> str:
        """As users choose it; the name of its file in `exporters/formats/`."""
        ...

    @property
    def file_name(self) -> str:
        """Of the model within its bundle."""
        ...

    def requires(self, module: "nn.Module", image_shape: ImageShape) -> None:
        """Refuses a network that the format cannot hold.

        Raises:
            ExportError: What is in the way, and what to do about it.
        """
        ...

    def export(
        self, module: "nn.Module", path: Path, *, image_shape: ImageShape, metadata: Mapping[str, str]
    ) -> Exported:
        """Writes the network in evaluation mode; the module is left as it was.

        Args:
            module: From normalised images [batch, *image_shape] to logits.
            path: The file to write.
            image_shape: (channels, height, width).
            metadata: Texts to keep inside the file.

        Raises:
            ExportError: The network could not be translated.
        """
        ...

    def ensures(self, module: "nn.Module", path: Path, images: "Tensor", tolerance: float) -> Parity:
        """Compares the file's outputs with the network's.

        Args:
            module: What was exported.
            path: The file.
            images: Normalised, [n, channels, height, width].
            tolerance: Largest accepted `Parity.max_rel_error`.

        Raises:
            ExportError: They differ by more.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a user of an exported classifier has to know, for its manifest and for the file's metadata.

    Attributes:
        classes: Names, in the order of the logits.
        mean: Per channel, of images scaled to [0, 1].
        std: Per channel, positive.
        resize_s: Seconds that resizing one image takes, where known.
        architecture: Where the network is one of a search space.
        preprocessing: All that turns a stored picture into the network's input, as plain data, where known.
    """

    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize_s: float | None = None
    architecture: Architecture | None = None
    preprocessing: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise ExportError(f"classes are {list(self.classes)}; a classifier has at least 2")
        if len(self.mean) != len(self.std) or not self.mean:
            raise ExportError(
                f"{len(self.mean)} means but {len(self.std)} stds; give one of each per channel"
            )
        if not all(math.isfinite(x) for x in self.mean) or not all(0 < x < math.inf for x in self.std):
            raise ExportError(f"mean {self.mean}, std {self.std}: both must be finite and std positive")

    def manifest(self) -> dict[str, Any]:
        """Entries for `export_bundle`."""
        return {
            "classes": list(self.classes),
            "mean": list(self.mean),
            "std": list(self.std),
            "resize": {"note": RESIZE_NOTE, "seconds_per_image": self.resize_s},
            "preprocessing": None if self.preprocessing is None else dict(self.preprocessing),
            "architecture": None if self.architecture is None else self.architecture.to_json(),
        }

    def metadata(self) -> dict[str, str]:
        """Texts for the file itself; lists as JSON."""
        texts = {
            "mobinas.classes": json.dumps(list(self.classes)),
            "mobinas.mean": json.dumps(list(self.mean)),
            "mobinas.std": json.dumps(list(self.std)),
            "mobinas.preprocessing": RESIZE_NOTE
            if self.preprocessing is None
            else json.dumps(dict(self.preprocessing)),
        }
        if self.architecture is not None:
            texts["mobinas.architecture"] = json.dumps(self.architecture.to_json(), sort_keys=True)
        return texts
