import dataclasses
import math
from pathlib import Path

import pytest
import torch

from mobinas.arch.architecture import Task
from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace
from mobinas.errors import ConfigError, TrainingError
from mobinas.supernet.bilevel import BilevelSearch
from mobinas.supernet.derivation import likeliest_genotype
from mobinas.supernet.history import mean_entropy
from mobinas.supernet.search import search_supernet
from mobinas.supernet.settings import MethodSettings, network_size
from mobinas.train.data import load_data
from mobinas.train.splits import Splits, split

OPS = ("none", "skip_connect", "conv_3x3", "max_pool_3x3")
SPACE = SearchSpace(Task(10, 1), (8, 16), (3, 4), (2, 4, 8), (OPS,), nodes=2)


@pytest.fixture(scope="module")
def digits() -> Splits:
    return split(load_data("digits", limit=400), seed=0)


def _settings(method: str = "darts", epochs: int = 2) -> MethodSettings:
    return MethodSettings(method=method, epochs=epochs, batch_size=64, warm_up_share=0.0)


def _copy(parameters) -> list[torch.Tensor]:  # type: ignore[no-untyped-def]
    return [p.detach().clone() for p in parameters]


def test_the_architecture_moves_by_adam_as_published(digits: Splits) -> None:
    search = BilevelSearch(SPACE, digits, _settings(), 0)
    assert isinstance(search.stage.alpha_optimiser, torch.optim.Adam)
    assert search.stage.alpha_optimiser.defaults["betas"] == (0.5, 0.999)


def test_each_step_reads_its_own_part(digits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    search = BilevelSearch(SPACE, digits, _settings(), 0)
    read = []
    plain = type(digits.weights).batch
    monkeypatch.setattr(
        type(digits.weights), "batch", lambda part, *args: (read.append(part), plain(part, *args))[1]
    )
    search.alpha_step(torch.arange(8))
    search.weight_step(torch.arange(8), 0.1)
    assert read[0] is digits.alphas and read[1] is digits.weights


def test_the_alpha_step_is_adam_on_the_gradient_of_its_batch(digits: Splits) -> None:
    search = BilevelSearch(SPACE, digits, _settings(), 0)
    network, positions = search.network, torch.arange(64)
    images = digits.normalisation(digits.alphas.batch(positions, search.stage.resolution))
    loss = torch.nn.functional.cross_entropy(network(images), digits.alphas.labels[positions])
    alphas = network.relaxation.normal
    (gradient,) = torch.autograd.grad(loss, [alphas])
    gradient = gradient + 1e-3 * alphas.detach()
    expected = alphas.detach() - search.stage.alpha_learning_rate * gradient / (gradient.abs() + 1e-8)
    search.alpha_step(positions)
    torch.testing.assert_close(alphas.detach(), expected, rtol=1e-3, atol=1e-6)


def test_warm_up_leaves_the_architecture_alone(digits: Splits) -> None:
    settings = MethodSettings(method="pc-darts", epochs=2, batch_size=64, warm_up_share=0.5)
    search = BilevelSearch(SPACE, digits, settings, 0)
    before = _copy(search.network.relaxation.parameters())
    assert search.epoch()
    assert all(torch.equal(a, b) for a, b in zip(before, search.network.relaxation.parameters(), strict=True))
    assert search.history[0].alpha_loss is None
    assert search.epoch()
    assert search.history[1].alpha_loss is not None
    assert BilevelSearch(SPACE, digits, MethodSettings("pc-darts", 50), 0).stage.warm_up_epochs == 15


def test_a_torn_checkpoint_is_made_again(digits: Splits, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "search.pt"
    path.write_bytes(b"PK\x03\x04 torn")
    found = search_supernet(SPACE, digits, _settings(epochs=1), seed=0, checkpoint=path)
    assert len(found.history) == 1 and path.stat().st_size > 1000


def test_a_loss_that_is_not_finite_backs_off_once_and_then_stops(
    digits: Splits, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    path, plain, scales = tmp_path / "search.pt", BilevelSearch.weight_step, []

    def broken(search: BilevelSearch, positions: torch.Tensor, rate: float) -> tuple[float, float, float]:
        if len(search.history) == 1:
            scales.append(search.scale)
            return math.nan, 0.0, len(positions)
        return plain(search, positions, rate)

    monkeypatch.setattr(BilevelSearch, "weight_step", broken)
    with pytest.raises(TrainingError, match=r"not finite in epoch 2.*set learning_rate"):
        search_supernet(SPACE, digits, _settings(), seed=0, checkpoint=path)
    assert scales == [1.0, 0.5]
    monkeypatch.setattr(BilevelSearch, "weight_step", plain)
    # The last whole epoch is still on disk.
    assert len(search_supernet(SPACE, digits, _settings(), seed=0, checkpoint=path).history) == 2


def test_entropy_and_the_likeliest_set() -> None:
    assert mean_entropy(Probabilities.uniform(OPS, 2)) == pytest.approx(1)
    row = [0.0, 0.9, 0.1, 0.0]
    certain = Probabilities.of(OPS, [[0, 1, 0, 0]] * 5, [[0, 1, 0, 0]] * 5, [1] * 5, [1] * 5)
    assert mean_entropy(certain) == 0
    found = Probabilities.of(OPS, [row] * 5, [row] * 5, [1] * 5, [1] * 5)
    space = SearchSpace(Task(10), (8,), (3,), (4,), (("conv_3x3",), ("skip_connect", "none")), nodes=2)
    assert likeliest_genotype(found, space).ops() == {"skip_connect"}


def test_the_network_follows_the_space() -> None:
    assert network_size(SPACE, MethodSettings()) == (8, 3, 4)
    assert network_size(SPACE, MethodSettings("pc-darts")) == (8, 3, 8)
    assert network_size(SPACE, MethodSettings(resolution=16, depth=4, width=16)) == (16, 4, 16)


def test_bad_settings(digits: Splits) -> None:
    with pytest.raises(ConfigError, match="did you mean 'darts'"):
        MethodSettings(method="dart")
    with pytest.raises(ConfigError, match="epochs is 0"):
        MethodSettings(epochs=0)
    with pytest.raises(TrainingError, match=r"part 'weights' has .* set it to"):
        search_supernet(SPACE, digits, MethodSettings(batch_size=1000), seed=0)


def test_after_out_of_memory_the_search_goes_on_with_smaller_batches(
    digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, step = tmp_path / "search.pt", BilevelSearch.weight_step

    def greedy(search: BilevelSearch, positions: torch.Tensor, rate: float) -> tuple[float, float, float]:
        if search.history and len(positions) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(search, positions, rate)

    monkeypatch.setattr(BilevelSearch, "weight_step", greedy)
    with pytest.raises(
        TrainingError, match=r"the search ran out of memory: halve supernet\.batch_size \(now 64\)"
    ):
        search_supernet(SPACE, digits, _settings(), seed=0, checkpoint=path)
    told: list[int] = []
    smaller = dataclasses.replace(_settings(), batch_size=32)
    search_supernet(
        SPACE,
        digits,
        smaller,
        seed=0,
        checkpoint=path,
        progress=lambda done, _total, _text: told.append(done),
    )
    assert told == [2]
