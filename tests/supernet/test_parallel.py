"""Two gloo processes on one machine, against each other and against one process."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mobinas.arch.probabilities import Probabilities
from mobinas.errors import TrainingError
from mobinas.supernet.bilevel import BilevelSearch
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.supernet.elastic_training import ElasticSettings, _ElasticRun, train_elastic
from mobinas.supernet.search import search_supernet
from mobinas.supernet.settings import MethodSettings
from mobinas.testing import SPACE, sample
from mobinas.train.augment import Augment
from mobinas.train.data import load_data
from mobinas.train.loop import Recipe, train
from mobinas.train.optimisation import shorten
from mobinas.train.splits import Splits, split

pytestmark = pytest.mark.slow

BATCH = torch.arange(31)  # an odd one, so that the shares differ
HALVES = BATCH.tensor_split(2)
SEARCHES = ("pc-darts", "enas", "drnas")
ELASTIC = ElasticSettings(epochs=2, batch_size=48, sandwich_every=2, augment=Augment(0.1, True, 0.1))
PATHS = [sample(0)]


def _splits() -> Splits:
    return split(load_data("digits", limit=200), seed=0)


def _settings(method: str, **more: Any) -> MethodSettings:
    return MethodSettings(method, epochs=2, batch_size=24, warm_up_share=0.0, **more)


def _plain_net() -> nn.Module:
    """Without batch normalisation, so that an image's gradient does not depend on the others."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))


def _train(splits: Splits, net: nn.Module, recipe: Recipe | None = None) -> Any:
    recipe = recipe or Recipe(epochs=2, batch_size=32, augment=Augment(0.2, True, 0.2))
    options = {"resolution": 8, "normalisation": splits.normalisation, "seed": 0}
    return train(net, splits.training, recipe, **options)  # type: ignore[arg-type]


def _steps(search: BilevelSearch) -> dict[str, Tensor]:
    search.alpha_step(BATCH, BATCH, 0.1)
    search.weight_step(BATCH, 0.1)
    return dict(search.network.named_parameters())


def _elastic_step(splits: Splits) -> dict[str, Tensor]:
    run = _ElasticRun(ElasticSupernet(SPACE, 0), splits, None, ELASTIC, 0)  # type: ignore[arg-type]
    run.step(BATCH, PATHS, torch.Generator().manual_seed(0), taught=False)
    return run.supernet.state()


def _everything(rank: int, folder: Path) -> None:
    """What one of the processes does; it writes what it ends with."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    splits, found = _splits(), {}
    net = _plain_net()
    if rank == 1:
        nn.init.zeros_(net[3].weight)  # type: ignore[arg-type]
    result = _train(splits, net)
    found["train"] = [*net.state_dict().values(), torch.tensor([result.losses, result.accuracies])]
    for order in (1, 2):
        found[f"order {order}"] = _steps(BilevelSearch(SPACE, splits, _settings("darts", order=order), 0))
    found["elastic step"] = _elastic_step(splits)
    for method in SEARCHES:
        checkpoint = folder / f"{method}.pt"
        searched = search_supernet(SPACE, splits, _settings(method), seed=0, checkpoint=checkpoint)
        again = search_supernet(SPACE, splits, _settings(method), seed=0, checkpoint=checkpoint)
        assert (again.probabilities, again.genotype) == (searched.probabilities, searched.genotype)
        losses = [(r.weight_loss, r.alpha_loss) for r in searched.history]
        found[method] = str((searched.probabilities, searched.genotype, searched.events, losses))
    guarded = BilevelSearch(SPACE, splits, _settings("darts", guards=("stop_at_eigenvalue",)), 0)
    assert guarded.epoch()
    found["eigenvalue"] = str(guarded.history[0].eigenvalue)
    found["alphas"] = dict(guarded.network.named_parameters())
    supernet = ElasticSupernet(SPACE, rank)
    found["elastic losses"] = str(
        train_elastic(supernet, splits, Probabilities.uniform(SPACE.ops(), 2), ELASTIC, seed=0)
    )
    found["elastic"] = supernet.state()
    with pytest.raises(TrainingError, match="batch_size is 6, too few for 2 processes; set it to 8 or more"):
        _train(splits, net, Recipe(batch_size=6))
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the first and the second process ended with."""
    folder = tmp_path_factory.mktemp("parallel")
    torch.multiprocessing.spawn(_everything, (folder,), nprocs=2)  # type: ignore[attr-defined]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def splits() -> Splits:
    return _splits()


def _close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name].detach(), rtol=2e-4, atol=2e-6, msg=name)


def test_both_processes_end_with_the_same_bits(found: list[dict[str, Any]]) -> None:
    first, second = found
    assert first.keys() == second.keys()
    for key, mine in first.items():
        if isinstance(mine, str):
            assert mine == second[key], key
            continue
        pairs = (
            zip(mine.values(), second[key].values(), strict=True)
            if isinstance(mine, dict)
            else zip(mine, second[key], strict=True)
        )
        assert all(torch.equal(a, b) for a, b in pairs), key


def test_training_equals_that_of_one_process(found: list[dict[str, Any]], splits: Splits) -> None:
    net = _plain_net()
    result = _train(splits, net)
    expected = [*net.state_dict().values(), torch.tensor([result.losses, result.accuracies])]
    for mine, other in zip(found[0]["train"], expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("order", [1, 2])
def test_a_search_step_equals_that_of_one_process_with_both_halves(
    order: int, found: list[dict[str, Any]], splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = BilevelSearch._loss

    def by_halves(search: BilevelSearch, part: Any, positions: Tensor, mixture: Any = None) -> Any:
        losses, counts = zip(*(plain(search, part, half, mixture) for half in HALVES), strict=True)
        mean = sum(len(half) / len(BATCH) * one for half, one in zip(HALVES, losses, strict=True))
        return mean, tuple(map(sum, zip(*counts, strict=True)))

    monkeypatch.setattr(BilevelSearch, "_loss", by_halves)
    search = BilevelSearch(SPACE, splits, _settings("darts", order=order), 0)
    before = {name: p.detach().clone() for name, p in search.network.named_parameters()}
    expected = _steps(search)
    assert not torch.equal(before["relaxation.normal"], expected["relaxation.normal"])
    _close(found[0][f"order {order}"], expected)


def test_an_elastic_step_equals_that_of_one_process_with_both_halves(
    found: list[dict[str, Any]], splits: Splits
) -> None:
    supernet = ElasticSupernet(SPACE, 0)
    run = _ElasticRun(supernet, splits, None, ELASTIC, 0)  # type: ignore[arg-type]
    part = splits.training
    raw = ELASTIC.augment(part.batch(BATCH, PATHS[0].resolution), torch.Generator().manual_seed(0))
    for half in HALVES:
        logits = supernet.path(PATHS[0], splits.normalisation(raw[half]))
        smoothing = ELASTIC.label_smoothing
        loss = nn.functional.cross_entropy(logits, part.labels[half], label_smoothing=smoothing)
        (loss * len(half) / len(BATCH)).backward()  # type: ignore[no-untyped-call]
    shorten([p.grad for p in supernet.parameters.values() if p.grad is not None], ELASTIC.gradient_clip)
    run.optimiser.step()
    _close(found[0]["elastic step"], supernet.state())
