import pytest
import torch
from torch import nn

from mobinas.arch.architecture import Task
from mobinas.errors import ArchitectureError
from mobinas.nets.baselines import BASELINES, make_baseline


def halvings(network: nn.Module) -> int:
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    return sum(conv.stride == (2, 2) for conv in convs)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(("channels", "classes", "resolution"), [(1, 10, 8), (3, 4, 33)])
def test_any_channels_classes_and_resolution(name: str, channels: int, classes: int, resolution: int) -> None:
    network = make_baseline(name, Task(classes, channels))
    logits = network(torch.zeros(2, channels, resolution, resolution))
    assert logits.shape == (2, classes)
    assert {m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_parameters_as_published() -> None:
    # torchvision's documentation gives 2,542,856 for 1000 classes.
    network = make_baseline("mobilenet_v3_small", Task(1000, 3))
    assert sum(p.numel() for p in network.parameters()) == 2_542_856


def test_only_the_first_two_halvings_go() -> None:
    task = Task(10, 3)
    plain, adapted = (make_baseline(f"mobilenet_v3_small{s}", task) for s in ("", "_stride1"))
    assert (halvings(plain), halvings(adapted)) == (5, 3)
    assert torch.equal(plain.state_dict()["features.0.0.weight"], adapted.state_dict()["features.0.0.weight"])
    features = adapted.get_submodule("features")
    assert features(torch.zeros(2, 3, 32, 32)).shape[2:] == (4, 4)


def test_the_seed_decides_and_the_global_generator_does_not_move() -> None:
    before = torch.get_rng_state()
    nets = [make_baseline("plain_cnn", Task(3, 1), seed=seed).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(nets[0]["features.0.weight"], nets[1]["features.0.weight"])
    assert not torch.equal(nets[0]["features.0.weight"], nets[2]["features.0.weight"])


def test_unknown_baseline() -> None:
    with pytest.raises(ArchitectureError, match="did you mean 'plain_cnn'"):
        make_baseline("plain_cn", Task(3, 1))
