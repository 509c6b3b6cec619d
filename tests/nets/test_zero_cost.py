"""Zero-cost scores against closed forms and slower ways to the same number."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.blocks import ACTIVATIONS
from mobinas.arch.genotype import published
from mobinas.arch.stages import Stage, StageBody
from mobinas.graph.lowering import lower
from mobinas.nets.module import GraphModule
from mobinas.nets.zero_cost import ZERO_COST, grad_norm, jacob_cov, naswot, parameters, synflow

_IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
_LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


class _Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3 * 8 * 8, 5, bias=False), nn.Linear(5, 4, bias=False)
        for k, layer in enumerate((self.first, self.last)):
            nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(k))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x.flatten(1))))


def test_synflow_of_a_chain_is_the_number_of_layers_times_its_positive_response() -> None:
    module = _Tiny()
    response = (module.last.weight.abs() @ module.first.weight.abs()).sum()
    assert synflow(module, _IMAGES, _LABELS) == pytest.approx(math.log(2 * float(response.detach())))


def test_naswot_against_a_loop_over_pairs() -> None:
    module = _Tiny()
    codes = (module.first(_IMAGES.flatten(1)) > 0).tolist()
    kernel = [[sum(a == b for a, b in zip(one, other, strict=True)) for other in codes] for one in codes]
    expected = np.linalg.slogdet(np.array(kernel, dtype=float))[1]
    assert naswot(module, _IMAGES, _LABELS) == pytest.approx(expected)


def test_jacob_cov_against_numpy() -> None:
    module, rows = _Tiny().double(), []
    for image in _IMAGES.double():
        inputs = image[None].requires_grad_()
        module(inputs).sum().backward()
        rows.append(inputs.grad.flatten().numpy())
    values = np.linalg.eigvalsh(np.corrcoef(np.array(rows))) + 1e-5
    assert jacob_cov(module, _IMAGES, _LABELS) == pytest.approx(-(np.log(values) + 1 / values).sum())


def test_grad_norm_against_backward() -> None:
    module = _Tiny().double()
    nn.functional.cross_entropy(module(_IMAGES.double()), _LABELS).backward()
    expected = sum(float(p.grad.norm()) for p in module.parameters())
    assert grad_norm(module, _IMAGES, _LABELS) == pytest.approx(expected)
    assert parameters(module, _IMAGES, _LABELS) == 3 * 8 * 8 * 5 + 5 * 4


@pytest.mark.parametrize("name", ZERO_COST)
def test_every_score_is_finite_repeatable_and_leaves_the_network_as_it_was(name: str) -> None:
    body = CellBody(published("DARTS_V2"), 3, 4)
    module = GraphModule(lower(Architecture(body, 8, Task(4, 3))), seed=0)
    before = copy.deepcopy(module.state_dict())
    one, other = (ZERO_COST[name](module, _IMAGES, _LABELS) for _ in range(2))
    assert math.isfinite(one) and one == other
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("name", ZERO_COST)
def test_networks_of_stages_have_scores(name: str) -> None:
    stages = (Stage("rep", 8, 2, 1, 3), Stage("mbconv", 8, 1, 2, 3, 3, True))
    body = StageBody("3x3", 8, stages, activation="hardswish")
    module = GraphModule(lower(Architecture(body, 8, Task(4))), seed=0)
    before = copy.deepcopy(module.state_dict())
    assert math.isfinite(ZERO_COST[name](module, _IMAGES, _LABELS))
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_a_hard_swish_counts_as_a_rectifier() -> None:
    body = StageBody("3x3", 8, (Stage("conv", 8, 1, 1, 3),))
    scores = set()
    for activation in ACTIVATIONS:
        network = replace(body, activation=activation)
        scores.add(naswot(GraphModule(lower(Architecture(network, 8, Task(4))), seed=0), _IMAGES, _LABELS))
    assert len(scores) == 2 and all(math.isfinite(score) for score in scores)
