"""What is not ours stays byte for byte, whatever is asked to write there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import foreign
import pytest
import torch
from small_search import AXES, SMALL, answer

from exporters import export_bundle, find_format
from mobinas.errors import MobinasError
from mobinas.files import write_atomic
from mobinas.metrics.evaluation import StoredFile
from mobinas.pipeline.cluster import Cluster
from mobinas.pipeline.front_file import write_front
from mobinas.pipeline.places import check_places
from mobinas.pipeline.predictor_pictures import check_pictures, write_pictures
from mobinas.pipeline.run_folder import RunFolder
from mobinas.report.html import write_report
from mobinas.search.artifacts import Artifacts
from mobinas.search.study import pareto_search
from mobinas.search.worker import work
from mobinas.targets.registry import add_target
from mobinas.targets.target import Target
from mobinas.testing import sample
from mobinas.train.checkpoint import load_state, save_state
from predictors.measure import append_measurement, load_measurements, measure
from predictors.models.adapted import AdaptedPredictor
from predictors.models.latency import LatencyPredictor
from predictors.profile import WIDE_SPACE, profile_from_kit, profile_target
from predictors.runners import MeasuringPlan, ModelFile
from predictors.runners.kit import write_kit
from predictors.worker.processes import in_a_process

JOB = 'data = "digits"\nseed = 0\n'
IMAGES = torch.zeros(2, 1, 4, 4)
FAKE = Target.fake()


PREDICTOR: list[LatencyPredictor] = []
ADAPTED: list[AdaptedPredictor] = []


@pytest.fixture(scope="module", autouse=True)
def predictors() -> None:
    models = [sample(k) for k in range(8)]
    PREDICTOR.append(LatencyPredictor.fit(models, measure(models, FAKE)))
    ADAPTED.append(PREDICTOR[0].adapt(models, [1e-3 * (1 + k) for k in range(8)], target=Target("pi")))


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))


def search(path: Path, **more: Any) -> None:
    pareto_search(SMALL, answer, AXES, n_trials=1, sampler="random", storage=path, **more)


def search_with_workers(path: Path) -> None:
    shared: dict[str, Any] = {"sampler": "random", "storage": path, "workers": 0, "timeout_s": 0.0}
    pareto_search(SMALL, "worker_job:evaluate", AXES, n_trials=1, **shared)


def export_beside(path: Path) -> None:
    export_bundle(network(), path.parent, name="m", images=IMAGES)


def fetch(path: Path) -> None:
    Artifacts(path.parent.parent, make=True).fetch(StoredFile(path.name, "x", "0" * 64, 1), path.parent)


def run_in(path: Path) -> None:
    with RunFolder(path.parent, JOB):
        check_places(path.parent)


def write_artefact(path: Path) -> None:
    with RunFolder(path.parent, JOB) as folder:
        folder.data(path.name, lambda: {"name": "digits", "digest": "x"})


def measure_alone(_: Path) -> None:
    from mobinas.runtime import runtime_version

    assert runtime_version()
    in_a_process(Path("x"), cast(Any, FAKE))([], MeasuringPlan(), lambda *_: None)


# By what is written: the file's name, whether it lies in a run folder of ours, and who writes.
DOORS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "storage": ("study", search),
    "storage of workers": ("study", search_with_workers),
    "storage of a worker": ("study", lambda path: work(path, "mobinas", wait_s=0)),
    "storage of a job": ("study", lambda path: Cluster(str(path), str(path) + "-files")),
    "lock of a storage": ("study.lock", lambda path: search(path.with_name("study"))),
    "lead of a storage": ("study.leading", lambda path: search(path.with_name("study"))),
    "locks of workers": ("study.locks", lambda path: search_with_workers(path.with_name("study"))),
    "measurements": ("log.jsonl", lambda path: measure([sample(0)], FAKE, log=path)),
    "measurements read": ("log.jsonl", load_measurements),
    "measurements added": ("log.jsonl", lambda path: append_measurement(path, measure([sample(0)], FAKE)[0])),
    "kit": ("kit.zip", lambda path: write_kit(path, [ModelFile.of(sample(0))], FAKE, MeasuringPlan())),
    "job of a run": ("job.toml", run_in),
    "lock of a run": (".lock", run_in),
    "index of a run": ("artefacts.json", run_in),
    "artefact of a run": ("data.json", write_artefact),
    "front of a run": ("front.csv", run_in),
    "report of a run": ("report.html", run_in),
    "journal of a run": ("study.journal", run_in),
    "measurements of a run": ("measurements.jsonl", run_in),
    "front": ("front.csv", lambda path: write_front(path, ())),
    "report": ("report.html", lambda path: write_report(cast(Any, None), path)),
    "state read": ("state.pt", lambda path: load_state(path, {})),
    "state": ("state.pt", lambda path: save_state(path, {}, {})),
    "weights": ("net.pt", lambda path: write_atomic(path, weights())),
    "job of a part": ("front.toml", lambda path: write_atomic(path, JOB)),
    "settings of a target": ("target.toml", lambda path: add_target(Target(path.parent.name))),
    "folder of a target": ("board.dtb", lambda path: add_target(Target(path.parent.name))),
    "log of a profile": ("measurements.jsonl", lambda path: profile_target(FAKE, path.parent)),
    "picture of a profile": ("costs.png", lambda path: check_pictures(path.parent)),
    "result of a kit": ("measurements.jsonl", lambda p: profile_from_kit(FAKE, p.parent, p, p)),
    "manifest": ("manifest.json", export_beside),
    "model": ("model.onnx", export_beside),
    "note beside a model": ("notes.txt", export_beside),
    "model file": ("m.onnx", lambda path: find_format("onnx").export(
        network(), path, image_shape=(1, 4, 4), metadata={})),
    "predictor": ("predictor.json", lambda path: PREDICTOR[0].save(path.parent)),
    "arrays of a predictor": ("arrays.npz", lambda path: PREDICTOR[0].save(path.parent)),
    "adapted predictor": ("adapted.json", lambda path: ADAPTED[0].save(path.parent)),
    "arrays of an adapted one": ("adapted.npz", lambda path: ADAPTED[0].save(path.parent)),
    "pictures of a profile": ("costs.png", lambda p: write_pictures(PREDICTOR[0], WIDE_SPACE, p.parent)),
    "fetched file": ("log.txt", fetch),
    "lock of a measurement": ("mobinas-worker-0.lock", measure_alone),
}  # fmt: skip
KINDS = {**foreign.FILES, **foreign.ODD}
IN_A_RUN = {"index of a run", "artefact of a run", "front of a run", "report of a run", "journal of a run"}
IN_A_RUN |= {"measurements of a run"}


def weights() -> bytes:
    import io

    buffer = io.BytesIO()
    torch.save(network().state_dict(), buffer)
    return buffer.getvalue()


def refused(folder: Path, path: Path, call: Callable[[], object], lock: str | None = None) -> str:
    before = foreign.snapshot(folder)
    with pytest.raises(MobinasError) as caught:
        call()
    after = foreign.snapshot(folder)
    if lock is not None:  # our own, which says who holds it
        assert before.pop(lock)[0] == after.pop(lock)[0]
    assert after == before
    text = str(caught.value)
    assert "\n" not in text and (str(path) in text or (str(path.parent) in text and path.name in text)), text
    assert not any(word in text for word in ("delete", "remove", "move it")), text
    assert any(word in text for word in ("another", "name a file in it")), text
    return text


# Each door meets every fifth kind, another door the others; and the first door all.
ALL = [(door, kind) for door in DOORS for kind in KINDS]
MET = [
    (door, kind) for i, door in enumerate(DOORS) for k, kind in enumerate(KINDS) if i == 0 or (i + k) % 5 == 0
]


@pytest.mark.parametrize(
    ("door", "kind"), [*MET, *(pytest.param(*met, marks=pytest.mark.slow) for met in ALL if met not in MET)]
)
def test_a_file_that_is_not_ours_is_left_as_it_is(
    door: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, write = DOORS[door]
    monkeypatch.setenv("MOBINAS_HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "targets" / "pi"))
    monkeypatch.setattr("os.getuid", lambda: 0)
    path = tmp_path / "targets" / "pi" / name
    path.parent.mkdir(parents=True)
    if door in IN_A_RUN:
        with RunFolder(path.parent, JOB):
            pass
        path.unlink(missing_ok=True)
    KINDS[kind](path)
    refused(tmp_path, path, lambda: write(path), "targets/pi/.lock" if door in IN_A_RUN else None)
