"""Commands about devices: naming targets, profiling them, measuring and predicting models on them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobinas.targets.measurement import Measurement
    from mobinas.targets.resources import Reading
    from mobinas.targets.target import Target
    from predictors.model_file import ModelFile
    from predictors.models.latency import LatencyPredictor

target_app = typer.Typer(
    help="Devices: name them, look at them, profile them.", no_args_is_help=True, rich_markup_mode=None
)

_Name = Annotated[str, typer.Argument(help="A known target, or a target .toml.", metavar="T")]
_On = Annotated[str, typer.Option("--target", help="A known target, or a target .toml.", metavar="T")]
_Rounds = Annotated[int, typer.Option(help="Blocks of samples, spread over time.", min=3)]
_Bind = Annotated[
    list[str] | None,
    typer.Option(help="The size of an open dimension; may be repeated.", metavar="NAME=SIZE"),
]
_CHECK_ROUNDS = 12
# What a measurement tells beside time: its name for people, what it is multiplied by for them, its digits.
_SHOWN: "tuple[tuple[str, float, int, Callable[[Measurement], Reading]], ...]" = (
    ("size", 1e-6, 3, lambda one: one.resources.size_bytes),
    ("peak memory", 1e-6, 3, lambda one: one.resources.peak_memory_bytes),
    ("images per s", 1, 4, lambda one: one.images_per_s),
    ("energy", 1e3, 3, lambda one: one.resources.energy_j),
)


class _How(TypedDict):
    rounds: int
    max_rounds: int
    budget_s: float | None
    log: Path | None
    interval_half_width: float


@target_app.command("list")
def list_targets() -> None:
    """Lists all targets, and which have a profile."""
    from mobinas.targets.registry import folder_of, known_targets
    from predictors.profile import has_profile

    for name, target in known_targets().items():
        profiled = "profiled" if has_profile(folder_of(name)) else "no profile"
        typer.echo(f"{name}  {target.provider}, {target.threads} thread(s), batch {target.batch}, {profiled}")


@target_app.command()
def show(target: _Name) -> None:
    """Prints the settings of a target, and how well its profile predicts."""
    from mobinas.targets.registry import locate
    from predictors.profile import has_profile, load_profile

    found, folder = locate(target)
    typer.echo(found.to_toml(), nl=False)
    if has_profile(folder):
        _tell(load_profile(found, folder))


@target_app.command()
def add(
    name: Annotated[str, typer.Argument(help="How it is called from now on.", metavar="NAME")],
    provider: Annotated[
        str, typer.Option(help="An onnxruntime execution provider.")
    ] = "CPUExecutionProvider",
    threads: Annotated[int, typer.Option(help="Threads within an operator.")] = 1,
    batch: Annotated[int, typer.Option(help="Images per inference.")] = 1,
    graph_optimisation: Annotated[
        Literal["none", "basic", "extended", "all"], typer.Option(help="onnxruntime's level.")
    ] = "all",
    affinity: Annotated[list[int] | None, typer.Option(help="A CPU to bind to; may be repeated.")] = None,
    statistic: Annotated[
        Literal["median", "minimum"], typer.Option(help="What stands for a block of samples.")
    ] = "median",
    ssh: Annotated[
        str, typer.Option(help="Another machine, as the system's ssh names it.", metavar="USER@HOST")
    ] = "",
    python: Annotated[str, typer.Option(help="The Python there; it needs onnxruntime.")] = "python3",
) -> None:
    """Names a target; its file may be edited later."""
    from mobinas.targets.registry import add_target
    from mobinas.targets.target import Target

    target = Target(
        name, provider, threads, batch, graph_optimisation, tuple(affinity or ()), statistic, ssh, python
    )
    typer.echo(f"{add_target(target)}\nnext: mobinas target profile {name}")


@target_app.command()
def profile(
    target: _Name,
    networks: Annotated[int, typer.Option(help="How many networks are measured.", min=8)] = 100,
    minutes: Annotated[
        float | None, typer.Option(help="After so many minutes of measuring, what there is must do.")
    ] = None,
) -> None:
    """Measures networks on a target and fits its latency predictor; continues where it was stopped."""
    from mobinas.console import console_reporter
    from mobinas.pipeline.predictor_pictures import check_pictures
    from mobinas.targets.registry import locate
    from predictors.profile import profile_target

    found, folder = locate(target)
    check_pictures(folder)
    with console_reporter().step(1, 1, f"measure {networks} networks on {found.name}") as progress:
        predictor = profile_target(found, folder, networks=networks, minutes=minutes, progress=progress)
    _tell(predictor)
    _draw(predictor, folder)


@target_app.command()
def kit(
    target: _Name,
    out: Annotated[Path, typer.Option(help="The zip to write.", metavar="KIT.zip")] = Path("kit.zip"),
    networks: Annotated[int, typer.Option(help="How many networks are measured.", min=8)] = 100,
) -> None:
    """Writes a zip that profiles a device without network; 'mobinas target read' takes the result."""
    from mobinas.targets.registry import find_target
    from predictors.profile import networks_to_profile
    from predictors.runners import MeasuringPlan, ModelFile
    from predictors.runners.kit import check_kit_place, write_kit

    check_kit_place(out)
    models = [ModelFile.of(model) for model in networks_to_profile(networks)]
    write_kit(out, models, find_target(target), MeasuringPlan())
    typer.echo(f"{out}: unpack it on the device; its README.txt says how to go on")


@target_app.command()
def read(
    target: _Name,
    kit: Annotated[Path, typer.Argument(help="As 'mobinas target kit' wrote it.", metavar="KIT.zip")],
    result: Annotated[Path, typer.Argument(help="What the device wrote.", metavar="RESULT.jsonl")],
) -> None:
    """Fits the predictor of a device that measured a kit."""
    from mobinas.pipeline.predictor_pictures import check_pictures
    from mobinas.targets.registry import locate
    from predictors.profile import profile_from_kit

    found, folder = locate(target)
    check_pictures(folder)
    predictor = profile_from_kit(found, folder, kit, result)
    _tell(predictor)
    _draw(predictor, folder)


@target_app.command()
def check(target: _Name) -> None:
    """Says whether a target runs here, and how still it holds."""
    from mobinas.targets.registry import find_target
    from predictors.measure import measure as measure_models
    from predictors.runners import runner_for
    from predictors.runners.reference import reference_model

    found = find_target(target)
    (seen,) = measure_models([reference_model()], found, rounds=_CHECK_ROUNDS)
    low_s, high_s = seen.interval_s
    typer.echo(f"{found.name}: {runner_for(found).host}, {seen.runtime_version}")
    typer.echo(
        f"the reference model takes {1e3 * seen.median_s:.3f} ms, 95 % interval {1e3 * low_s:.3f} to "
        f"{1e3 * high_s:.3f} ms: {seen.verdict}"
    )
    if seen.remedy:
        typer.echo(seen.remedy)


def measure(
    models: Annotated[list[Path], typer.Argument(help="ONNX files.", metavar="MODEL.onnx ...")],
    target: _On = "local",
    rounds: _Rounds = 16,
    max_rounds: Annotated[
        int, typer.Option(help="Blocks at most, where the interval stays wide.", min=3)
    ] = 48,
    budget_s: Annotated[
        float | None, typer.Option(help="Seconds after which no further blocks are added.")
    ] = None,
    bind: _Bind = None,
    throughput_batch: Annotated[
        int | None, typer.Option(help="Also measure images per second at this batch.", min=1)
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(help="A .jsonl that keeps every sample; nothing in it is measured again."),
    ] = None,
) -> None:
    """Measures the latency of models on a target, and what else they take."""
    from mobinas.console import console_reporter
    from mobinas.targets.registry import find_target
    from predictors.measure import measure as measure_models
    from predictors.runners import ModelFile

    found = find_target(target)
    files = [ModelFile.of(path, _bindings(bind)) for path in models]
    how = _How(
        rounds=rounds,
        max_rounds=max_rounds,
        budget_s=budget_s,
        log=log,
        interval_half_width=0.02,
    )
    with console_reporter().step(1, 1, f"measure {len(models)} model(s) on {found.name}") as progress:
        seen = measure_models(files, found, progress=progress, **how)
    typer.echo("| model | median, ms | 95 % interval | 95th percentile | samples | verdict |")
    typer.echo("|---|---|---|---|---|---|")
    for path, one in zip(models, seen, strict=True):
        low_s, high_s = one.interval_s
        typer.echo(
            f"| {path} | {1e3 * one.median_s:.3f} | {1e3 * low_s:.3f} to {1e3 * high_s:.3f} "
            f"| {1e3 * one.p95_s:.3f} | {len(one.samples_s)} | {one.verdict} |"
        )
    for remedy in sorted({one.remedy for one in seen if one.remedy}):
        typer.echo(remedy)
    _tell_resources(models, seen)
    if throughput_batch:
        _tell_throughput(dict(zip(models, files, strict=True)), found, throughput_batch, how)


def predict(
    models: Annotated[list[Path], typer.Argument(help="ONNX files.", metavar="MODEL.onnx ...")],
    target: _On = "local",
    kinds: Annotated[int, typer.Option(help="Kinds of kernel to list, costliest first.", min=0)] = 5,
    bind: _Bind = None,
) -> None:
    """Predicts the latency of models on a target that has a profile; what is unlike it is measured."""
    from mobinas.targets.registry import locate
    from predictors.profile import load_profile

    found, folder = locate(target)
    predictor = load_profile(found, folder)
    executed = [predictor.executed(path, bindings=_bindings(bind)) for path in models]
    predicted = predictor.predict(executed)
    typer.echo(f"on {predictor.host}, {predictor.runtime_version}:")
    low_s, high_s = predicted.interval_s
    for i, path in enumerate(models):
        mean_s = float(predicted.mean_s[i])
        typer.echo(
            f"{path}: {1e3 * mean_s:.3f} ms, 90 % interval {1e3 * low_s[i]:.3f} to {1e3 * high_s[i]:.3f} ms"
        )
        if not predicted.in_distribution[i]:
            typer.echo(f"  unlike what was profiled, {_measured(path, found, _bindings(bind))}")
        for kind, cost in list(predictor.cost_by_kind(executed[i]).items())[:kinds]:
            typer.echo(
                f"  {kind}: {cost.count} x, {1e3 * cost.latency_s:.3f} ms, {cost.latency_s / mean_s:.0%}"
            )


def _measured(path: Path, target: "Target", bindings: dict[str, int]) -> str:
    """What a measurement says, or why there is none."""
    from mobinas.errors import MobinasError
    from predictors.measure import measure as measure_models

    try:
        (seen,) = measure_models([path], target, bindings=bindings)
    except MobinasError as error:
        return f"and not measured: {error}"
    low_s, high_s = seen.interval_s
    return (
        f"so measured: {1e3 * seen.median_s:.3f} ms, 95 % interval {1e3 * low_s:.3f} to "
        f"{1e3 * high_s:.3f} ms, {seen.verdict}"
    )


def _tell_resources(models: list[Path], seen: "list[Measurement]") -> None:
    typer.echo("\n| model | size, MB | peak memory, MB | images per s | energy, mJ |\n|---|---|---|---|---|")
    reasons = {}
    for path, one in zip(models, seen, strict=True):
        shown = []
        for name, scale, digits, read in _SHOWN:
            value, reason = read(one)
            shown.append("-" if value is None else f"{scale * value:.{digits}g}")
            reasons[name, reason] = value is None
        typer.echo(f"| {path} | {' | '.join(shown)} |")
    for name, reason in (key for key, absent in reasons.items() if absent):
        typer.echo(f"no {name}: {reason}")


def _tell_throughput(files: "dict[Path, ModelFile]", target: "Target", batch: int, how: "_How") -> None:
    from mobinas.errors import MeasurementError

    typer.echo(
        f"\n| model | images per s at a batch of {batch} | 95 % interval | verdict |\n|---|---|---|---|"
    )
    reasons = []
    for path, file in files.items():
        try:
            one = _at_batch(file, replace(target, batch=batch), how)
        except MeasurementError as error:
            reasons.append(f"no throughput of {path}: {error}")
            continue
        low_s, high_s = one.interval_s
        typer.echo(
            f"| {path} | {batch / one.median_s:.4g} | {batch / high_s:.4g} to {batch / low_s:.4g} "
            f"| {one.verdict} |"
        )
    for reason in reasons:
        typer.echo(reason)


def _at_batch(file: "ModelFile", target: "Target", how: "_How") -> "Measurement":
    from mobinas.errors import MeasurementError
    from predictors.measure import measure as measure_models

    file.sizes(target.batch)
    images, reason = file.images(target.batch)
    if images != target.batch:
        raise MeasurementError(reason or f"one inference takes {images:.0f} images")
    (one,) = measure_models([file], target, **how)
    return one


def _bindings(bind: list[str] | None) -> dict[str, int]:
    from mobinas.errors import MeasurementError

    found = {}
    for one in bind or ():
        name, _, size = one.rpartition("=")
        if not name or not size.isdecimal():
            raise MeasurementError(f"--bind {one}: it must be a name and a size, such as height=224")
        found[name] = int(size)
    return found


def _draw(predictor: "LatencyPredictor", folder: Path) -> None:
    from mobinas.pipeline.predictor_pictures import write_pictures
    from predictors.profile import WIDE_SPACE

    networks, costs = write_pictures(predictor, WIDE_SPACE, folder)
    typer.echo(f"drawn: {networks}, and which op costs what: {costs.name}")


def _tell(predictor: "LatencyPredictor") -> None:
    typer.echo(f"profiled on {predictor.host}, {predictor.runtime_version}")
    typer.echo("\n".join(predictor.report.lines()))
