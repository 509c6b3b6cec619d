"""Step 7 on many machines: one candidate of a search is one training, and leaves its weights as a file."""

import json
import tempfile
from pathlib import Path

from mobinas.files import write_atomic
from mobinas.metrics.objective import Objective
from mobinas.pipeline.cluster import TRAINED
from mobinas.pipeline.cluster_networks import each_network, files_for_workers
from mobinas.pipeline.context import Job
from mobinas.pipeline.process_pool import KeyProgress
from mobinas.pipeline.train import Trainings, failure_file, history_file, weights_file
from mobinas.search.artifacts import Artifacts

_SECONDS = Objective("seconds", "minimize", "s")


def train_by_workers(job: Job, trainings: Trainings, report: KeyProgress) -> None:
    """Trains all networks, and brings weights and histories into the run folder.

    Args:
        job: Where workers find it.
        trainings: What is trained.
        report: Told each network that is done.

    Raises:
        TrainingError: A training failed.
        KeyboardInterrupt: It was stopped before its end.
    """
    assert job.cluster is not None
    found = each_network(
        job.cluster,
        "train",
        list(trainings.contenders),
        TRAINED,
        _SECONDS,
        _files_to_train(job, trainings),
        lambda _done, _total, name: report(name, 1, 1, "trained"),
    )
    place, folder = Artifacts(job.cluster.artifacts), job.folder.path
    with tempfile.TemporaryDirectory(prefix="mobinas-trained-") as scratch:
        for name, evaluation in found.items():
            (folder / failure_file(name)).unlink(missing_ok=True)
            for make in (weights_file, history_file, failure_file):
                path = folder / make(name)
                if path.name in evaluation.files:
                    fetched = place.fetch(evaluation.files[path.name], Path(scratch))
                    write_atomic(path, fetched.read_bytes())


def _files_to_train(job: Job, trainings: Trainings) -> dict[str, Path]:
    content = {
        "contenders": [contender.to_json() for contender in trainings.contenders.values()],
        "epochs": dict(trainings.epochs),
    }
    networks = json.dumps(content, sort_keys=True) + "\n"
    return files_for_workers(job, "train", {"train": job.config.train}, networks)
