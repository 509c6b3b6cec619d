"""Images with labels, as one uint8 tensor, and how they are resized."""

import hashlib
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mobinas.errors import DataError
from mobinas.train.preparation import Preparation

_RESIZE_CHUNK = 1024
_COLOURS = 3
_DEVICE_OF_PILLOW = "cpu"


@dataclass(frozen=True, slots=True)
class Found:
    """What a reader of pictures came across, for what is told of it.

    Attributes:
        names: Of the images, then of those to select by and of the test images; none where they have none.
        unreadable: Names of further pictures, each with why it cannot be read.
        sizes: The smallest and the largest stored size in pixels, in words.
        skipped: What was passed over, a reason each.
    """

    names: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    sizes: str = ""
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """A labelled set of images of one size.

    Attributes:
        images: uint8, [n, channels, height, width].
        labels: int64, [n], each a position in `classes`.
        classes: Names of the classes.
        name: What the data set is called in reports.
        test: Images and labels that the data set itself keeps for the final test, if it does.
        select: Likewise, those that it keeps to select by (its validation part).
        preparation: How stored pictures became these images; None where they came as arrays.
        notes: What a user should know of how the data were read, a line each.
        found: What the reader came across, for such notes.

    Raises:
        DataError: A tensor of another type or shape, a label outside of `classes`, fewer than two classes.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    test: tuple[Tensor, Tensor] | None = None
    select: tuple[Tensor, Tensor] | None = None
    preparation: Preparation | None = None
    notes: tuple[str, ...] = ()
    found: Found = Found()

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(
                f"{self.name} has {len(self.classes)} class ({', '.join(self.classes) or 'none'}); "
                "a classifier needs images of at least 2"
            )
        if len(set(self.classes)) != len(self.classes):
            raise DataError(f"{self.name} names a class twice in {list(self.classes)}; name each class once")
        check_images(self.images, self.labels, len(self.classes), self.name)
        for part, own in (("test", self.test), ("select", self.select)):
            if own is None:
                continue
            check_images(*own, len(self.classes), f"the {part} part of {self.name}")
            if own[0].shape[1:] != self.images.shape[1:]:
                raise DataError(
                    f"{part} images of {self.name} have shape {list(own[0].shape[1:])}, the others "
                    f"{list(self.images.shape[1:])}; give both the same channels, height and width"
                )

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.images.shape[1]

    @property
    def digest(self) -> str:
        """Hex digest of all pixels, labels and class names; the name does not count."""
        sha = hashlib.sha256(repr((self.classes, list(self.images.shape))).encode())
        for tensor in (self.images, self.labels, *(self.test or ()), *(self.select or ())):
            sha.update(tensor.contiguous().numpy())
        return sha.hexdigest()[:16]


def check_images(images: Tensor, labels: Tensor, n_classes: int, name: str) -> None:
    """Refuses what is not a batch of labelled uint8 images.

    Args:
        images: uint8, [n, channels, height, width].
        labels: int64, [n].
        n_classes: Labels are smaller than this.
        name: What the error message calls the images.

    Raises:
        DataError: With the value and the rule.
    """
    if images.ndim != 4 or images.dtype != torch.uint8:
        raise DataError(
            f"images of {name} are {images.dtype} of shape {list(images.shape)}; "
            "they must be uint8 [n, channels, height, width]"
        )
    if not images.numel():
        raise DataError(f"{name} holds no images (shape {list(images.shape)})")
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise DataError(
            f"labels of {name} are {labels.dtype} of shape {list(labels.shape)}; "
            f"they must be int64, one for each of {len(images)} images"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise DataError(f"labels of {name} run from {low} to {high}; they must lie in 0 to {n_classes - 1}")


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Resizes uint8 images by antialiased bilinear interpolation.

    On the CPU the result is Pillow's ``resize(..., BILINEAR)`` to the last bit, so that whoever has Pillow
    can
    repeat it. PyTorch's own interpolation, which serves on other devices, differs from it by at most one
    level of
    255, as it rounds once and not after each axis.

    Args:
        images: uint8, [n, channels, any height, any width].
        height: Of the result, in pixels.
        width: Of the result, in pixels.

    Returns:
        uint8, [n, channels, height, width], on the same device; the input itself where nothing changes.
    """
    if images.shape[2:] == (height, width):
        return images
    if images.device.type == _DEVICE_OF_PILLOW:
        return _resized_by_pillow(images, height, width)
    result = torch.empty((*images.shape[:2], height, width), dtype=torch.uint8, device=images.device)
    for start in range(0, len(images), _RESIZE_CHUNK):
        chunk = slice(start, start + _RESIZE_CHUNK)
        x = functional.interpolate(
            images[chunk].float(), size=(height, width), mode="bilinear", antialias=True, align_corners=False
        )
        result[chunk] = x.round_().clamp_(0, 255)
    return result


def _resized_by_pillow(images: Tensor, height: int, width: int) -> Tensor:
    n, channels = images.shape[:2]
    if channels == _COLOURS:
        pictures = images.permute(0, 2, 3, 1)
        result = torch.empty((n, height, width, channels), dtype=torch.uint8)
    else:
        pictures = images.flatten(0, 1)
        result = torch.empty((n * channels, height, width), dtype=torch.uint8)
    for source, made in zip(pictures.contiguous().numpy(), result.numpy(), strict=True):
        made[:] = Image.fromarray(source).resize((width, height), Image.Resampling.BILINEAR)
    if channels == _COLOURS:
        return result.permute(0, 3, 1, 2).contiguous()
    return result.view(n, channels, height, width)
