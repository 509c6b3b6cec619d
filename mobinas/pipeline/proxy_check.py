"""How far cheap judgements of a run can be trusted: their rank correlation with training from scratch.

Architectures are drawn from the run's space, most of them from one or two kinds of op, so that they differ as
much as candidates do. Each is judged by inherited weights, by zero-cost scores and by its size, and is then
trained. What was found is kept in the run folder, so a second call only adds what is missing.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mobinas.arch.architecture import Architecture
from mobinas.arch.space import SearchSpace
from mobinas.config import dump_toml, load_config
from mobinas.errors import RunFolderError
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.metrics.objective import Metric
from mobinas.metrics.rank import kendall_tau, tau_interval
from mobinas.nets.module import GraphModule
from mobinas.nets.zero_cost import ZERO_COST
from mobinas.pipeline.candidates import Candidates, judge_all, known_value
from mobinas.pipeline.context import Job
from mobinas.pipeline.load import load, space_of, subset
from mobinas.pipeline.run_folder import JOB_FILE, RunFolder
from mobinas.pipeline.supernet import ELASTIC
from mobinas.pipeline.train import recipe_of
from mobinas.progress import Progress, Reporter, SilentReporter
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.targets.registry import find_target
from mobinas.train.device import find_device
from mobinas.train.splits import Normalisation, Part

TRUTH = "trained accuracy"
INHERITED = "inherited weights"
_MACS = "multiply-accumulates"
_FEWEST = 12
_SCORED_IMAGES = 64
_DRAWS_PER_ARCHITECTURE = 20


@dataclass(frozen=True, slots=True)
class Trust:
    """How well one judgement orders architectures.

    Attributes:
        judgement: What orders them.
        tau: Kendall's tau-b with the trained accuracy.
        low: Lower end of its 95 % interval, from resampling the architectures.
        high: Upper end.
    """

    judgement: str
    tau: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ProxyCheck:
    """What a check found.

    Attributes:
        n: Architectures trained.
        rows: One for each judgement.
    """

    n: int
    rows: tuple[Trust, ...]

    def table(self) -> str:
        """The rows for people."""
        lines = ["| judged by | Kendall's tau with training | 95 % interval |", "|---|---|---|"]
        lines += [f"| {r.judgement} | {r.tau:.2f} | {r.low:.2f} to {r.high:.2f} |" for r in self.rows]
        return "\n".join(lines)

    def verdict(self) -> str:
        """In one sentence, whether inherited weights can be trusted on this space."""
        if self.n < _FEWEST:
            return f"{self.n} architectures are too few to tell; train at least {_FEWEST}."
        ours = next(row for row in self.rows if row.judgement == INHERITED)
        best = max((row for row in self.rows if row is not ours), key=lambda row: _or_zero(row.tau))
        if ours.low <= 0 or math.isnan(ours.tau):
            return (
                "Inherited weights cannot be trusted here: their order may be chance. Keep the shortlist "
                f"(search.qualifying_epochs); {best.judgement} orders better (tau {best.tau:.2f})."
            )
        if best.tau > ours.tau:
            return (
                f"Inherited weights order rightly (tau {ours.tau:.2f}), yet {best.judgement} orders better "
                f"(tau {best.tau:.2f}); keep the shortlist (search.qualifying_epochs)."
            )
        return f"Inherited weights order best (tau {ours.tau:.2f}; next {best.judgement}, {best.tau:.2f})."


def proxy_check(
    directory: Path,
    architectures: int = 30,
    *,
    epochs: int | None = None,
    images: int | None = None,
    reporter: Reporter | None = None,
) -> ProxyCheck:
    """Trains architectures of a run's space and compares their order with cheap judgements of them.

    Args:
        directory: Of a run whose elastic supernet is trained.
        architectures: How many.
        epochs: Of the training from scratch; the job's without.
        images: Training images at most; all without.
        reporter: Told how far it is.

    Raises:
        RunFolderError: The run has no trained supernet yet.
    """
    config = load_config(directory / JOB_FILE)
    reporter = reporter or SilentReporter()
    with RunFolder(directory, dump_toml(config, directory)) as folder:
        if not folder.is_finished(ELASTIC):
            raise RunFolderError(f"{directory} has no trained supernet; run the job at least to its step 4")
        job = Job(config, folder, find_target(config.target), find_device(config.device), reporter)
        splits = load(job)
        space = space_of(config, splits)
        training = splits.training if images is None else subset(splits.training, images, config.seed)
        recipe = recipe_of(config, epochs or config.train.epochs)
        drawn = Candidates.of(
            directory, config, space, draw(space, architectures, config.seed), splits, training, recipe
        )
        with reporter.step(1, 1, f"train {len(drawn.by_name)} architectures") as progress:
            kept = f"proxy_check/{recipe.epochs}-{len(training)}"
            found = judge_all(job, drawn, _judge, kept, progress)
    return compare(list(found.values()))


def draw(space: SearchSpace, n: int, seed: int) -> list[Architecture]:
    """At most so many different architectures, each from one kind of op, two, or all."""
    rng = random.Random(seed)
    found: dict[str, Architecture] = {}
    for _ in range(_DRAWS_PER_ARCHITECTURE * n):  # a small space may hold fewer
        if len(found) == n:
            break
        architecture = space.build(space.contrasting(rng))
        found.setdefault(architecture.digest, architecture)
    return list(found.values())


def compare(found: Sequence[Mapping[str, float]]) -> ProxyCheck:
    """Each judgement's order against that of the trained accuracies.

    Args:
        found: For each architecture all judgements by name, and `TRUTH`.
    """
    truth = [one[TRUTH] for one in found]
    judged = {name: [one[name] for one in found] for name in found[0] if name != TRUTH}
    rows = [Trust(name, kendall_tau(xs, truth), *tau_interval(xs, truth)) for name, xs in judged.items()]
    return ProxyCheck(len(found), tuple(rows))


def judgements(
    supernet: ElasticSupernet,
    architecture: Architecture,
    training: Part,
    select: Part,
    *,
    normalisation: Normalisation,
    metric: Metric,
    seed: int,
) -> dict[str, float]:
    """All cheap judgements of an architecture by name, higher for better.

    Args:
        supernet: Trained; its device is used.
        architecture: Of its space.
        training: Recalibrates and scores.
        select: Is answered with inherited weights.
        normalisation: What is done to the pixels.
        metric: Of those answers.
        seed: Draws the weights that zero-cost scores see.
    """
    answers = supernet.judge(architecture, training, select, normalisation=normalisation)
    graph = lower(architecture)
    module = GraphModule(graph, seed=seed).to(supernet.device)
    positions = torch.arange(min(_SCORED_IMAGES, len(training)))
    images = normalisation(training.batch(positions, architecture.resolution))
    scores = {name: score(module, images, training.labels[positions]) for name, score in ZERO_COST.items()}
    return {INHERITED: answers.share(metric).x, **scores, _MACS: float(cost(graph).macs)}


def _judge(candidates: Candidates, file: str, progress: Progress) -> None:
    architecture = candidates.by_name[Path(file).stem]
    training, select = (p.part().to(candidates.device) for p in (candidates.training, candidates.select))
    found = judgements(
        candidates.supernet(),
        architecture,
        training,
        select,
        normalisation=candidates.normalisation,
        metric=candidates.metric,
        seed=candidates.seed,
    )
    module = GraphModule(lower(architecture), seed=candidates.seed)
    trained = candidates.trained(module, architecture.resolution, progress)
    found[TRUTH] = known_value(architecture.name, trained).x
    candidates.keep(file, found)


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
