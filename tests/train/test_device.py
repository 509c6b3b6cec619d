"""Training on a device that is not the CPU, by fake tensors: nothing of a step stays behind on the CPU."""

import pytest
import torch
from elsewhere import ELSEWHERE, fake_values

from mobinas.arch.architecture import Task
from mobinas.errors import ConfigError
from mobinas.nets.baselines import make_baseline
from mobinas.train.augment import Augment
from mobinas.train.data import load_data
from mobinas.train.device import find_device
from mobinas.train.loop import Recipe, _Run
from mobinas.train.splits import Splits, split


@pytest.fixture(scope="module")
def splits() -> Splits:
    return split(load_data("digits", limit=200), seed=0)


def test_batches_are_made_where_the_images_are(splits: Splits) -> None:
    with fake_values():
        there = splits.to(ELSEWHERE)
        assert there.to(ELSEWHERE) is there
        for resolution in (8, 12):  # as they are, and resized
            images = there.training.batch(torch.arange(6), resolution)
            images = Augment(0.2, flip=True, cutout=0.3)(images, torch.Generator().manual_seed(0))
            assert (images.device, images.dtype) == (ELSEWHERE, torch.uint8)
            assert there.normalisation(images).device == ELSEWHERE


def test_a_step_runs_where_the_network_is(splits: Splits) -> None:
    module = make_baseline("plain_cnn", Task(10, 1), seed=0).to(ELSEWHERE)
    with fake_values():
        for part in (splits.training, splits.training.to(ELSEWHERE)):
            run = _Run(module, part, Recipe(), 8, splits.normalisation, 0)
            run.step(torch.arange(8), 0.1)
            assert {p.device for p in module.parameters()} == {ELSEWHERE}


def test_a_device_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    with pytest.raises(
        ConfigError, match=r"device is 'cuda', but PyTorch finds no GPU.*set device to 'auto'"
    ):
        find_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("auto") == torch.device("cuda", 0)
    assert find_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match="the last of 2 is cuda:1"):
        find_device("cuda:2")
