"""Step 2: networks measured on the target teach the latency predictor."""

import random
from collections.abc import Sequence

from mobinas.arch.architecture import Architecture
from mobinas.arch.space import SearchSpace
from mobinas.errors import Infeasible, PredictorError, RunFolderError
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.pipeline.context import Job
from mobinas.progress import Progress
from mobinas.search.feasibility import feasibility
from mobinas.targets.target import Target
from predictors.measure import measure
from predictors.models.latency import LatencyPredictor
from predictors.runners import runner_for
from predictors.sampling import sample_for_profile

MEASUREMENTS = "measurements.jsonl"
_PREDICTOR = "predictor"
_SPACE = "space.json"


def profile(job: Job, space: SearchSpace, progress: Progress) -> LatencyPredictor:
    """Measures a sample of the space and fits the predictor; a stored one is loaded.

    Raises:
        Infeasible: The latency budget lies below what the fastest architecture needs.
        RunFolderError: The run began on another target or machine.
    """
    config = job.config
    folder = job.folder.path / _PREDICTOR
    check_same_device(job)

    def make() -> dict[str, object]:
        rng = random.Random(config.seed)
        models = sample_for_profile(space, config.profile.networks, rng)
        measurements = measure(
            models,
            job.target,
            rounds=config.profile.rounds,
            block_s=config.profile.block_s,
            log=job.folder.path / MEASUREMENTS,
            seed=config.seed,
            progress=progress,
        )
        predictor = LatencyPredictor.fit(models, measurements, seed=config.seed)
        predictor.save(folder)
        return predictor.report.to_json()

    job.folder.data("profile.json", make)
    try:
        predictor = LatencyPredictor.load(folder)
    except PredictorError:
        make()  # torn; the measurements are still there
        predictor = LatencyPredictor.load(folder)
    for line in predictor.report.lines():
        job.reporter.note(line)
    job.folder.data(_SPACE, lambda: _look_at_space(job, space, predictor))
    job.reporter.note(f"the space reaches {space_words(job)}")
    return predictor


def check_same_device(job: Job) -> None:
    """Raises RunFolderError where the run began on another target or machine."""
    here = {"target": job.target.to_json(), "host": runner_for(job.target).host}
    known = job.folder.data("target.json", lambda: here)
    # The way to the device may change, and older folders do not know it.
    same_settings = Target.from_json(known["target"]).fingerprint == job.target.fingerprint
    if not same_settings or known["host"] != here["host"]:
        raise RunFolderError(
            f"this run began on another target or machine ({known['host']}); choose another --out"
        )


def space_words(job: Job) -> str:
    """What the space holds, and what the latency budget leaves of it; known after `profile`."""
    return str(job.folder.data(_SPACE, dict)["words"])


def _look_at_space(job: Job, space: SearchSpace, predictor: LatencyPredictor) -> dict[str, str]:
    """Says what the space holds; stops a job that no architecture can fulfil."""
    budget_s = job.config.max_latency_s

    def known(architectures: Sequence[Architecture]) -> list[dict[str, float]]:
        latencies_s = predictor.predict(architectures).mean_s
        macs = [cost(lower(architecture)).macs for architecture in architectures]
        return [{"latency_s": float(s), "macs": m} for s, m in zip(latencies_s, macs, strict=True)]

    found = feasibility(
        space,
        known,
        {} if budget_s is None else {"latency_s": ("<=", budget_s)},
        seed=job.config.seed,
        extremes=space.single_op_architectures(),
    )
    latency_s, macs = found.ranges["latency_s"], found.ranges["macs"]
    words = (
        f"from about {latency_s.low * 1e3:.3g} to {latency_s.high * 1e3:.3g} ms, the largest found with "
        f"{macs.high * 1e-6:.3g} million multiply-adds"
    )
    if budget_s is None:
        return {"words": words}
    if macs.allowed is None:
        raise Infeasible(
            f"max_latency_ms is {budget_s * 1e3:g}, but the fastest architecture of this space, "
            f"{latency_s.lowest.name}, needs about {latency_s.low * 1e3:.3f} ms; "
            "raise the budget, or give smaller resolutions, depths or widths"
        )
    low, high = found.share_bounds
    left = (
        f"{found.share:.0%} of it ({low:.0%} to {high:.0%}) meets the budget of {budget_s * 1e3:g} ms, the "
        f"largest with {macs.allowed[1] * 1e-6:.3g} million"
    )
    return {"words": f"{words}; {left}"}
