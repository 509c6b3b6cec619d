"""Hand-designed networks, trained and measured beside the found ones."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mobinas.arch.architecture import Task
from mobinas.errors import ArchitectureError, did_you_mean
from mobinas.nets.conv import Conv2d
from mobinas.nets.module import BATCH_NORM_MOMENTUM
from mobinas.torchvision_ops import import_torchvision


class PlainCNN(nn.Module):
    """Three stages of two 3x3 convolutions each, widths doubling, as in VGG (https://arxiv.org/abs/1409.1556).

    Batch normalisation and a global mean replace VGG's bias and hidden linear layers.
    """

    def __init__(self, in_channels: int, classes: int, width: int = 16) -> None:
        """Builds it.

        Args:
            in_channels: Of the image.
            classes: Number of logits.
            width: Channels of the first stage.
        """
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in range(3):
            for place in range(2):
                stride = 2 if stage and not place else 1
                layers += _conv_bn_relu(channels, width << stage, stride)
                channels = width << stage
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Maps normalised images, [batch, channels, height, width], to logits, [batch, classes]."""
        features: Tensor = self.features(image)
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def _conv_bn_relu(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(outputs, momentum=BATCH_NORM_MOMENTUM), nn.ReLU()]


def _mobilenet_v3_small(task: Task) -> nn.Module:
    """torchvision's, with its momentum of 0.01 raised: a short training never fills such statistics."""
    network: nn.Module = import_torchvision("torchvision.models").mobilenet_v3_small(
        weights=None, num_classes=task.classes
    )
    first = network.get_submodule("features.0.0")
    assert isinstance(first, nn.Conv2d)
    if task.in_channels != first.in_channels:
        conv = nn.Conv2d(task.in_channels, first.out_channels, 3, 2, 1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out")
        network.set_submodule("features.0.0", conv)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = BATCH_NORM_MOMENTUM
        elif isinstance(module, nn.Conv2d):
            network.set_submodule(name, Conv2d.like(module))
    return network


def _mobilenet_v3_small_stride1(task: Task) -> nn.Module:
    """For small images: the first two of its five halvings are left out."""
    network = _mobilenet_v3_small(task)
    for name in ("features.0.0", "features.1.block.0.0"):
        conv = network.get_submodule(name)
        assert isinstance(conv, nn.Conv2d) and conv.stride == (2, 2)
        conv.stride = (1, 1)
    return network


BASELINES: dict[str, Callable[[Task], nn.Module]] = {
    "mobilenet_v3_small": _mobilenet_v3_small,
    "mobilenet_v3_small_stride1": _mobilenet_v3_small_stride1,
    "plain_cnn": lambda task: PlainCNN(task.in_channels, task.classes),
}


def make_baseline(name: str, task: Task, *, seed: int = 0) -> nn.Module:
    """A baseline with fresh weights.

    Args:
        name: A key of `BASELINES`.
        task: Channels in, classes out.
        seed: Draws the weights; PyTorch's global generator is left as it was.

    Raises:
        ArchitectureError: An unknown name.
    """
    if name not in BASELINES:
        raise ArchitectureError(f"unknown baseline '{name}'{did_you_mean(name, BASELINES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BASELINES[name](task)
