"""Methods that draw one op per edge, or one cell."""

import random

import pytest
import torch

from mobinas.arch.architecture import Task
from mobinas.arch.space import SearchSpace
from mobinas.supernet.bilevel import BilevelSearch, search_supernet
from mobinas.supernet.methods.gdas import GdasRelaxation
from mobinas.supernet.methods.random import RandomRelaxation
from mobinas.supernet.relaxation import Mixture
from mobinas.supernet.settings import MethodSettings
from mobinas.train.data import load_data
from mobinas.train.splits import Splits, split

OPS = ("none", "skip_connect", "conv_3x3", "max_pool_3x3")
SPACE = SearchSpace(Task(10, 1), (8,), (3,), (4,), (OPS,), nodes=2)


@pytest.fixture(scope="module")
def digits() -> Splits:
    return split(load_data("digits", limit=400), seed=0)


def test_gdas_draws_each_op_as_often_as_its_probability() -> None:
    relaxation = GdasRelaxation(OPS, 2, 0)
    with torch.no_grad():
        relaxation.normal[:] = torch.tensor([2.0, 0.0, 1.0, -1.0])
    expected = torch.softmax(relaxation.normal[0].detach(), 0)
    n = 400
    counts = sum((relaxation().normal.ops != 0).float().sum(0) for _ in range(n))
    draws = n * len(relaxation.normal)
    deviation = (counts - draws * expected) / (draws * expected * (1 - expected)).sqrt()
    assert float(deviation.abs().max()) < 4


def test_gdas_is_one_hot_forward_and_soft_backward() -> None:
    relaxation = GdasRelaxation(OPS, 2, 0)
    relaxation.begin_epoch(0.5, torch.Generator().manual_seed(1))
    assert relaxation.temperature == pytest.approx(5.05)
    weights = relaxation().normal
    assert weights.sampled
    torch.testing.assert_close(weights.ops.detach().sum(1), torch.ones(5))
    assert ((weights.ops != 0).sum(1) == 1).all()
    torch.testing.assert_close(weights.ops.detach()[weights.ops != 0], torch.ones(5))
    value = torch.arange(4.0)
    (gradient,) = torch.autograd.grad((weights.ops[0] * value).sum(), [relaxation.normal])
    # The softmax at this temperature: d/da_j sum_i v_i s_i = s_j (v_j - sum_i v_i s_i) / temperature.
    relaxation.begin_epoch(0.5, torch.Generator().manual_seed(1))
    exponential = torch.empty(5, 4).exponential_(generator=torch.Generator().manual_seed(1))
    logits = (torch.log_softmax(relaxation.normal.detach(), 1) - exponential.log()) / 5.05
    soft = torch.softmax(logits, 1)[0]
    towards = soft * (value - (soft * value).sum()) / 5.05
    # log_softmax adds a constant, to which the softmax is blind; its own derivative subtracts the mean flow.
    towards = towards - torch.softmax(relaxation.normal.detach(), 1)[0] * towards.sum()
    torch.testing.assert_close(gradient[0], towards, atol=1e-6, rtol=1e-4)


def test_random_draws_whole_cells_and_stays_even() -> None:
    relaxation = RandomRelaxation(OPS, 2, 0)
    assert not list(relaxation.parameters())
    relaxation.begin_epoch(0.0, torch.Generator().manual_seed(1))
    first = [relaxation().normal.ops for _ in range(20)]
    assert all(table.sum() == 4 and table[:, 0].sum() == 0 for table in first)  # two edges a node, no none
    relaxation.begin_epoch(0.0, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, relaxation().normal.ops) for a in first)
    assert relaxation.probabilities() == relaxation.probabilities()


def test_random_takes_the_best_of_what_it_judges(digits: Splits) -> None:
    settings = MethodSettings("random", epochs=3, batch_size=64)
    result = search_supernet(SPACE, digits, settings, seed=0)
    assert result.history[0].alpha_loss is None
    search = BilevelSearch(SPACE, digits, settings, 0)
    while search.epochs_done < 3:
        assert search.epoch()
    before = {name: tensor.clone() for name, tensor in search.network.state_dict().items()}
    rng = random.Random(0)
    ops = search.network.relaxation.ops
    judged = [search.judge(Mixture.of(SPACE.sample(rng).body.genotype, ops)) for _ in range(50)]
    assert search.judge(Mixture.of(result.genotype, ops)) == max(judged)
    assert all(torch.equal(before[name], t) for name, t in search.network.state_dict().items())
