"""Published networks as lists of stages, by their counts."""

from typing import Any

import pytest
import torch

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.blocks import Activation
from mobinas.arch.stages import Stage, StageBody
from mobinas.graph.cost import Cost, cost
from mobinas.graph.lowering import lower
from mobinas.nets.module import GraphModule
from mobinas.torchvision_ops import import_torchvision


def counted(body: StageBody) -> Cost:
    return cost(lower(Architecture(body, 224, Task(1000))))


def parameters_of(name: str) -> dict[str, int]:
    """Numbers of torchvision's network, by name; no memory is taken for them."""
    models = import_torchvision("torchvision.models")
    with torch.device("meta"):
        return {key: p.numel() for key, p in getattr(models, name)(weights=None).named_parameters()}


def stages(block: str, *rows: tuple[int, int, int], kernel: int = 3, **more: Any) -> tuple[Stage, ...]:
    """Rows of width, depth and stride."""
    return tuple(Stage(block, *row, kernel=kernel, **more) for row in rows)


MOBILENET_V2 = StageBody(
    "3x3_s2",
    32,
    (
        *stages("mbconv", (16, 1, 1), expansion=1),
        *stages(
            "mbconv", (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1), expansion=6
        ),
    ),
    "wide",
    1280,
)


def test_mobilenet_v2() -> None:
    """Table 2 of https://arxiv.org/abs/1801.04381; the second count is torchvision's, like 3,504,872."""
    found = counted(MOBILENET_V2)
    assert found.params == 3_504_872 == sum(parameters_of("mobilenet_v2").values())
    assert found.macs == 300_774_272


def test_mobilenet_v1() -> None:
    """Table 1 of https://arxiv.org/abs/1704.04861; the counts are those of its TensorFlow release."""
    rows = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
    found = counted(StageBody("3x3_s2", 32, stages("ds", *rows)))
    assert found == Cost(4_231_976, 568_740_352)


def test_resnet_18_without_its_projections() -> None:
    """Blocks of one convolution have no projected shortcut, the stem is 3x3; the rest is torchvision's."""
    numbers = parameters_of("resnet18")
    rows = ((64, 4, 2), (128, 4, 2), (256, 4, 2), (512, 4, 2))
    found = counted(StageBody("3x3_s2", 64, stages("conv", *rows)))
    projections = sum(n for name, n in numbers.items() if "downsample" in name)
    stems = 3 * 64 * (7 * 7 - 3 * 3)
    assert found.params == sum(numbers.values()) - projections - stems


REPVGG_A0 = StageBody("3x3_s2", 48, stages("rep", (48, 2, 2), (96, 4, 2), (192, 14, 2), (1280, 1, 2)))


def test_repvgg_a0() -> None:
    """Of https://arxiv.org/abs/2101.03697; 8,309,384 numbers after training and 9,108,968 in it.

    Its first layer is a block, too; here it is a stem, whose batch normalisation has 48 numbers more than a
    bias, and which has no branch of 1x1 in training.
    """
    assert counted(REPVGG_A0).params == 8_309_384 + 48
    with torch.device("meta"):
        module = GraphModule(lower(Architecture(REPVGG_A0, 224, Task(1000))), initialise=False)
    assert sum(p.numel() for p in module.parameters()) == 9_108_968 - 48 * 3 - 2 * 48


@pytest.mark.parametrize("activation", ["relu", "hardswish"])
def test_pp_lcnet(activation: Activation) -> None:
    """Table 1 of https://arxiv.org/abs/2109.15099, which tells 3.0 M; here counted row by row.

    The head's 1x1 convolution has a bias here.
    """
    rows = [(16, 32, 3), (32, 64, 3), (64, 64, 3), (64, 128, 3), (128, 128, 3), (128, 256, 3)]
    rows += [(256, 256, 5)] * 5 + [(256, 512, 5), (512, 512, 5)]
    separable = sum(k * k * i + 2 * i + i * o + 2 * o for i, o, k in rows)
    excited = sum(2 * c * (c // 4) + c // 4 + c for c in (256, 512))
    expected = 27 * 16 + 2 * 16 + separable + excited + 513 * 1280 + 1281 * 1000
    body = StageBody(
        "3x3_s2",
        16,
        (
            *stages("ds", (32, 1, 1), (64, 2, 2), (128, 2, 2), (256, 1, 2)),
            *stages("ds", (256, 5, 1), kernel=5),
            *stages("ds", (512, 2, 2), kernel=5, se=True),
        ),
        "wide_pooled",
        1280,
        activation,
    )
    found = counted(body).params
    assert found == expected
    assert round(found / 1e6, 1) == 3.0


def test_an_inverted_bottleneck_in_closed_form() -> None:
    """Of MobileNetV2, table 1, and squeeze-excitation of MobileNetV3: all written out."""
    body = StageBody("3x3", 8, (Stage("mbconv", 16, 1, 2, 5, 4, True),))
    inner = 32
    expand, depthwise, project = 8 * inner + 2 * inner, 25 * inner + 2 * inner, 16 * inner + 2 * 16
    squeeze = inner * 8 + 8 + 8 * inner + inner
    stem, head = 27 * 8 + 16, 16 * 10 + 10
    found = cost(lower(Architecture(body, 8, Task(10))))
    assert found.params == stem + expand + depthwise + squeeze + project + head
    assert found.macs == 64 * (27 * 8 + 8 * inner) + 16 * (25 * inner + 16 * inner) + 16 * inner + 160
