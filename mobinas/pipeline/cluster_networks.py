"""Networks spread over a job's workers: one candidate of a search is one network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobinas.arch.genotype import digest_of
from mobinas.config import JobConfig, dump_toml
from mobinas.errors import Diverged, TrainingError
from mobinas.files import write_atomic
from mobinas.metrics.evaluation import Evaluation
from mobinas.metrics.objective import Objective
from mobinas.pipeline.cluster import DATA_FILE, JOB_FILE, NETWORKS_FILE, Cluster, check_complete
from mobinas.pipeline.context import Job
from mobinas.progress import Progress
from mobinas.search.artifacts import digests_of
from mobinas.search.choice_space import Choices, ChoiceSpace
from mobinas.search.study import pareto_search


def files_for_workers(
    job: Job, step: str, sections: Mapping[str, Any], networks: str | None = None
) -> dict[str, Path]:
    """What workers are handed for a step: of the job, only what their answers depend on.

    Args:
        job: The job.
        step: Names the files, which lie in the run folder.
        sections: Of the job's config, by name; the others are left at their defaults.
        networks: JSON text that describes networks.
    """
    config = job.config
    if "train" in sections:
        alike = config.train.model_copy(update={"workers": None, "minutes": None})
        sections = {**sections, "train": alike}
    asked = JobConfig(data=config.data, seed=config.seed, images=config.images, **sections)
    folder = job.folder.path
    files = {JOB_FILE: folder / f"{step}.toml", DATA_FILE: folder / "data.json"}
    # Workers may be started in the same project elsewhere.
    write_atomic(files[JOB_FILE], dump_toml(asked, Path.cwd()))
    if networks is not None:
        files[NETWORKS_FILE] = folder / f"{step}.json"
        write_atomic(files[NETWORKS_FILE], networks)
    return files


def each_network(
    cluster: Cluster,
    part: str,
    networks: Sequence[str],
    evaluate: str,
    told: Objective,
    files: Mapping[str, Path],
    progress: Progress,
) -> dict[str, Evaluation[Choices]]:
    """What workers find of each network, by name.

    Args:
        cluster: Where the workers are.
        part: Of the job; with other files it is another search.
        networks: Names; those that take longest first.
        evaluate: The function that workers import; its choice ``network`` is a name.
        told: The number that it tells.
        files: That it needs.
        progress: Told each network that is done, by its name.

    Raises:
        TrainingError: One failed, and not because its loss was not finite.
        KeyboardInterrupt: It was stopped before its end.
    """
    chosen = [Choices({"network": name}) for name in networks]
    names = {choices.name: name for choices, name in zip(chosen, networks, strict=True)}
    found = pareto_search(
        ChoiceSpace({"network": sorted(networks)}),
        evaluate,
        (told,),
        n_trials=len(networks),
        sampler="random",
        start=lambda _rng: chosen,
        n_start=len(networks),
        progress=lambda done, total, text: progress(done, total, names[text]),
        files=files,
        retry_failed=True,
        **cluster.part(f"{part}-{digest_of(sorted(digests_of(files).items()))[:8]}"),
    )
    check_complete(found)
    by_name = {names[evaluation.candidate.name]: evaluation for evaluation in found.history}
    for name, evaluation in by_name.items():
        if evaluation.error and Diverged.__name__ not in evaluation.reason:
            raise TrainingError(f"training of {name} failed: {evaluation.reason}; mend it and run again")
    return by_name
