"""A search over networks of one's own: each candidate is trained, exported, verified and measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from exporters.base import ModelFacts
from exporters.bundle import export_bundle
from mobinas.errors import SearchError
from mobinas.metrics.evaluation import Value
from mobinas.metrics.result import SearchResult
from mobinas.pipeline.confirm import OBJECTIVES
from mobinas.pipeline.front import accuracy_value
from mobinas.pipeline.profile import MEASUREMENTS
from mobinas.progress import Progress, silent
from mobinas.search.choice_space import Choices
from mobinas.search.define_by_run import Build, DefinedSpace, DefinedTrial, built
from mobinas.search.record import derived_seed
from mobinas.search.study import DEFAULT_N_START, DEFAULT_SAMPLER, pareto_search
from mobinas.targets.registry import find_target
from mobinas.targets.target import Target
from mobinas.train.data import load_data
from mobinas.train.evaluate import evaluate
from mobinas.train.loop import train
from mobinas.train.recipe import Recipe
from mobinas.train.splits import Splits, split
from predictors.measure import measure

_PARITY_IMAGES = 64


def search_family(
    build: Build[nn.Module],
    *,
    data: str,
    out: str | Path,
    n_trials: int,
    target: str = "local",
    recipe: Recipe | None = None,
    max_latency_s: float | None = None,
    sampler: str = DEFAULT_SAMPLER,
    n_start: int = DEFAULT_N_START,
    rounds: int = 6,
    seed: int = 0,
    progress: Progress = silent,
) -> SearchResult[Choices]:
    """Searches the networks that a function builds, for accuracy and measured latency.

    Each candidate becomes a verified ``<out>/models/<name>/model.onnx``, and that file is what is measured.
    The same call on the same folder continues where it was stopped. The test part stays closed.

    Args:
        build: From a trial (`suggest_categorical`, `suggest_int`, `suggest_float`) to a network from
            normalised images [batch, channels, height, width] to logits [batch, classes].
        data: As a job's ``data``.
        out: Folder of the study, the models and the measurements.
        n_trials: Distinct networks in all.
        target: Name of a target.
        recipe: Of every training.
        max_latency_s: Slower networks never stand on the front.
        sampler: As of `pareto_search`.
        n_start: As of `pareto_search`.
        rounds: Of each measurement.
        seed: Of all draws.
        progress: Told after each network.

    Raises:
        MobinasError: Bad input of any kind; the text is one line that names the fix.
    """
    folder = Path(out)
    work = _Work(
        build,
        split(load_data(data), seed=seed),
        find_target(target),
        folder,
        recipe or Recipe(),
        rounds,
        seed,
    )
    return pareto_search(
        DefinedSpace(work.network_of_trial),
        work.evaluate,
        OBJECTIVES,
        constraints={} if max_latency_s is None else {"latency_s": ("<=", max_latency_s)},
        n_trials=n_trials,
        sampler=sampler,
        seed=seed,
        n_start=n_start,
        storage=folder / "study.journal",
        progress=progress,
    )


@dataclass(frozen=True, slots=True)
class _Work:
    build: Build[nn.Module]
    splits: Splits
    target: Target
    folder: Path
    recipe: Recipe
    rounds: int
    seed: int

    def network_of_trial(self, trial: DefinedTrial, /) -> nn.Module:
        """Weights are drawn from the seed; PyTorch's own generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, "weights"))
            module = self.build(trial)
        if not isinstance(module, nn.Module):
            raise SearchError(
                f"the build function returned a {type(module).__name__}; return a torch.nn.Module"
            )
        return module

    def evaluate(self, choices: Choices) -> Mapping[str, Value]:
        splits, resolution = self.splits, max(self.splits.select.images.shape[2:])
        module = built(self.network_of_trial, choices)
        train(
            module,
            splits.training,
            self.recipe,
            resolution=resolution,
            normalisation=splits.normalisation,
            seed=self.seed,
        )
        latency_s, std_s = self._measured(module.eval(), choices.name, resolution)
        accuracy = evaluate(module, splits.select, resolution=resolution, normalisation=splits.normalisation)
        return {
            "accuracy": accuracy_value(accuracy, len(splits.select), "trained"),
            "latency_s": Value(latency_s, "s", std_s, "measured"),
        }

    def _measured(self, module: nn.Module, name: str, resolution: int) -> tuple[float, float]:
        splits = self.splits
        positions = torch.arange(min(_PARITY_IMAGES, len(splits.training)))
        facts = ModelFacts(splits.classes, splits.normalisation.mean, splits.normalisation.std)
        bundle = export_bundle(
            module,
            self.folder / "models" / name,
            name=name,
            images=splits.normalisation(splits.training.batch(positions, resolution)),
            manifest=facts.manifest(),
            metadata=facts.metadata(),
        )
        log, rounds = self.folder / MEASUREMENTS, self.rounds
        (found,) = measure([bundle.model_path], self.target, rounds=rounds, log=log, seed=self.seed)
        low_s, high_s = found.interval_s
        return found.median_s, (high_s - low_s) / (2 * 1.96)
