"""Searches in stages: rebuilt networks, narrowed relaxations, widened weights."""

import math

import pytest
import torch

from mobinas.arch.architecture import Task
from mobinas.arch.ops import op_set
from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace
from mobinas.errors import ConfigError
from mobinas.supernet.bilevel import BilevelSearch
from mobinas.supernet.guards import GUARDS
from mobinas.supernet.history import EpochRecord, skips
from mobinas.supernet.methods import METHODS
from mobinas.supernet.methods.drnas import DirichletRelaxation
from mobinas.supernet.methods.p_darts import PDartsRelaxation
from mobinas.supernet.mixed import MixedEdges
from mobinas.supernet.narrowing import NarrowingRelaxation
from mobinas.supernet.network import SearchNetwork, search_ops
from mobinas.supernet.relaxation import Mixture
from mobinas.supernet.search import search_supernet
from mobinas.supernet.settings import MethodSettings
from mobinas.supernet.stage import stage_starts
from mobinas.supernet.widening import widen
from mobinas.train.data import load_data
from mobinas.train.splits import Part, Splits, split

OPS = ("none", "skip_connect", "conv_3x3", "sep_conv_3x3", "max_pool_3x3", "avg_pool_3x3")
SPACE = SearchSpace(Task(10, 1), (8,), (3, 4, 5), (8,), (OPS,), nodes=2)


@pytest.fixture(scope="module")
def digits() -> Splits:
    return split(load_data("digits", limit=300), seed=0)


def _settings(method: str, epochs: int, **others: object) -> MethodSettings:
    return MethodSettings(method, epochs, 64, warm_up_share=0.0, **others)  # type: ignore[arg-type]


def _random_alphas(relaxation: NarrowingRelaxation, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for alphas in (relaxation.normal, relaxation.reduction):
            alphas.copy_(torch.randn(alphas.shape, generator=generator))


@pytest.mark.parametrize(
    ("epochs", "stages", "starts"), [(75, 3, (0, 25, 50)), (4, 3, (0, 1, 3)), (5, 1, (0,))]
)
def test_stages_share_the_epochs(epochs: int, stages: int, starts: tuple[int, ...]) -> None:
    assert stage_starts(epochs, stages) == starts


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("p-darts", [(3, 1, {6}), (4, 1, {4}), (5, 1, {2})]),  # deeper with fewer ops
        ("drnas", [(3, 4, {6}), (3, 2, {3})]),  # wider with half of the ops
    ],
)
def test_a_search_goes_through_its_stages(
    method: str, expected: list[tuple[int, int, set[int]]], digits: Splits
) -> None:
    search = BilevelSearch(SPACE, digits, _settings(method, len(expected)), 0)
    seen = []
    for _ in expected:
        assert search.epoch()
        relaxation, cells = search.relaxation, search.network.cells
        assert isinstance(relaxation, NarrowingRelaxation)
        seen.append((len(cells), cells[0].partial, {int(n) for n in relaxation.kept.sum(2).flatten()}))
    assert seen == expected


@pytest.mark.parametrize("seed", range(5))
def test_narrowing_keeps_the_likeliest_ops_and_a_real_one(seed: int) -> None:
    relaxation = DirichletRelaxation(OPS, 2, 0)
    _random_alphas(relaxation, seed)
    with torch.no_grad():
        relaxation.normal[0, 0] = 50.0  # none
    before = relaxation.shares()
    relaxation.narrow(3, torch.Generator())
    for mask, shares in zip(relaxation.kept, before, strict=True):
        assert mask.sum(1).tolist() == [3] * len(mask)
        assert torch.equal(mask, torch.zeros_like(mask).scatter(1, shares.topk(3, dim=1).indices, True))
    relaxation.narrow(1, torch.Generator())
    assert not relaxation.kept[:, :, OPS.index("none")].any()
    assert relaxation.kept.sum(2).flatten().tolist() == [1] * 10
    found = relaxation.probabilities()
    assert all(sorted(row)[-1] == 1.0 for row in found.normal)


def test_p_darts_forgets_its_alphas_when_narrowed() -> None:
    relaxation = PDartsRelaxation(OPS, 2, 0)
    _random_alphas(relaxation)
    relaxation.narrow(3, torch.Generator().manual_seed(3))
    assert float(relaxation.normal.detach().abs().max()) < 0.01


def test_p_darts_drops_skips_less_and_less_along_a_stage_and_more_in_later_ones() -> None:
    relaxation = PDartsRelaxation(OPS, 2, 0)
    rates = []
    for _ in range(3):
        for share in (0.0, 1.0):
            relaxation.begin_epoch(share, torch.Generator().manual_seed(0))
            rates.append(round(relaxation.rate, 3))
        relaxation.narrow(6, torch.Generator().manual_seed(0))
    assert rates == [0.0, 0.0, 0.4, round(0.4 * math.exp(-3), 3), 0.7, round(0.7 * math.exp(-3), 3)]
    relaxation.train()
    relaxation.rate = 0.5
    column = OPS.index("skip_connect")
    plain = relaxation.shares()[0][:, column]
    drawn = torch.stack([relaxation().normal.ops[:, column] for _ in range(400)])
    assert bool(((drawn == 0) | torch.isclose(drawn, 2 * plain)).all())
    torch.testing.assert_close(drawn.mean(0), plain, rtol=0.2, atol=0.0)
    relaxation.eval()
    torch.testing.assert_close(relaxation().normal.ops[:, column], plain)


def test_dirichlet_draws_have_the_means_and_gradients_of_the_distribution() -> None:
    relaxation = DirichletRelaxation(OPS, 2, 0).double()
    _random_alphas(relaxation)
    relaxation.narrow(3, torch.Generator())
    draws = torch.stack([relaxation().normal.ops for _ in range(4000)])
    assert bool((draws.sum(2) - 1).abs().max() < 1e-9)
    assert not draws[:, ~relaxation.kept[0]].any()
    torch.testing.assert_close(draws.mean(0), relaxation.shares()[0], atol=0.02, rtol=0.0)
    # The mean of a draw is the share, so that the mean gradient is the share's.
    slope = torch.randn(draws[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (found,) = torch.autograd.grad((draws.mean(0) * slope).sum(), relaxation.normal)
    (exact,) = torch.autograd.grad((relaxation.shares()[0] * slope).sum(), relaxation.normal)
    torch.testing.assert_close(found, exact, atol=0.03, rtol=0.0)


@pytest.mark.parametrize("op", [op for op in op_set("all") if op != "none"])
@pytest.mark.parametrize("edges", [1, 3])
def test_widened_filters_compute_the_same_on_copied_channels(op: str, edges: int) -> None:
    narrow, wide = (
        MixedEdges((op,), edges, (channels, 8, 8), 1, torch.Generator().manual_seed(seed)).double().train()
        for seed, channels in enumerate((4, 8))
    )
    widen(narrow, wide)
    x = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    weights = torch.ones(edges, 1, dtype=torch.float64)
    for one, other in zip(wide(x.repeat(1, 2, 1, 1), weights), narrow(x, weights), strict=True):
        assert one is not None and other is not None
        torch.testing.assert_close(one, other.repeat(1, 2, 1, 1), rtol=1e-3, atol=1e-3)


def test_a_widened_network_keeps_what_is_not_in_mixed_ops() -> None:
    relaxation = METHODS["darts"].relax(search_ops(SPACE), SPACE.nodes, 0)
    narrow, wide = (
        SearchNetwork(SPACE, relaxation, resolution=8, depth=3, width=8, seed=seed, partial=partial)
        for seed, partial in ((0, 4), (1, 2))
    )
    widen(narrow, wide)
    for part in ("stem", "head"):
        parts = (getattr(network, part).parameters() for network in (narrow, wide))
        assert all(map(torch.equal, *parts))
    assert wide(torch.randn(4, 1, 8, 8)).isfinite().all()


def test_what_is_dropped_is_not_computed_and_the_rest_unchanged() -> None:
    relaxation = PDartsRelaxation(OPS, 2, 0)
    _random_alphas(relaxation)
    relaxation.narrow(3, torch.Generator().manual_seed(0))
    network = SearchNetwork(SPACE, relaxation, resolution=8, depth=3, width=8, seed=0)
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    mixture = relaxation()
    assert mixture.normal.computed is not None
    dense = Mixture(*(type(c)(c.ops, c.edges) for c in (mixture.normal, mixture.reduction)))
    torch.testing.assert_close(network(x, mixture), network(x, dense), rtol=1e-4, atol=1e-5)


def test_channel_growth_takes_a_method_through_stages(digits: Splits) -> None:
    search = BilevelSearch(SPACE, digits, _settings("darts", 3, guards=("channel_growth",)), 0)
    partials = []
    for _ in range(3):
        assert search.epoch()
        partials.append(search.network.cells[0].partial)
    assert partials == [4, 2, 1]


@pytest.mark.parametrize(
    ("method", "others", "text"),
    [
        ("p-darts", {"guards": ("channel_growth",)}, "p-darts has its own"),
        ("gdas", {"guards": ("channel_growth",)}, "guard 'channel_growth' needs a method whose edges mix"),
        ("enas", {"guards": ("skip_limit",)}, "guard 'skip_limit' sets the cells, but enas"),
        ("drnas", {"order": 2}, "which drnas does not"),
        (
            "darts",
            {"guards": ("skip_limit", "perturbation")},
            "skip_limit and perturbation each set the cells",
        ),
        ("drnas", {"guards": ("stop_at_eigenvalue",)}, "drnas draws"),
    ],
)
def test_what_does_not_fit_is_refused(method: str, others: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        _settings(method, 8, **others)


def test_fewer_epochs_than_stages_are_refused() -> None:
    with pytest.raises(ConfigError, match="a search in 3 stages needs at least as many"):
        _settings("p-darts", 2)


def test_a_loss_that_is_not_finite_takes_back_the_stage_too(
    digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings("p-darts", 3)
    step, failed = BilevelSearch.weight_step, []

    def once(self: BilevelSearch, positions: torch.Tensor, rate: float) -> tuple[float, float, float]:
        if self.stage.number == 1 and not failed:
            failed.append(True)
            return math.nan, 0.0, 1.0
        return step(self, positions, rate)

    monkeypatch.setattr(BilevelSearch, "weight_step", once)
    result = search_supernet(SPACE, digits, settings, seed=0)
    assert failed and len(result.history) == 3
    assert result.events[:3] == (
        "stage 1, from epoch 1: 3 cells, 6 of 6 ops an edge",
        "stage 2, from epoch 2: 4 cells, 4 of 6 ops an edge",
        "stage 3, from epoch 3: 5 cells, 2 of 6 ops an edge",
    )
    assert SPACE.nodes == len(result.genotype.normal.nodes)


def test_an_edge_that_kept_nothing_but_skips_ends_the_limit_all_the_same(digits: Splits) -> None:
    row = [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]
    found = Probabilities.of(OPS, [row] * 5, [row] * 5, [1.0] * 5, [1.0] * 5)
    derive = GUARDS["skip_limit"].derive
    assert derive is not None
    genotype = derive(found, SPACE, lambda _: 0.0, lambda _: None)
    assert skips(genotype) <= 2


def test_perturbation_never_takes_what_was_dropped() -> None:
    rows = [[0.0, 0.0, 0.5, 0.0, 0.5, 0.0]] * 5
    found = Probabilities.of(OPS, rows, rows, [1.0] * 5, [1.0] * 5)
    derive = GUARDS["perturbation"].derive
    assert derive is not None
    seen: list[Mixture] = []

    def judge(mixture: Mixture) -> float:
        seen.append(mixture)
        return -float(mixture.normal.ops.sum())  # the less is left the better

    genotype = derive(found, SPACE, judge, lambda _: None)
    assert genotype.ops() <= {"conv_3x3", "max_pool_3x3"}
    assert all(
        not mixture.normal.computed[:, 3].any() for mixture in seen if mixture.normal.computed is not None
    )


def test_guards_that_stop_see_the_stage_alone(digits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def stop(history: list[EpochRecord], found: list[Probabilities]) -> tuple[int, str] | None:
        seen.append(len(history))
        return (1, "enough") if len(seen) == 4 else None

    guard = GUARDS["stop_at_skips"]
    monkeypatch.setitem(GUARDS, "stop_at_skips", type(guard)(guard.name, guard.summary, stop=stop))
    settings = MethodSettings("p-darts", 9, 64, warm_up_share=0.4, guards=("stop_at_skips",))
    result = search_supernet(SPACE, digits, settings, seed=0)
    # Stages of 3 epochs, of which the first is a warm-up.
    assert seen == [1, 2, 1, 2]
    assert result.events[-1] == "stopped after epoch 5: enough"
    assert len(result.events) == 3


def test_alphas_move_in_each_stage_however_long_the_warm_up(digits: Splits) -> None:
    settings = MethodSettings("p-darts", 6, 64, warm_up_share=0.9)
    history = search_supernet(SPACE, digits, settings, seed=0).history
    assert [record.alpha_loss is not None for record in history] == [False, True] * 3


@pytest.mark.parametrize("method", ["drnas", "proxylessnas", "p-darts"])
def test_a_loss_that_is_not_finite_never_reaches_the_alphas(
    method: str, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, failed = BilevelSearch._loss, []

    def once(
        self: BilevelSearch, part: Part, *others: object
    ) -> tuple[torch.Tensor, tuple[float, float, float]]:
        value, counted = loss(self, part, *others)  # type: ignore[arg-type]
        if part is digits.alphas and torch.is_grad_enabled() and not failed:
            failed.append(True)
            return value * math.nan, counted
        return value, counted

    monkeypatch.setattr(BilevelSearch, "_loss", once)
    result = search_supernet(SPACE, digits, _settings(method, 3), seed=0)
    assert failed and len(result.history) == 3
