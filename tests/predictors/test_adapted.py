import random
from pathlib import Path

import numpy as np
import pytest

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.ops import op_set
from mobinas.arch.space import SearchSpace
from mobinas.errors import PredictorError
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_writer import write_onnx
from mobinas.targets.target import Target
from predictors.measure import measure
from predictors.models.adapted import AdaptedPredictor
from predictors.models.latency import LatencyPredictor
from predictors.models.report import rank_correlations
from predictors.networks import Layout, kernels_of
from predictors.sampling import sample_for_profile

SPACE = SearchSpace(Task(10, 1), (8, 16), (3, 4), (4, 8), (op_set("darts"),))
MODELS = sample_for_profile(SPACE, 24, random.Random(0))
SOURCE = LatencyPredictor.fit(MODELS, measure(MODELS, Target.fake()))
NEW = sample_for_profile(SPACE, 60, random.Random(1))
PHONE = Target(name="phone")


def on_the_phone(models: list[Architecture]) -> np.ndarray:
    """A device on which depthwise convolutions cost ten times more, and starting a kernel nothing."""
    costs = []
    for model in models:
        kernels = kernels_of(model, Layout())
        costs.append(1e-9 * sum(k.work * (10 if k.kind == "depthwise" else 1) for k in kernels))
    return np.array(costs)


ADAPTED = SOURCE.adapt(NEW[:20], on_the_phone(NEW[:20]), target=PHONE)


def test_twenty_latencies_tell_another_device() -> None:
    truth = on_the_phone(NEW[20:])
    adapted, alone = ADAPTED.predict(NEW[20:]), SOURCE.predict(NEW[20:]).mean_s
    assert rank_correlations(adapted.mean_s, truth)[0] > 0.97
    assert rank_correlations(adapted.mean_s, truth)[0] > rank_correlations(alone, truth)[0]
    scaled = alone * np.median(truth / alone)
    error, before = (np.median(np.abs(x / truth - 1)) for x in (adapted.mean_s, scaled))
    assert error < min(0.25, before)
    assert adapted.in_distribution.mean() > 0.7


def test_files_and_architectures_are_predicted_alike() -> None:
    files = [write_onnx(lower(model)) for model in NEW[:2]]
    np.testing.assert_allclose(ADAPTED.predict(files).mean_s, ADAPTED.predict(NEW[:2]).mean_s, rtol=0.02)


def test_save_and_load_predict_the_same(tmp_path: Path) -> None:
    ADAPTED.save(tmp_path)
    loaded = AdaptedPredictor.load(tmp_path)
    assert loaded.target == PHONE
    np.testing.assert_allclose(loaded.predict(NEW[:5]).mean_s, ADAPTED.predict(NEW[:5]).mean_s, rtol=1e-9)


@pytest.mark.parametrize("name", ["adapted.json", "adapted.npz", "source/predictor.json"])
def test_a_torn_folder_is_refused(tmp_path: Path, name: str) -> None:
    ADAPTED.save(tmp_path)
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(PredictorError, match=r"adapt it again|profile the target again"):
        AdaptedPredictor.load(tmp_path)


def test_unusable_pairs_are_refused() -> None:
    with pytest.raises(PredictorError, match="4 latencies are too few"):
        SOURCE.adapt(NEW[:4], [1e-3, 2e-3, 3e-3, 4e-3], target=PHONE)
    with pytest.raises(PredictorError, match="equal"):
        SOURCE.adapt(NEW[:6], [1e-3] * 6, target=PHONE)
    with pytest.raises(PredictorError, match="above 0"):
        SOURCE.adapt(NEW[:6], [1e-3] * 5 + [float("nan")], target=PHONE)
