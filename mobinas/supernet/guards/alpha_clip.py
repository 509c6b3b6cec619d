"""Gradient clipping on the architecture parameters."""

from collections.abc import Sequence

from torch import Tensor

from mobinas.supernet.guard import Guard
from mobinas.train.optimisation import shorten

_LARGEST_NORM = 1.0


def _clip(gradients: Sequence[Tensor]) -> None:
    shorten(gradients, _LARGEST_NORM)


GUARD = Guard(
    name="alpha_clip",
    summary="architecture gradients of a norm above 1 are shortened to 1",
    clip=_clip,
)
