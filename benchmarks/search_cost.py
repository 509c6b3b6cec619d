"""Time, memory and found accuracy of every one-shot method, and what the guards against collapse change.

    python benchmarks/search_cost.py --seeds 3
    python benchmarks/search_cost.py --seeds 10 --data fashion_mnist --resolution 16 --images 4000 \
        --methods darts "darts, no guards"

Each search runs in a process of its own, one after the other: by default on scikit-learn's digits at 8 px; 3
cells of 4 nodes, 8 channels, the ops of the shipped job. The cell found is then trained from scratch with
that job's recipe at that size; its accuracy is over select and test part together. The last column compares
with `random` seed by seed: the mean difference and its 95 % interval (Student's t). A cell counts as
collapsed with more than 2 skips of 8 edges in its normal cell. For the times, the machine should do nothing
else meanwhile.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from mobinas.files import write_atomic

COLLAPSED = 2


@dataclass(frozen=True)
class SearchTask:
    """What is searched on: a data set, pixels along one axis, training images, epochs of the search."""

    data: str
    resolution: int
    images: int
    epochs: int


@dataclass(frozen=True)
class Found:
    """One search: seconds, gigabytes at most, skips of the normal cell, accuracy of the trained cell."""

    seconds: float
    peak_gb: float
    skips: int
    accuracy: float


def main() -> None:
    """Prints a row for each method."""
    from mobinas.supernet.methods import METHODS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--data", default="digits", help="what `mobinas run --data` takes")
    parser.add_argument("--resolution", type=int, default=8)
    parser.add_argument("--images", type=int, default=10_000, help="for search and training, at most")
    parser.add_argument("--write", type=Path, help="the file that `mobinas methods` shows")
    parser.add_argument("--methods", nargs="*", default=[*METHODS, "darts, no guards", "darts, second order"])
    options = parser.parse_args()
    task = SearchTask(options.data, options.resolution, options.images, options.epochs)
    names = ["random", *(name for name in options.methods if name != "random")]
    rows: dict[str, list[Found]] = {name: [] for name in names}
    for seed in range(options.seeds):  # the machine's phases then meet all methods alike
        for name in names:
            rows[name].append(in_process(name, seed, task))
            print(f"  seed {seed}, {name}: {rows[name][-1]}", flush=True)
    print("| method | search, s | peak, GB | accuracy, % | collapsed | against random, points |")
    print("|---|---|---|---|---|---|")
    for name, found in rows.items():
        differences = [100 * (a.accuracy - b.accuracy) for a, b in zip(found, rows["random"], strict=True)]
        print(
            f"| {name} | {statistics.median(f.seconds for f in found):.1f} "
            f"| {max(f.peak_gb for f in found):.2f} "
            f"| {100 * statistics.mean(f.accuracy for f in found):.2f} "
            f"| {sum(f.skips > COLLAPSED for f in found)} of {len(found)} | {interval(differences)} |"
        )
    if options.write:
        raw = {name: [asdict(one) for one in found] for name, found in rows.items()}
        record = {"made_by": f"benchmarks/search_cost.py --seeds {options.seeds}", "machine": machine()}
        write_atomic(options.write, json.dumps({**record, "searches": raw}, indent=1) + "\n")


def machine() -> str:
    """Processor, cores and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, torch {version('torch')}"


def interval(differences: list[float]) -> str:
    """Mean and 95 % interval."""
    n, mean = len(differences), statistics.mean(differences)
    if n < 2 or not any(differences):
        return f"{mean:+.2f}"
    half = student.ppf(0.975, n - 1) * statistics.stdev(differences) / n**0.5
    return f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"


def in_process(name: str, seed: int, task: SearchTask) -> Found:
    """One search in a process of its own, so that its peak memory is its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=search, args=(there, name, seed, task))
    process.start()
    found: Found = here.recv()
    process.join()
    return found


def search(pipe: Connection, name: str, seed: int, task: SearchTask) -> None:
    """Searches, trains what was found, and sends a `Found`."""
    from mobinas.arch.architecture import Architecture, CellBody
    from mobinas.config import load_config
    from mobinas.graph.lowering import lower
    from mobinas.nets.module import GraphModule
    from mobinas.pipeline.load import task_of
    from mobinas.pipeline.supernet import at_most
    from mobinas.pipeline.train import recipe_of
    from mobinas.supernet.history import skips
    from mobinas.supernet.search import search_supernet
    from mobinas.supernet.settings import MethodSettings
    from mobinas.train.data import load_data
    from mobinas.train.evaluate import evaluate
    from mobinas.train.loop import train
    from mobinas.train.splits import Fractions, split

    config = load_config("digits")
    data = load_data(task.data, seed=seed)
    splits = split(data, seed=seed, fractions=Fractions(0.25, 0.25, 0.3, 0.2))
    splits = at_most(splits, task.images // 2, seed)
    space = replace(config.space.for_task(task_of(splits), task.resolution), nodes=4)
    method, _, variant = name.partition(", ")
    settings = MethodSettings(
        method,
        epochs=task.epochs,
        width=8,
        depth=3,
        resolution=task.resolution,
        guards=() if variant == "no guards" else None,
        order=2 if variant == "second order" else 1,
    )
    started = time.perf_counter()
    result = search_supernet(space, splits, settings, seed=seed)
    seconds = time.perf_counter() - started
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    architecture = Architecture(CellBody(result.genotype, 3, 8, space.stem), task.resolution, space.task)
    module = GraphModule(lower(architecture), seed=seed)
    recipe = recipe_of(config, config.train.epochs)
    how: Any = {"resolution": task.resolution, "normalisation": splits.normalisation}
    train(module, splits.training, recipe, seed=seed, **how)
    parts = (splits.select, splits.test)
    right = sum(len(part) * evaluate(module, part, **how) for part in parts)
    pipe.send(Found(seconds, peak_gb, skips(result.genotype), right / sum(map(len, parts))))


if __name__ == "__main__":
    main()
