"""The expected latency: exact for single cells, differentiable, and felt by the search."""

import random
from collections.abc import Sequence

import pytest
import torch

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.space import SearchSpace
from mobinas.errors import ConfigError
from mobinas.supernet.bilevel import BilevelSearch
from mobinas.supernet.expected_latency import LatencyTerm, OpLatencies
from mobinas.supernet.methods import METHODS
from mobinas.supernet.relaxation import Mixture
from mobinas.supernet.search import search_supernet
from mobinas.supernet.settings import MethodSettings
from mobinas.train.data import load_data
from mobinas.train.splits import Splits, split

OPS = ("none", "skip_connect", "conv_3x3", "sep_conv_3x3", "max_pool_3x3")
SPACE = SearchSpace(Task(10, 1), (8,), (3,), (8,), (OPS,), nodes=3)
COST_S = {"skip_connect": 1e-5, "conv_3x3": 9e-5, "sep_conv_3x3": 2e-4, "max_pool_3x3": 4e-5}


def additive_s(architectures: Sequence[Architecture]) -> list[float]:
    """A device on which the ops of normal cells cost what the table says, those of reduction cells half."""
    return [
        1e-4
        + sum(COST_S[edge.op] for _, edge in a.body.genotype.normal.edges())
        + 0.5 * sum(COST_S[edge.op] for _, edge in a.body.genotype.reduction.edges())
        for a in architectures
    ]


def latencies() -> OpLatencies:
    return OpLatencies.of(additive_s, SPACE, OPS, (8, 3, 8))


@pytest.fixture(scope="module")
def digits() -> Splits:
    return split(load_data("digits", limit=400), seed=0)


@pytest.mark.parametrize("seed", range(10))
def test_the_latency_of_a_single_cell_is_what_the_predictor_says(seed: int) -> None:
    genotype = SPACE.sample(random.Random(seed)).body.genotype
    mixture = Mixture.of(genotype, OPS)
    found = latencies().expected_s(mixture.normal.ops.double(), mixture.reduction.ops.double())
    (exact,) = additive_s([Architecture(CellBody(genotype, 3, 8), 8, SPACE.task)])
    assert float(found) == pytest.approx(exact, rel=1e-9)


def test_the_expectation_is_the_mean_over_drawn_cells() -> None:
    """Of cells whose ops are drawn independently and whose pairs of edges are uniform."""
    generator, rng = torch.Generator().manual_seed(0), random.Random(0)
    tables = [torch.rand(9, len(OPS), generator=generator, dtype=torch.float64) for _ in range(2)]
    for table in tables:
        table[:, 0] = 0.0
    shares = [table / table.sum(1, keepdim=True) for table in tables]

    def drawn() -> float:
        def choose(name: str, options: Sequence[object], /) -> object:
            if ".op" not in name:
                chosen[name] = rng.choice(list(options))
                return chosen[name]
            where, k = name.rsplit(".op", 1)
            source = int(str(chosen[f"{where}.sources"]).split(",")[int(k)])
            number = int(where.split(".")[1])
            row = sum(range(2, number)) + source
            weights = shares[where.startswith("reduction")][row, 1:].tolist()
            return rng.choices(list(options), weights)[0]

        chosen: dict[str, object] = {}
        return additive_s([SPACE.build(choose)])[0]

    mean = sum(drawn() for _ in range(4000)) / 4000
    assert float(latencies().expected_s(*shares)) == pytest.approx(mean, rel=0.02)


@pytest.mark.parametrize("op", COST_S)
def test_ops_are_priced_on_as_many_sources_as_there_are(op: str) -> None:
    def merging_s(architectures: Sequence[Architecture]) -> list[float]:
        """A runtime that computes each op on a source once."""
        cells = [(a.body.genotype.normal, a.body.genotype.reduction) for a in architectures]
        counts = [sum(len({(e.source, e.op) for _, e in cell.edges()}) for cell in pair) for pair in cells]
        return [1.0 + count * COST_S[op] for count in counts]

    found = OpLatencies.of(merging_s, SPACE, OPS, (8, 3, 8))
    # The 6 edges into 3 nodes leave all 4 sources that there are.
    assert found.base_s == pytest.approx(1.0 + 2 * 4 * COST_S[op])


def test_none_and_the_scale_of_strengths_do_not_matter() -> None:
    table = torch.rand(9, len(OPS), generator=torch.Generator().manual_seed(1))
    other = 3 * table
    other[:, 0] = 7.0
    costs = latencies()
    torch.testing.assert_close(costs.expected_s(table, table), costs.expected_s(other, other))


def test_a_target_frees_what_is_faster() -> None:
    table = torch.rand(9, len(OPS), generator=torch.Generator().manual_seed(1), requires_grad=True)
    expected_s = float(latencies().expected_s(table, table).detach())
    for target_s, is_free in ((2 * expected_s, True), (expected_s / 2, False)):
        penalty = LatencyTerm(latencies(), 0.5, target_s).penalty((table, table))
        (gradient,) = torch.autograd.grad(penalty, table)
        assert (float(penalty.detach()) == 0.0) == is_free
        assert bool((gradient == 0).all()) == is_free


def test_a_reward_is_the_score() -> None:
    genotype = SPACE.sample(random.Random(0)).body.genotype
    (latency_s,) = additive_s([Architecture(CellBody(genotype, 3, 8), 8, SPACE.task)])
    term = LatencyTerm(latencies(), 0.07, None)
    assert term.reward(0.8, Mixture.of(genotype, OPS)) == pytest.approx(0.8 * (latency_s / 1e-3) ** -0.07)


@pytest.mark.parametrize("method", [m.name for m in METHODS.values() if m.learning_rate and not m.rewards])
def test_a_heavy_weight_makes_cells_faster(digits: Splits, method: str) -> None:
    epochs = max(2, len(METHODS[method].stages))
    expected_s = []
    for weight in (0.0, 50.0):
        settings = MethodSettings(method, epochs, 64, warm_up_share=0.0, latency_weight=weight, guards=())
        result = search_supernet(SPACE, digits, settings, seed=0, latencies=latencies())
        last = result.history[-1].expected_latency_s
        assert last is not None
        expected_s.append(last)
    assert expected_s[1] < expected_s[0]


@pytest.mark.parametrize("method", [m.name for m in METHODS.values() if m.rewards])
def test_methods_that_learn_from_rewards_are_told_the_score(
    digits: Splits, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def reward(self: LatencyTerm, accuracy: float, mixture: Mixture) -> float:
        given.append(accuracy)
        return 0.5

    monkeypatch.setattr(LatencyTerm, "reward", reward)
    search = BilevelSearch(SPACE, digits, MethodSettings(method, 1, 64), 0, latencies=latencies())
    search.alpha_step(torch.arange(64))
    assert len(given) == 4 and all(0 <= accuracy <= 1 for accuracy in given)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="random learns nothing from it"):
        MethodSettings("random", latency_weight=0.1)
    with pytest.raises(ConfigError, match="latency_weight is -1"):
        MethodSettings("darts", latency_weight=-1)
