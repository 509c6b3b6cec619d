"""Spaces of networks of stages for images of three sizes.

Widths from 16 on are multiples of 16, at which no runtime pads or leaves its blocked layout.
"""

from collections.abc import Callable

from mobinas.arch.architecture import Task
from mobinas.arch.blocks import ACTIVATIONS, HEADS
from mobinas.arch.stage_choices import StageChoices
from mobinas.arch.stage_space import StageSpace
from mobinas.errors import ArchitectureError, did_you_mean

_BLOCKS = ("conv", "rep", "ds", "mbconv", "uib_extra", "uib_convnext", "fused", "fused_g2")


def _searched(*stages: tuple[tuple[int, ...], tuple[int, ...], int]) -> tuple[StageChoices, ...]:
    return tuple(StageChoices(widths, depths, _BLOCKS, (stride,)) for widths, depths, stride in stages)


def _tiny(task: Task) -> StageSpace:
    stages = _searched(((16, 32), (0, 1, 2), 1), ((32, 48, 64), (1, 2, 3), 2), ((64, 96, 128), (0, 1, 2), 2))
    sizes = (8, 12, 16, 24, 32), (8, 16, 32)
    return StageSpace(task, *sizes, stages, ("3x3", "3x3_s2"), activations=ACTIVATIONS)


def _small(task: Task) -> StageSpace:
    stages = _searched(
        ((16, 32), (0, 1, 2), 1),
        ((32, 48, 64), (1, 2, 3), 2),
        ((64, 96, 128), (1, 2, 3), 2),
        ((128, 192, 256), (0, 1, 2), 2),
    )
    around = ("3x3", "3x3_s2", "patch2"), ("linear", "wide_pooled"), (256, 512), ACTIVATIONS
    return StageSpace(task, (28, 32, 48, 64), (16, 32), stages, *around)


def _mobile(task: Task) -> StageSpace:
    stages = _searched(
        ((16, 32), (0, 1, 2), 1),
        ((32, 48, 64), (1, 2, 3), 2),
        ((64, 96), (1, 2, 3), 2),
        ((96, 128, 160), (1, 2, 3, 4), 2),
        ((192, 256, 320), (0, 1, 2, 3), 2),
    )
    around = ("3x3_s2", "double_s2", "double_s4", "patch4"), tuple(HEADS), (640, 1280), ACTIVATIONS
    return StageSpace(task, (128, 160, 192, 224), (16, 32), stages, *around)


STAGE_PRESETS: dict[str, Callable[[Task], StageSpace]] = {"tiny": _tiny, "small": _small, "mobile": _mobile}
"""By size of the images: 8 to 32, 28 to 64 and 128 to 224 pixels."""


def stage_preset(name: str, task: Task) -> StageSpace:
    """A named space of stages for a task.

    Raises:
        ArchitectureError: An unknown name.
    """
    if name not in STAGE_PRESETS:
        raise ArchitectureError(f"unknown space of stages '{name}'{did_you_mean(name, STAGE_PRESETS)}")
    return STAGE_PRESETS[name](task)
