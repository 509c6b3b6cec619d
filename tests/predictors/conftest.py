from collections.abc import Iterator

import pytest
from sshd import Sshd, serving

from mobinas.targets.target import Target
from mobinas.testing import sample
from predictors.measure import measure
from predictors.models.latency import LatencyPredictor


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A private OpenSSH server."""
    yield from serving(tmp_path_factory)


@pytest.fixture(scope="session")
def fake_predictor() -> LatencyPredictor:
    """Of the fake device, from eight networks."""
    models = [sample(k) for k in range(8)]
    return LatencyPredictor.fit(models, measure(models, Target.fake()))
