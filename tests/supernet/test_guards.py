"""Each guard does what its paper says, and the search what its guards say."""

import random

import pytest
import torch

from mobinas.arch.architecture import Task
from mobinas.arch.genotype import Genotype
from mobinas.arch.probabilities import Probabilities, edge_slots
from mobinas.arch.space import SearchSpace
from mobinas.errors import ConfigError
from mobinas.supernet.bilevel import BilevelSearch
from mobinas.supernet.guards import GUARDS, find_guard
from mobinas.supernet.history import EpochRecord, skips
from mobinas.supernet.methods import METHODS
from mobinas.supernet.relaxation import Mixture
from mobinas.supernet.search import search_supernet
from mobinas.supernet.settings import MethodSettings
from mobinas.train.data import load_data
from mobinas.train.splits import Splits, split

OPS = ("none", "skip_connect", "conv_3x3", "max_pool_3x3")
SPACE = SearchSpace(Task(10, 1), (8,), (3,), (4,), (OPS,), nodes=4)
SMALL = SearchSpace(Task(10, 1), (8,), (3,), (4,), (OPS,), nodes=2)
SLOTS = len(edge_slots(4))


@pytest.fixture(scope="module")
def digits() -> Splits:
    return split(load_data("digits", limit=240), seed=0)


def _probabilities(skip: float) -> Probabilities:
    rows = [[0.0, skip + 0.001 * k, 0.6 - skip, 0.4 - 0.001 * k] for k in range(SLOTS)]
    return Probabilities.of(OPS, rows, rows, [1.0] * SLOTS, [1.0] * SLOTS)


def _record(alpha_loss: float | None = 1.0, eigenvalue: float | None = None) -> EpochRecord:
    return EpochRecord(1.0, 0.5, alpha_loss, 0.5, 0.0, 1.0, 0.1, 0.0, eigenvalue)


def _relaxation() -> torch.nn.Module:
    relaxation = METHODS["darts"].relax(OPS, 4, 0)
    with torch.no_grad():
        relaxation.normal.normal_(generator=torch.Generator().manual_seed(0))
        relaxation.reduction.zero_()
    return relaxation


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("name", ["darts", "gdas", "drnas"])
def test_every_guard_goes_with_every_method_or_says_why_not(guard: str, name: str, digits: Splits) -> None:
    hooks, method = GUARDS[guard], METHODS[name]

    def settings() -> MethodSettings:
        return MethodSettings(name, epochs=3, batch_size=32, warm_up_share=0.0, guards=(guard,))

    reasons = {
        f"'{guard}' needs a method whose edges mix": hooks.mixed_only and not method.mixes,
        f"'{guard}' needs a loss that two passes agree on": hooks.eigenvalue and method.draws,
        f"'{guard}' sets the stages": bool(hooks.stages) and len(method.stages) > 1,
    }
    if any(reasons.values()):
        with pytest.raises(ConfigError, match="|".join(text for text, holds in reasons.items() if holds)):
            settings()
        return
    found = search_supernet(SMALL, digits, settings(), seed=0)
    assert found.history[-1].weight_loss > 0
    assert (found.history[0].discretisation_gap is not None) == method.mixes
    assert (found.history[0].eigenvalue is not None) == hooks.eigenvalue


def test_entropy_is_rewarded_early_and_punished_late() -> None:
    relaxation, penalty = _relaxation(), GUARDS["entropy"].penalty
    assert penalty is not None
    early, middle, late = (penalty(relaxation, share) for share in (0.0, 0.5, 1.0))
    (towards,) = torch.autograd.grad(early, [relaxation.normal], retain_graph=True)
    with torch.no_grad():
        relaxation.normal -= 0.5 * towards
    after = penalty(relaxation, 0.0)
    assert after < early < 0 and middle == 0 and late == -early


def test_exp_alpha_pulls_hardest_at_what_is_furthest_behind() -> None:
    relaxation, penalty = _relaxation(), GUARDS["exp_alpha"].penalty
    assert penalty is not None
    (towards,) = torch.autograd.grad(penalty(relaxation, 0.0), [relaxation.normal])
    assert (towards < 0).all()
    assert towards.argmin() == relaxation.normal.argmin()


def test_alpha_clip_shortens_only_what_is_long() -> None:
    clip = GUARDS["alpha_clip"].clip
    assert clip is not None
    gradients = [torch.full((4,), 3.0), torch.full((2,), 4.0)]
    direction = torch.cat(gradients) / torch.cat(gradients).norm()
    clip(gradients)
    torch.testing.assert_close(torch.cat(gradients), direction, rtol=1e-4, atol=1e-6)
    small = [torch.full((4,), 0.1)]
    clip(small)
    torch.testing.assert_close(small[0], torch.full((4,), 0.1))


def test_skip_dropout_keeps_the_mean_and_ends() -> None:
    mix, generator = GUARDS["skip_dropout"].mix, torch.Generator().manual_seed(0)
    assert mix is not None
    mixture = _relaxation()()
    drawn = torch.stack([mix(mixture, OPS, 0.0, generator).normal.ops.detach() for _ in range(3000)])
    plain = mixture.normal.ops.detach()
    assert (drawn[:, :, 1] == 0).float().mean() == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(drawn.mean(0)[:, 1], plain[:, 1], rtol=0.1, atol=0.01)
    assert torch.equal(drawn[0][:, [0, 2, 3]], plain[:, [0, 2, 3]])
    assert mix(mixture, OPS, 1.0, generator) is mixture


def test_smoothing_moves_within_its_growing_radius() -> None:
    mix, generator = GUARDS["smoothing"].mix, torch.Generator().manual_seed(0)
    assert mix is not None
    mixture = _relaxation()()
    for share, radius in ((0.0, 0.03), (1.0, 0.3)):
        moved = [mix(mixture, OPS, share, generator).normal.ops for _ in range(50)]
        most = max(float((one - mixture.normal.ops).abs().max().detach()) for one in moved)
        assert 0.9 * radius < most <= radius + 1e-6
        assert all((one >= 0).all() for one in moved)


def test_skip_limit_replaces_the_weakest_skips_by_the_next_best_op() -> None:
    derive = GUARDS["skip_limit"].derive
    assert derive is not None
    probabilities = _probabilities(0.5)
    assert skips(probabilities.genotype()) == 8

    def judge(_mixture: Mixture) -> float:
        raise AssertionError("nothing needs judging")

    found = derive(probabilities, SPACE, judge, lambda _: None)
    assert skips(found) == 2
    assert found.reduction == probabilities.genotype().reduction
    few = _probabilities(0.1)
    assert derive(few, SPACE, judge, lambda _: None) == few.genotype()


def test_a_third_skip_goes_back_one_epoch() -> None:
    stop = GUARDS["stop_at_skips"].stop
    assert stop is not None
    assert stop([_record()] * 2, [_probabilities(0.1)] * 2) is None
    end = stop([_record()] * 3, [_probabilities(0.1), _probabilities(0.1), _probabilities(0.5)])
    assert end is not None and end[0] == 2 and "8 skip" in end[1]


def test_a_ranking_that_stands_still_ends_the_search() -> None:
    stop = GUARDS["stop_when_stable"].stop
    assert stop is not None
    still = [_probabilities(0.1)] * 11
    assert stop([_record()] * 11, still) is not None
    assert stop([_record()] * 11, [*still[:5], _probabilities(0.5), *still[6:]]) is None
    assert stop([_record(None)] * 5 + [_record()] * 6, still) is None  # the warm-up does not count


def test_growing_sharpness_goes_back_five_epochs() -> None:
    stop, found = GUARDS["stop_at_eigenvalue"].stop, [_probabilities(0.1)] * 10
    assert stop is not None
    assert stop([_record(eigenvalue=1.0)] * 10, found) is None
    end = stop([_record(eigenvalue=1.0)] * 5 + [_record(eigenvalue=2.0)] * 5, found)
    assert end is not None and end[0] == 5 and "from 1 to 2" in end[1]
    assert stop([_record(eigenvalue=1.0)] * 4, found[:4]) is None


def test_perturbation_takes_what_hurts_most_when_it_is_missing() -> None:
    derive = GUARDS["perturbation"].derive
    assert derive is not None
    target = SPACE.sample(random.Random(3)).body.genotype
    wanted = Mixture.of(target, OPS)

    def judge(mixture: Mixture) -> float:
        return float(
            sum(
                ((have.ops > 0) & (want.ops > 0)).sum()
                for have, want in ((mixture.normal, wanted.normal), (mixture.reduction, wanted.reduction))
            )
        )

    tuned: list[Mixture] = []
    found: Genotype = derive(Probabilities.uniform(OPS, 4), SPACE, judge, tuned.append)
    assert found.digest == target.digest
    assert len(tuned) == 2 * (SLOTS + 4)


def test_a_guard_ends_the_search_and_the_result_says_so(
    digits: Splits, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    def third(history: list[EpochRecord], found: list[Probabilities]) -> tuple[int, str] | None:
        return (2, "enough is enough") if len(history) == 3 else None

    guard = find_guard("stop_at_skips")
    monkeypatch.setitem(GUARDS, "stop_at_skips", type(guard)(guard.name, guard.summary, stop=third))
    settings = MethodSettings("darts", epochs=6, batch_size=32, guards=("stop_at_skips",))
    path = tmp_path / "search.pt"
    found = search_supernet(SMALL, digits, settings, seed=0, checkpoint=path)
    assert len(found.history) == 3
    assert found.events == ("stopped after epoch 2: enough is enough",)
    search = BilevelSearch(SMALL, digits, settings, 0)
    assert search.epoch() and search.epoch()
    assert found.probabilities == search.network.relaxation.probabilities()
    assert search_supernet(SMALL, digits, settings, seed=0, checkpoint=path) == found  # resumed at its end


@pytest.mark.parametrize("method", ["darts", "pc-darts"])
def test_the_second_order_runs_and_differs(method: str, digits: Splits) -> None:
    first, second = (
        search_supernet(
            SMALL,
            digits,
            MethodSettings(method, epochs=2, batch_size=32, warm_up_share=0.0, order=order),
            seed=0,
        )
        for order in (1, 2)
    )
    assert second.history[-1].weight_loss < second.history[0].weight_loss
    assert first.probabilities != second.probabilities


def test_bad_settings_name_the_fix() -> None:
    with pytest.raises(ConfigError, match="did you mean 'skip_limit'"):
        MethodSettings(guards=("skip_limits",))
    with pytest.raises(
        ConfigError,
        match="order is 2; it is 1, or 2 for methods whose edges mix all ops without a draw, which gdas",
    ):
        MethodSettings("gdas", order=2)
    with pytest.raises(ConfigError, match="order is 3"):
        MethodSettings(order=3)
