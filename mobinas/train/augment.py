"""Random changes of a whole batch of images at once."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mobinas.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Augment:
    """What training does to its images; all lengths are shares of the side, so that they fit any resolution.

    Attributes:
        shift: Images move by up to this share in each direction, rounded down to pixels (2 of 32 are 0.0625);
            black moves in. The 8-pixel digits lose 3 points of accuracy by a shift of 1 pixel (15 epochs,
            2 seeds).
        flip: Every second image is mirrored left to right; wrong for digits and letters.
        cutout: Side of one black square per image, anywhere (https://arxiv.org/abs/1708.04552); 0 for none.
    """

    shift: float = 0.0625
    flip: bool = False
    cutout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("shift", "cutout"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ConfigError(f"augment.{name} is {value}; it is a share of the side, from 0 to below 1")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Changes each image on its own.

        Args:
            images: uint8, [n, channels, height, width], on any device; not changed.
            generator: Draws everything, on the CPU, so that all devices see the same changes.

        Returns:
            uint8 of the same shape, on the same device.
        """
        images = self._moved(images, generator)
        return images * _outside_square(images, self.cutout, generator) if self.cutout else images

    def _moved(self, images: Tensor, generator: torch.Generator) -> Tensor:
        (n, _, height, width), device = images.shape, images.device
        pad = int(self.shift * max(height, width))
        if not pad and not self.flip:
            return images
        top, left = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=generator).to(device)
        rows = top + torch.arange(height, device=device)
        columns = left + torch.arange(width, device=device)
        if self.flip:
            mirrored = (torch.rand((n, 1), generator=generator) < 0.5).to(device)
            columns = torch.where(mirrored, columns.flip(1), columns)
        padded = functional.pad(images, (pad, pad, pad, pad))
        where = torch.arange(n, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]
        # Gathered as [n, height, width, channels], the memory layout that convolutions on a CPU like best.
        moved = padded.permute(0, 2, 3, 1)[where]
        return moved.permute(0, 3, 1, 2)


def _outside_square(images: Tensor, side: float, generator: torch.Generator) -> Tensor:
    """uint8 [n, 1, height, width]: 0 in a square around a random pixel of each image, else 1."""
    (n, _, height, width), device = images.shape, images.device
    centres = torch.rand((2, n, 1), generator=generator).to(device)
    inside = [
        (torch.arange(length, device=device) - (centre * length).floor() + 0.5).abs() < side * length / 2
        for length, centre in zip((height, width), centres, strict=True)
    ]
    square = torch.logical_and(inside[0][:, None, :, None], inside[1][:, None, None, :])
    return torch.logical_not(square).to(torch.uint8)
