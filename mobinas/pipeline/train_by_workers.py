"""Step 6 on many machines: one candidate of a search is one training, and leaves its weights as a file."""

import json
from pathlib import Path

from mobinas.arch.genotype import digest_of
from mobinas.config import JobConfig, dump_toml
from mobinas.errors import TrainingError
from mobinas.files import write_atomic
from mobinas.metrics.objective import Objective
from mobinas.pipeline.cluster import DATA_FILE, JOB_FILE, TRAINED, TRAININGS_FILE, check_complete
from mobinas.pipeline.context import Job
from mobinas.pipeline.train import Trainings, history_file, weights_file
from mobinas.pipeline.workers import KeyProgress
from mobinas.search.artifacts import Artifacts, digests_of
from mobinas.search.choice_space import Choices, ChoiceSpace
from mobinas.search.study import pareto_search

_SECONDS = (Objective("seconds", "minimize", "s"),)


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
    networks = [Choices({"network": name}) for name in trainings.contenders]
    order = {choices.name: choices for choices in networks}
    files = _files_to_train(job, trainings)
    # Another recipe is another search, as it is another training in the run folder.
    part = f"train-{digest_of(sorted(digests_of(files).items()))[:8]}"
    found = pareto_search(
        ChoiceSpace({"network": sorted(trainings.contenders)}),
        TRAINED,
        _SECONDS,
        n_trials=len(order),
        sampler="random",
        start=lambda _rng: order.values(),
        n_start=len(order),
        progress=lambda _done, _total, text: report(str(order[text]["network"]), 1, 1, "trained"),
        files=files,
        **job.cluster.part(part),
    )
    check_complete(found, len(order))
    for evaluation in found.history:
        if evaluation.error:
            name, said = evaluation.candidate["network"], evaluation.error.strip().splitlines()[-1]
            raise TrainingError(f"training of {name} failed: {said}; after a mend, take another --study")
    place, folder = Artifacts(job.cluster.artifacts), job.folder.path
    for evaluation in found.history:
        for make in (weights_file, history_file):
            path = folder / make(str(evaluation.candidate["network"]))
            path.parent.mkdir(exist_ok=True)
            place.fetch(evaluation.files[path.name], path.parent)


def _files_to_train(job: Job, trainings: Trainings) -> dict[str, Path]:
    config = job.config
    asked = JobConfig(
        data=config.data,
        seed=config.seed,
        images=config.images,
        train=config.train.model_copy(update={"workers": None, "minutes": None}),
    )
    content = {
        "contenders": [contender.to_json() for contender in trainings.contenders.values()],
        "epochs": dict(trainings.epochs),
    }
    write_atomic(job.folder.path / "train.toml", dump_toml(asked))
    write_atomic(job.folder.path / TRAININGS_FILE, json.dumps(content, sort_keys=True) + "\n")
    return {
        JOB_FILE: job.folder.path / "train.toml",
        DATA_FILE: job.folder.path / "data.json",
        TRAININGS_FILE: job.folder.path / TRAININGS_FILE,
    }
