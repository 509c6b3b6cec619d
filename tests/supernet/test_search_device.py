"""Searches on a device that is not the CPU, by fake tensors: nothing of a step stays behind on the CPU."""

import random

import pytest
import torch
from elsewhere import ELSEWHERE, fake_values

from mobinas.supernet import sharpness
from mobinas.supernet.bilevel import BilevelSearch
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.supernet.elastic_training import ElasticSettings, _ElasticRun
from mobinas.supernet.expected_latency import OpLatencies
from mobinas.supernet.guards import GUARDS
from mobinas.supernet.methods import METHODS
from mobinas.supernet.network import search_ops
from mobinas.supernet.relaxation import Mixture
from mobinas.supernet.settings import MethodSettings
from mobinas.testing import SPACE, sample
from mobinas.train.augment import Augment
from mobinas.train.data import load_data
from mobinas.train.splits import Splits, split

COSTS_S = tuple(1e-6 * k for k in range(len(search_ops(SPACE))))
LATENCIES = OpLatencies(search_ops(SPACE), SPACE.nodes, 1e-4, COSTS_S, COSTS_S)


@pytest.fixture(scope="module")
def there() -> Splits:
    """Digits elsewhere."""
    digits = split(load_data("digits", limit=200), seed=0)
    with fake_values():
        return digits.to(ELSEWHERE)


def _search(there: Splits, method: str, **more: object) -> BilevelSearch:
    settings = MethodSettings(method, epochs=3, batch_size=48, warm_up_share=0.0, **more)  # type: ignore[arg-type]
    return BilevelSearch(
        SPACE, there, settings, 0, latencies=LATENCIES if METHODS[method].learning_rate else None
    )


@pytest.mark.parametrize("method", METHODS)
def test_steps_run_where_the_images_are(method: str, there: Splits) -> None:
    search = _search(there, method)
    assert {tensor.device for tensor in search.network.state_dict().values()} == {ELSEWHERE}
    with fake_values():
        if search.stage.alpha_optimiser is not None:
            search.alpha_step(torch.arange(8))
        search.weight_step(torch.arange(8), 0.1)
        search.judge(Mixture.of(sample(0).body.genotype, search.relaxation.ops), images=8)


@pytest.mark.parametrize("guard", [g.name for g in GUARDS.values() if g.penalty or g.clip or g.mix])
def test_guards_follow(guard: str, there: Splits) -> None:
    search = _search(there, "darts", guards=(guard,))
    with fake_values():
        search.alpha_step(torch.arange(8))
        search.weight_step(torch.arange(8), 0.1)


def test_the_sharpness_is_taken_there(there: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharpness, "_ITERATIONS", 1)
    search = _search(there, "darts", guards=("stop_at_eigenvalue",))
    with fake_values():
        search._eigenvalue()


@pytest.mark.parametrize("method", ["p-darts", "drnas"])
def test_the_next_stage_is_built_there(method: str, there: Splits) -> None:
    search = _search(there, method)
    search.relaxation.narrow(search.settings.stages[1].left_of(len(search.relaxation.ops)), torch.Generator())
    stage = search._stage(1, search.relaxation, before=search.network)
    assert {tensor.device for tensor in stage.network.state_dict().values()} == {ELSEWHERE}


def test_the_second_order_follows(there: Splits) -> None:
    search = _search(there, "darts", order=2)
    with fake_values():
        search.alpha_step(torch.arange(8), torch.arange(8), 0.1)


def test_elastic_steps_run_where_the_weights_are(there: Splits) -> None:
    supernet = ElasticSupernet(SPACE, 0).to(ELSEWHERE)
    settings = ElasticSettings(augment=Augment(0.1, True, 0.1))
    run = _ElasticRun(supernet, there, None, settings, 0)  # type: ignore[arg-type]
    paths = [SPACE.sample(random.Random(k)) for k in range(3)]
    with fake_values():
        run.step(torch.arange(8), paths, torch.Generator().manual_seed(0), taught=True)
    assert {p.device for p in supernet.parameters.values()} == {ELSEWHERE}
