import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import published
from mobinas.arch.space import SearchSpace
from mobinas.errors import MeasurementError, PredictorError
from mobinas.graph.lowering import lower
from mobinas.graph.onnx_writer import write_onnx
from mobinas.targets.target import Target
from predictors.measure import measure
from predictors.models.latency import LatencyPredictor
from predictors.models.residual import Residual
from predictors.networks import Layout, kernels_of
from predictors.runners.fake import fake_latency_s
from predictors.sampling import sample_for_profile

OPS = ("none", "skip_connect", "conv_3x3", "sep_conv_3x3", "max_pool_3x3", "avg_pool_3x3")
SPACE = SearchSpace(Task(10, 1), (8, 12, 16), (3, 4, 5), (2, 4, 8), (OPS,))
MODELS = sample_for_profile(SPACE, 40, random.Random(0))
MEASUREMENTS = measure(MODELS, Target.fake())
PREDICTOR = LatencyPredictor.fit(MODELS, MEASUREMENTS)
NEW = [SPACE.sample(random.Random(seed)) for seed in range(100, 130)]


def test_unseen_networks_are_predicted() -> None:
    truth = np.array([fake_latency_s(kernels_of(a, Layout())) for a in NEW])
    prediction = PREDICTOR.predict(NEW)
    assert np.mean(np.abs(prediction.mean_s / truth - 1) < 0.05) > 0.9
    assert np.mean(np.abs(prediction.mean_s - truth) < 1.645 * prediction.std_s) > 0.7
    assert prediction.in_distribution.mean() > 0.8


def test_the_report_is_better_than_macs_and_honest() -> None:
    report = PREDICTOR.report
    assert report.n == 40
    assert report.scores.hit_rate_10 > 0.9
    macs = report.baselines["multiply-accumulates alone"]
    assert report.scores.hit_rate_10 >= report.scores.hit_rate_5 > macs.hit_rate_5
    assert report.scores.spearman > macs.spearman
    assert report.largest is not None
    assert 0.8 <= report.coverage_90 <= 1.0
    assert report.repeat_hit_rate_5 == 1.0
    assert any("40 networks" in line for line in report.lines())


def test_files_and_architectures_are_predicted_alike() -> None:
    a = PREDICTOR.predict(NEW[:3])
    b = PREDICTOR.predict([write_onnx(lower(architecture)) for architecture in NEW[:3]])
    np.testing.assert_allclose(a.mean_s, b.mean_s)


def test_save_and_load_predict_the_same(tmp_path: Path) -> None:
    PREDICTOR.save(tmp_path / "p")
    loaded = LatencyPredictor.load(tmp_path / "p")
    a, b = PREDICTOR.predict(NEW), loaded.predict(NEW)
    np.testing.assert_allclose(a.mean_s, b.mean_s, rtol=1e-9)
    np.testing.assert_allclose(a.std_s, b.std_s, rtol=1e-6)
    np.testing.assert_array_equal(a.in_distribution, b.in_distribution)
    assert loaded.report == PREDICTOR.report
    assert loaded.host == "fake"


@pytest.mark.parametrize("name", ["predictor.json", "arrays.npz"])
@pytest.mark.parametrize("damage", ["missing", "torn", "other"])
def test_a_damaged_folder_is_refused(tmp_path: Path, name: str, damage: str) -> None:
    PREDICTOR.save(tmp_path)
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "torn" else b"{}")
    with pytest.raises(PredictorError, match="profile the target again"):
        LatencyPredictor.load(tmp_path)


def test_networks_far_outside_are_flagged() -> None:
    huge = Architecture(CellBody(published("DARTS_V2"), 14, 64), 32, Task(10))
    unseen_op = Architecture(CellBody(published("NASNet"), 3, 2), 8, Task(10, 1))
    small = PREDICTOR.predict([NEW[0], huge, unseen_op])
    assert small.in_distribution.tolist()[1] is False
    assert small.mean_s[1] > small.mean_s[0]


def test_fits_are_reproducible() -> None:
    again = LatencyPredictor.fit(MODELS, MEASUREMENTS)
    np.testing.assert_array_equal(again.predict(NEW).mean_s, PREDICTOR.predict(NEW).mean_s)
    assert again.report == PREDICTOR.report


def test_one_disturbed_measurement_does_not_spoil_the_rest() -> None:
    slow = tuple(tuple(5 * s for s in block) for block in MEASUREMENTS[3].blocks_s)
    disturbed = [*MEASUREMENTS[:3], replace(MEASUREMENTS[3], blocks_s=slow), *MEASUREMENTS[4:]]
    shift = LatencyPredictor.fit(MODELS, disturbed).predict(NEW).mean_s / PREDICTOR.predict(NEW).mean_s
    assert np.median(np.abs(shift - 1)) < 0.03


def test_unusable_material_is_refused() -> None:
    with pytest.raises(PredictorError, match="at least 8"):
        LatencyPredictor.fit(MODELS[:7], MEASUREMENTS[:7])
    with pytest.raises(PredictorError, match="40 models but 39"):
        LatencyPredictor.fit(MODELS, MEASUREMENTS[:-1])
    equal = [replace(m, blocks_s=((1e-3,),)) for m in MEASUREMENTS]
    with pytest.raises(PredictorError, match="latencies equal"):
        LatencyPredictor.fit(MODELS, equal)
    with pytest.raises(MeasurementError, match="host"):
        LatencyPredictor.fit(MODELS, [replace(MEASUREMENTS[0], host="b"), *MEASUREMENTS[1:]])


def test_a_network_gets_the_same_number_in_any_company() -> None:
    bodies = [(a.body.genotype, 8) for a in NEW]
    together = [Architecture(CellBody(genotype, 4, width), 12, SPACE.task) for genotype, width in bodies]
    alone = [PREDICTOR.predict([a]).mean_s[0] for a in together]
    np.testing.assert_array_equal(alone, PREDICTOR.predict(together).mean_s)


def test_nothing_to_predict() -> None:
    assert PREDICTOR.predict([]).mean_s.shape == (0,)


def test_gaussian_process_leave_one_out_is_exact() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (12, 2))
    r = 0.1 * np.sin(3 * x[:, 0])
    process = Residual.fit(x, r)
    inverse_diagonal = np.diag(process.inverse)
    for i in range(12):
        rest = np.delete(np.arange(12), i)
        d = ((x[:, None] - x[None]) ** 2).sum(axis=2)
        k = np.exp(-d / (2 * process.length**2))
        mean = k[i, rest] @ np.linalg.solve(k[np.ix_(rest, rest)] + process.ratio * np.eye(11), r[rest])
        assert r[i] - mean == pytest.approx(process.weights[i] / inverse_diagonal[i])


def test_profile_samples_cover_the_corners() -> None:
    macros = {(a.resolution, a.body.depth, a.body.width) for a in MODELS}
    assert {(r, d, w) for r in (8, 16) for d in (3, 5) for w in (2, 8)} <= macros
    assert len({a.digest for a in MODELS}) == 40
    assert MODELS[0].resolution == 16
    assert MODELS[0].body.width == 8
    assert all(SPACE.contains(a) for a in MODELS)
    one = SearchSpace(Task(2), (8,), (2,), (2,), (("skip_connect",),), nodes=1)
    assert len(sample_for_profile(one, 5, random.Random(0))) == 1
    with pytest.raises(PredictorError, match="n is 0"):
        sample_for_profile(SPACE, 0, random.Random(0))


def test_importing_predictors_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'onnxruntime', 'optuna', 'matplotlib', 'sklearn', 'scipy', 'onnx'}"
    code = f"import predictors, sys; assert not {heavy} & set(sys.modules); predictors.LatencyPredictor"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_every_public_name_is_there() -> None:
    import predictors

    for name in predictors.__all__:
        assert getattr(predictors, name).__name__ == name
        assert getattr(predictors, name).__name__ == name  # also after its module is loaded
    with pytest.raises(AttributeError, match="no_such"):
        _ = predictors.no_such
