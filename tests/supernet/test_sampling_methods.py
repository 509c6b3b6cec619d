"""Methods that draw one op per edge, or one cell."""

import random

import pytest
import torch

from mobinas.arch.architecture import Task
from mobinas.arch.space import SearchSpace
from mobinas.supernet.bilevel import BilevelSearch
from mobinas.supernet.methods.enas import ControllerRelaxation
from mobinas.supernet.methods.gdas import GdasRelaxation
from mobinas.supernet.methods.proxylessnas import ProxylessRelaxation
from mobinas.supernet.methods.proxylessnas_reinforce import ReinforceRelaxation
from mobinas.supernet.methods.random import RandomRelaxation
from mobinas.supernet.relaxation import Mixture, MovingBaseline, Relaxation
from mobinas.supernet.search import search_supernet
from mobinas.supernet.settings import MethodSettings
from mobinas.train.data import load_data
from mobinas.train.splits import Splits, split

OPS = ("none", "skip_connect", "conv_3x3", "max_pool_3x3")
SPACE = SearchSpace(Task(10, 1), (8,), (3,), (4,), (OPS,), nodes=2)


@pytest.fixture(scope="module")
def digits() -> Splits:
    return split(load_data("digits", limit=400), seed=0)


@pytest.mark.parametrize("kind", [GdasRelaxation, ProxylessRelaxation])
def test_each_op_is_drawn_as_often_as_its_probability(kind: type[GdasRelaxation]) -> None:
    relaxation = kind(OPS, 2, 0)
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
    assert weights.computed is not None and torch.equal(weights.computed, weights.ops != 0)
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


def test_proxyless_runs_two_paths_and_moves_their_alphas_alone() -> None:
    relaxation, seen = ProxylessRelaxation(OPS, 2, 0), []
    value = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))

    def run(mixture: Mixture) -> tuple[torch.Tensor, float]:
        seen.append(mixture)
        return (mixture.normal.ops * value).sum(), 0.5

    (found,) = torch.autograd.grad(relaxation.architecture_loss(run), [relaxation.normal])
    weights = seen[0].normal
    assert weights.computed is not None
    assert (weights.computed.sum(1) == 2).all()
    assert ((weights.ops != 0).sum(1) == 1).all() and not (weights.ops != 0)[~weights.computed].any()
    for row in range(5):  # eq. 4 over the two: dL/da_i = sum_j dL/dg_j p_j (delta_ij - p_i)
        two = weights.computed[row].nonzero().flatten()
        p = torch.softmax(relaxation.normal.detach()[row, two], 0)
        expected = torch.zeros(4)
        expected[two] = p * (value[row, two] - (p * value[row, two]).sum())
        torch.testing.assert_close(found[row], expected, atol=1e-7, rtol=1e-4)
        assert weights.ops.detach()[row].sum() == 1


def test_proxyless_leaves_the_probabilities_of_other_paths(digits: Splits) -> None:
    search = BilevelSearch(SPACE, digits, MethodSettings("proxylessnas", 1, 64, warm_up_share=0.0), 0)
    relaxation = search.relaxation
    assert isinstance(relaxation, ProxylessRelaxation)
    for step in range(3):  # momentum would show from the second on
        before = relaxation.normal.detach().clone()
        search.alpha_step(torch.arange(64) + step)
        moved = relaxation.normal.detach() != before
        assert (moved.sum(1) <= 2).all() and moved.any()
        shares, old = (torch.softmax(alphas.double(), 1) for alphas in (relaxation.normal.detach(), before))
        torch.testing.assert_close(shares[~moved], old[~moved], rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("kind", [ReinforceRelaxation, ControllerRelaxation])
def test_reinforce_learns_what_is_rewarded(kind: type[Relaxation]) -> None:
    relaxation = kind(OPS, 2, 0)  # type: ignore[call-arg]
    wanted = OPS.index("max_pool_3x3")
    optimiser = torch.optim.Adam(relaxation.parameters(), 0.02)

    def share(mixture: Mixture) -> float:
        return float(mixture.normal.ops[:, wanted].sum() / mixture.normal.ops.sum())

    def run(mixture: Mixture) -> tuple[torch.Tensor, float]:
        return torch.zeros(()), share(mixture)

    generator = torch.Generator().manual_seed(0)
    relaxation.begin_epoch(0.0, generator)
    before = sum(share(relaxation()) for _ in range(100)) / 100
    for _ in range(60):
        optimiser.zero_grad()
        relaxation.architecture_loss(run).backward()
        optimiser.step()
    after = sum(share(relaxation()) for _ in range(100)) / 100
    assert before < 0.5 and after > before + 0.25
    assert float(relaxation.baseline.value) > before


@pytest.mark.slow
def test_the_controller_knows_the_probability_of_what_it_draws() -> None:
    relaxation = ControllerRelaxation(("none", "skip_connect", "conv_3x3"), 1, 0)
    with torch.no_grad():
        for parameter in relaxation.parameters():
            parameter.mul_(20)
    generator, counts, likelihoods = torch.Generator().manual_seed(0), {}, {}
    n = 3000
    with torch.no_grad():
        for _ in range(n):
            genotype, likelihood, entropy = relaxation.draw(generator)
            # Two orders of the sources lead to one genotype, so the choices themselves are counted.
            key = (genotype.digest, round(float(likelihood), 5))
            counts[key] = counts.get(key, 0) + 1
            likelihoods[key] = float(likelihood)
            assert float(entropy) >= 0
    for key, count in counts.items():
        expected = n * torch.tensor(likelihoods[key]).exp().item()
        if expected > 30:
            assert abs(count - expected) < 5 * expected**0.5


def test_a_moving_baseline_starts_at_the_first_reward() -> None:
    baseline = MovingBaseline()
    assert baseline.advantage(0.5) == 0
    assert baseline.advantage(1.0) == pytest.approx(0.5)
    assert float(baseline.value) == pytest.approx(0.525)
