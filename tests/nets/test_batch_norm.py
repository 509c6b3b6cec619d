import pytest
import torch
from torch import nn

from mobinas.nets.batch_norm import recalibrate


def network() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


def batches(n: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn((8, 2, 4, 4), generator=generator) * 3 + k for k in range(n)]


def test_statistics_are_the_averages_over_the_batches() -> None:
    net = network()
    net[0].running_mean += 100
    recalibrate(net, batches())
    means = torch.stack([b.mean(dim=(0, 2, 3)) for b in batches()])
    variances = torch.stack([b.transpose(0, 1).flatten(1).var(dim=1) for b in batches()])
    assert torch.allclose(net[0].running_mean, means.mean(0), atol=1e-5)
    assert torch.allclose(net[0].running_var, variances.mean(0), rtol=1e-5)


def test_dropout_stays_off_so_two_runs_agree() -> None:
    net = network()
    recalibrate(net, batches())
    first = net[3].running_var.clone()
    recalibrate(net, batches())
    assert torch.equal(net[3].running_var, first)


@pytest.mark.parametrize("training", [True, False])
def test_modes_and_momentum_are_restored(training: bool) -> None:
    net = network().train(training)
    net[2].train(not training)
    recalibrate(net, batches())
    assert [m.training for m in net] == [training, training, not training, training]
    assert net[0].momentum == 0.1


def test_modes_are_restored_after_an_error() -> None:
    net = network().train()
    with pytest.raises(RuntimeError):
        recalibrate(net, [torch.zeros(2, 5, 4, 4)])
    assert all(m.training for m in net) and net[0].momentum == 0.1


def test_weights_and_the_rest_do_not_change() -> None:
    net = network()
    before = {k: v.clone() for k, v in net.state_dict().items() if "running" not in k and "tracked" not in k}
    recalibrate(net, batches())
    assert all(torch.equal(net.state_dict()[k], v) for k, v in before.items())


def test_no_batches_leave_the_statistics() -> None:
    net = network()
    net[0].running_mean += 7
    recalibrate(net, [])
    assert net[0].running_mean.tolist() == [7, 7]
    recalibrate(nn.Sequential(nn.ReLU()), batches())
