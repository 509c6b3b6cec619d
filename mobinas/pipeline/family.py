"""A search over networks of one's own: each candidate is trained, exported, verified and measured."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from exporters.bundle import ExportBundle
from mobinas.config import JobConfig, checked, dump_toml
from mobinas.errors import ConfigError, SearchError
from mobinas.metrics.evaluation import Value
from mobinas.metrics.objective import Metric, trade_off
from mobinas.metrics.result import SearchResult
from mobinas.pipeline.background import Background, front_panel, front_words
from mobinas.pipeline.cluster import check_complete
from mobinas.pipeline.comparisons import Comparisons
from mobinas.pipeline.confirm import confirm, measure_and_judge, open_test
from mobinas.pipeline.context import Contender, Job
from mobinas.pipeline.export import export_contenders
from mobinas.pipeline.front import STUDY, constraints_of
from mobinas.pipeline.judged import judged_value
from mobinas.pipeline.load import load
from mobinas.pipeline.own_networks import check_logits, seeded, uncompiled
from mobinas.pipeline.places import check_places
from mobinas.pipeline.profile import check_same_device
from mobinas.pipeline.report import write_results
from mobinas.pipeline.run_folder import RunFolder
from mobinas.pipeline.train import layout_words, recipe_of, train_epochs
from mobinas.places import place_of_data, place_of_target
from mobinas.progress import NoteReporter, Progress, Reporter, silent
from mobinas.search.choice_space import Choices
from mobinas.search.define_by_run import Build, DefinedSpace, DefinedTrial, built
from mobinas.search.record import derived_seed
from mobinas.search.study import DEFAULT_N_START, DEFAULT_SAMPLER, pareto_search
from mobinas.targets.registry import find_target
from mobinas.train.device import find_device
from mobinas.train.memory_layout import as_input
from mobinas.train.recipe import Recipe
from mobinas.train.splits import Splits

# More trials may be asked for until the front is frozen; all else stays as it began.
_OPEN_UNTIL = {"search": "front.json"}


def search_family(
    build: Build[nn.Module],
    *,
    data: str,
    out: str | Path,
    n_trials: int,
    target: str = "local",
    recipe: Recipe | None = None,
    max_latency_s: float | None = None,
    metric: Metric = "accuracy",
    sampler: str = DEFAULT_SAMPLER,
    n_start: int = DEFAULT_N_START,
    rounds: int = 6,
    seed: int = 0,
    progress: Progress = silent,
    reporter: Reporter | None = None,
) -> SearchResult[Choices]:
    """Searches the networks that a function builds, for (balanced) accuracy and measured latency.

    Each candidate becomes a verified ``<out>/models/<name>/model.onnx``, and that file is judged and
    measured. At the end the front is frozen, the test part is opened for it, and ``front.csv`` and
    ``report.html`` are written, as by the main job; `load_front` and ``mobinas pick`` read them. The same
    call on the same folder continues where it was stopped.

    Args:
        build: From a trial (`suggest_categorical`, `suggest_int`, `suggest_float`) to a network from
            normalised images [batch, channels, height, width] to logits [batch, classes].
        data: As a job's ``data``.
        out: The run folder.
        n_trials: Distinct networks in all, at least 2.
        target: Name of a target.
        recipe: Of every training.
        max_latency_s: Slower networks never stand on the front.
        metric: What judges networks: ``accuracy``, or ``balanced_accuracy``, the mean recall of the classes.
        sampler: As of `pareto_search`.
        n_start: As of `pareto_search`.
        rounds: Of each measurement.
        seed: Of all draws.
        progress: Told after each network.
        reporter: Told what else is worth a note, such as the memory layout that a network needs.

    Raises:
        MobinasError: Bad input of any kind; the text is one line that names the fix.
    """
    search = {"trials": n_trials, "sampler": sampler, "metric": metric}
    config = _config(data, target, seed, max_latency_s, search, recipe or Recipe(epochs=15), rounds)
    device, found = find_device(config.device), find_target(target)
    with RunFolder(Path(out), dump_toml(config, Path(out)), open_until=_OPEN_UNTIL) as folder:
        check_places(folder.path)
        job = Job(config, folder, found, device, reporter or NoteReporter())
        for note in folder.notes:
            job.reporter.note(note)
        check_same_device(job)
        work = _Work(build, job, load(job))
        result = pareto_search(
            DefinedSpace(work.network_of_trial),
            work.evaluate,
            trade_off(config.search.metric),
            constraints=constraints_of(job),
            n_trials=n_trials,
            sampler=sampler,
            seed=seed,
            n_start=n_start,
            storage=folder.path / STUDY,
            progress=progress,
        )
        check_complete(result)
        work.finish(result)
    return result


def _config(
    data: str,
    target: str,
    seed: int,
    max_latency_s: float | None,
    search: Mapping[str, object],
    recipe: Recipe,
    rounds: int,
) -> JobConfig:
    training = asdict(recipe)
    augment = training.pop("augment")
    fixed = {name: training.pop(name) for name in ("momentum", "warmup", "max_gradient_norm")}
    config = checked(
        {
            "data": place_of_data(data, Path.cwd()),
            "target": place_of_target(target, Path.cwd()),
            "seed": seed,
            "max_latency_ms": None if max_latency_s is None else max_latency_s * 1e3,
            "search": search,
            "train": {**training, **augment, "baselines": (), "workers": 1},
            "measure": {"rounds": rounds},
        }
    )
    if recipe_of(config, recipe.epochs) != recipe:
        raise ConfigError(f"a job's recipe has no {', '.join(fixed)} of its own; leave these as they are")
    return config


@dataclass(frozen=True, slots=True)
class _Work:
    build: Build[nn.Module]
    job: Job
    splits: Splits

    def network_of_trial(self, trial: DefinedTrial, /) -> nn.Module:
        """Weights are drawn from the seed; PyTorch's own generator is left as it was."""
        with self._seeded():
            return self._built(trial)

    def _seeded(self) -> AbstractContextManager[None]:
        return seeded(derived_seed(self.job.config.seed, "weights"))

    def _built(self, trial: DefinedTrial) -> nn.Module:
        module = self.build(trial)
        if not isinstance(module, nn.Module):
            raise SearchError(
                f"the build function returned a {type(module).__name__}; return a torch.nn.Module"
            )
        return module

    def network(self, choices: Choices) -> nn.Module:
        """A network that has seen images, so that what it initialises lazily is there."""
        with self._seeded():
            module = uncompiled(built(self._built, choices))
            images = self.splits.training.batch(torch.arange(1), self._resolution)
            images = as_input(self.splits.normalisation(images), module, torch.contiguous_format)
            with torch.no_grad():
                logits = module.eval()(images)
        check_logits(logits, len(images), len(self.splits.classes))
        return module

    @property
    def _resolution(self) -> int:
        return max(self.splits.select.images.shape[2:])

    def contender(self, choices: Choices) -> Contender:
        return Contender(choices.name, choices.digest, self._resolution, own=lambda: self.network(choices))

    def exported(self, contenders: tuple[Contender, ...]) -> dict[str, ExportBundle]:
        """Trained and exported; what is stored is not made again."""
        modules = train_epochs(self.job, contenders, self.splits, silent)
        # Files hold float32.
        modules = {name: module.float() for name, module in modules.items()}
        return export_contenders(self.job, contenders, modules, self.splits, silent)

    def evaluate(self, choices: Choices) -> Mapping[str, Value]:
        contender = self.contender(choices)
        bundles = self.exported((contender,))
        found = measure_and_judge(self.job, (contender,), bundles, self.splits, silent)[contender.name]
        std_s = (found.latency_high_s - found.latency_low_s) / (2 * 1.96)
        metric = self.job.config.search.metric
        return {
            metric: judged_value(found.select, metric, "trained"),
            "latency_s": Value(found.latency_s, "s", std_s, "measured"),
        }

    def finish(self, result: SearchResult[Choices]) -> None:
        """Freezes the front, opens the test part for it, and reports."""
        if not result.front.members:
            raise SearchError(
                f"none of {len(result.history)} networks could be trained and exported: {_last(result)}"
            )
        job, splits = self.job, self.splits
        contenders = tuple(self.contender(e.candidate) for e in result.front)
        bundles = self.exported(contenders)
        frozen = confirm(job, contenders, bundles, splits, silent)
        tested = open_test(job, contenders, bundles, splits, silent)
        words = (
            ("front", front_words(job, result)),
            ("training", f"{job.config.train.epochs} epochs, one recipe for all"),
            ("memory layout", layout_words(job, [contender.name for contender in contenders])),
            ("latency", "measured"),
        )
        background = Background(words, (front_panel(result, Comparisons(None, {})),))
        write_results(job, contenders, frozen, tested, splits, background)


def _last(result: SearchResult[Choices]) -> str:
    """What the last failure said, in one line."""
    return next((e.reason for e in reversed(result.history) if e.error), "")
