"""The `mobinas` command: reads arguments, calls the pipeline, prints; heavy modules load inside commands."""

import math
import os
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobinas import cli_targets
from mobinas.errors import ConfigError, MobinasError
from mobinas.processes import let_threads_sleep

if TYPE_CHECKING:
    from mobinas.pipeline.cluster import Cluster

app = typer.Typer(
    help="Search, train, measure and export image classifiers on the Pareto front of accuracy and latency.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


_STORAGE = typer.Option(
    help="What all share: postgresql://user:password@host/database, or a journal file.",
    envvar="MOBINAS_STORAGE",
    show_envvar=True,
    metavar="URL",
)


@app.command()
def run(
    job: Annotated[
        str | None, typer.Argument(help="A job file (.toml), or a shipped job such as 'digits' or 'smoke'.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder of class folders, .npz, torchvision name, 'digits', or module:function.",
            metavar="D",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Device: a known target, or a target .toml.", metavar="T"),
    ] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Hard latency budget on the target.", metavar="X")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/<data> without.", metavar="DIR")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any job key, such as train.epochs=5.", metavar="KEY=VALUE"),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on without unreadable images and too small classes.")
    ] = False,
    study: Annotated[
        str | None, typer.Option(help="Lets workers join under this name in the storage.", metavar="NAME")
    ] = None,
    storage: Annotated[str | None, _STORAGE] = None,
    artifacts: Annotated[
        str | None,
        typer.Option(
            help="With --study: a folder that all machines reach, or s3://bucket/prefix.", metavar="WHERE"
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="With --study: processes of this machine that work, too; 1 without.", min=0),
    ] = None,
) -> None:
    """Runs a whole job, or continues it where it was stopped."""
    from mobinas.config import load_config
    from mobinas.console import console_reporter
    from mobinas.pipeline.group import is_helper
    from mobinas.pipeline.job import run as run_job
    from mobinas.report.words import plain

    named = {"data": data, "target": target, "max_latency_ms": max_latency_ms}
    named |= {"images.skip_bad": True} if skip_bad else {}
    overrides = dict(parse_override(text) for text in set_ or ())
    overrides |= {key: value for key, value in named.items() if value is not None}
    # The shipped default is made for its own data; other data get a space that follows their images.
    other_data = job is None and overrides.get("data", "digits") != "digits"
    config = load_config("auto" if other_data else job, overrides)
    try:
        front = run_job(
            config, out, reporter=console_reporter(), cluster=_cluster(study, storage, artifacts, workers)
        )
    except KeyboardInterrupt:
        # Typer itself would turn this into a bare "Aborted!" and exit code 1.
        _say("stopped; the same command continues from here")
        raise typer.Exit(130) from None
    if is_helper():
        return
    chosen = front.pick()
    typer.echo(f"front of {len(front.rows)} models in {front.directory}")
    typer.echo(f"pick: {chosen.name}  {chosen.words('test')}, {chosen.latency_ms:.3f} ms")
    for row in front.rows:
        if row.warning:
            typer.echo(f"warning: {row.name} {plain(row.warning, 600)}")
    typer.echo(f"model: {front.directory / chosen.onnx}")
    typer.echo(f"report: {front.directory / 'report.html'}")


def parse_override(text: str) -> tuple[str, Any]:
    """Splits ``key=value``; the value is read as TOML where it can be, else taken as a string.

    Raises:
        ConfigError: There is no ``=``.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"'{text}' is not of the form key=value, such as train.epochs=5")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _cluster(
    study: str | None, storage: str | None, artifacts: str | None, workers: int | None
) -> "Cluster | None":
    # A storage of the environment alone asks for nothing: it may be set for other commands.
    asked = (study, artifacts, workers, None if storage == os.environ.get("MOBINAS_STORAGE") else storage)
    if all(option is None for option in asked):
        return None
    from mobinas.pipeline.cluster import Cluster

    if study is None or storage is None or artifacts is None:
        raise ConfigError("a job for workers needs --study, --artifacts, and --storage or MOBINAS_STORAGE")
    return Cluster(storage, artifacts, study, 1 if workers is None else workers)


@app.command()
def pick(
    directory: Annotated[Path, typer.Argument(help="A finished run folder.", metavar="DIR")],
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Latency budget; the most accurate model within it.", metavar="X")
    ] = None,
) -> None:
    """Prints the model to take from a finished run, and its file."""
    from mobinas.pipeline.front_file import load_front
    from mobinas.report.words import plain

    if max_latency_ms is not None and not (math.isfinite(max_latency_ms) and max_latency_ms > 0):
        raise ConfigError(f"--max-latency-ms is {max_latency_ms}; it must be a finite number above 0")
    chosen = load_front(directory).pick(max_latency_ms)
    typer.echo(
        f"{chosen.name}  {chosen.words('select')}, {chosen.words('test')}, "
        f"{chosen.latency_ms:.3f} ms, {chosen.params:,} parameters"
        + (f"; warning: {plain(chosen.warning, 600)}" if chosen.warning else "")
    )
    typer.echo(directory / chosen.onnx)


@app.command("proxy-check")
def proxy_check(
    directory: Annotated[Path, typer.Argument(help="A run folder with a trained supernet.", metavar="DIR")],
    architectures: Annotated[int, typer.Option(help="How many are drawn and trained.", min=2)] = 30,
    epochs: Annotated[int | None, typer.Option(help="Of each training; the job's without.", min=1)] = None,
    images: Annotated[int | None, typer.Option(help="Training images at most.", min=16)] = None,
) -> None:
    """Says how well inherited weights and zero-cost scores order architectures like training does."""
    from mobinas.console import console_reporter
    from mobinas.pipeline.proxy_check import proxy_check as check

    found = check(directory, architectures, epochs=epochs, images=images, reporter=console_reporter())
    typer.echo(f"{found.table()}\n{found.verdict()}")


@app.command()
def methods() -> None:
    """Lists the one-shot methods and guards against collapse: what they cost, when to take them."""
    from mobinas.supernet.guards import GUARDS
    from mobinas.supernet.methods import METHODS
    from mobinas.supernet.search_cost import figures, measured_where

    for method in METHODS.values():
        typer.echo(f"{method.name}\n  {method.summary}\n  take it for: {method.when}")
        typer.echo(f"  guards by default: {', '.join(method.guards) or 'none'}")
        if method.name in (costs := figures()):
            typer.echo(f"  {costs[method.name]}")
    typer.echo(f"\n{measured_where()}\n\nguards (supernet.guards):")
    for guard in GUARDS.values():
        typer.echo(f"  {guard.name}: {guard.summary}{' (mixed edges only)' if guard.mixed_only else ''}")


@app.command()
def worker(
    storage: Annotated[str, _STORAGE],
    study: Annotated[str, typer.Option(help="The study's name.", metavar="NAME")] = "mobinas",
    idle_minutes: Annotated[
        float | None, typer.Option(help="Ends after so long without work; waits for ever without.", min=0)
    ] = None,
    wait_minutes: Annotated[
        float, typer.Option(help="So long for a server or a search that does not run yet.", min=0)
    ] = 2,
    artifacts: Annotated[
        str | None,
        typer.Option(
            help="Where this machine finds the folder (or s3://bucket/prefix) for files, if elsewhere.",
            metavar="WHERE",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Where this machine has a job's images, if elsewhere.", metavar="D"),
    ] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Joins a running search or job from any machine, and works for it until it ends."""
    import signal

    from mobinas.search.worker import work

    for option, minutes in (("--idle-minutes", idle_minutes), ("--wait-minutes", wait_minutes)):
        if minutes is not None and math.isnan(minutes):
            raise ConfigError(f"{option} is {minutes}; it must be a number")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if data is not None:
        os.environ["MOBINAS_DATA"] = data
    idle_s = None if idle_minutes is None else 60 * idle_minutes
    try:
        done = work(
            storage,
            study,
            parent=parent,
            idle_s=idle_s,
            wait_s=60 * wait_minutes,
            say=_say,
            artifacts=artifacts,
        )
    except KeyboardInterrupt:
        _say("stopped; the candidate is given to another worker")
        raise typer.Exit(130) from None
    typer.echo(f"{done.evaluations} evaluations; {done.why}")


app.add_typer(cli_targets.target_app, name="target")
app.command()(cli_targets.measure)
app.command()(cli_targets.predict)


def _say(text: str) -> None:
    sys.stderr.write(f"mobinas: {text}\n")


def main() -> None:
    """Runs the command; an expected error becomes one line and exit code 1."""
    let_threads_sleep()
    try:
        app()
    except MobinasError as error:
        _say(str(error))
        sys.exit(1)
