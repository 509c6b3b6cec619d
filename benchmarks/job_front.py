"""Which sampler the job's front search needs: each on the elastic weights of one finished run.

    mobinas run digits --out runs/digits
    python benchmarks/job_front.py runs/digits --samplers nsga2 auto --seeds 20 --out curves.json

Each search is the job's own step 4: corners and draws of the method's probabilities first, inherited
accuracy, predicted latency; only the seed differs. A hypervolume is a share of what all searches together
found, up to the worst value of each objective that any of them saw. Searches of one seed begin alike, so they
are compared in pairs. Seconds are of the processor, for a whole search.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from front_search import mean_interval

from mobinas.arch.architecture import Architecture
from mobinas.config import dump_toml, load_config
from mobinas.files import write_atomic
from mobinas.metrics.hypervolume import hypervolume
from mobinas.metrics.result import SearchResult
from mobinas.pipeline.context import Job
from mobinas.pipeline.front import search_front
from mobinas.pipeline.load import genotypes_of, load, space_of
from mobinas.pipeline.profile import profile
from mobinas.pipeline.run_folder import JOB_FILE, RunFolder
from mobinas.pipeline.supernet import elastic, search_cells
from mobinas.progress import SilentReporter, silent
from mobinas.search.samplers import sampler_names
from mobinas.targets.registry import find_target
from mobinas.train.device import find_device

Search = Callable[[str, int], SearchResult[Architecture]]


@dataclass(frozen=True, slots=True)
class Searched:
    """One search.

    Attributes:
        sampler: Its name.
        seed: Of all draws.
        losses: Of each evaluation, in order.
        cpu_s: Of the whole search.
    """

    sampler: str
    seed: int
    losses: list[list[float]]
    cpu_s: float


def main() -> None:
    """Runs and prints."""
    options = read_options()
    torch.set_num_threads(1)
    kept = json.loads(options.out.read_text()) if options.out and options.out.exists() else []
    found = [Searched(**row) for row in kept]
    done = {(row.sampler, row.seed) for row in found}
    search = search_of(options.run)
    for seed in range(options.seeds):
        for sampler in options.samplers:
            if (sampler, seed) in done:
                continue
            began = time.process_time()
            result = search(sampler, seed)
            cpu_s = round(time.process_time() - began, 2)
            losses = [list(e.losses(result.objectives)) for e in result.history]
            found.append(Searched(sampler, seed, losses, cpu_s))
            if options.out:
                write_atomic(options.out, json.dumps([asdict(row) for row in found]))
    print_table([row for row in found if row.sampler in options.samplers])


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--samplers", nargs="+", default=["nsga2", "auto"], choices=sampler_names())
    parser.add_argument("--seeds", type=int, default=20, help="at least two")
    parser.add_argument(
        "--out", type=Path, help="raw losses (JSON); searches that it holds are not run again"
    )
    return parser.parse_args()


def search_of(run: Path) -> Search:
    """The front search of a run, for a sampler and a seed; the run's folder is only read."""
    config = load_config(run / JOB_FILE)
    with RunFolder(run, dump_toml(config)) as folder:
        job = Job(config, folder, find_target(config.target), find_device(config.device), SilentReporter())
        splits = load(job)
        space = space_of(config, splits)
        given = genotypes_of(job, space)
        predictor = profile(job, space, silent)
        cells = search_cells(job, space, splits, predictor, silent)
        supernet = elastic(job, space, splits, cells, silent)

    def search(sampler: str, seed: int) -> SearchResult[Architecture]:
        section = config.search.model_copy(update={"sampler": sampler})
        asked = config.model_copy(update={"seed": seed, "search": section})
        with (
            tempfile.TemporaryDirectory() as parent,
            RunFolder(Path(parent) / "run", dump_toml(asked)) as folder,
        ):
            own = replace(job, config=asked, folder=folder)
            return search_front(own, space, splits, predictor, cells, supernet, given, silent)

    return search


def print_table(found: Sequence[Searched]) -> None:
    """A row for each sampler, compared with the first one named."""
    everything = np.concatenate([np.array(row.losses) for row in found])
    corner = everything.max(axis=0)
    whole = hypervolume(everything, corner)
    curves = {
        (row.sampler, row.seed): np.array(
            [hypervolume(row.losses[: n + 1], corner) / whole for n in range(len(row.losses))]
        )
        for row in found
    }
    samplers = list(dict.fromkeys(row.sampler for row in found))
    n = min(map(len, curves.values()))
    print(f"| sampler | seeds | hypervolume after {n // 2} | after {n} | minus {samplers[0]}, 95 % | CPU s |")
    print("|---|---|---|---|---|---|")
    for sampler in samplers:
        mine = [row for row in found if row.sampler == sampler]
        half, end = (statistics.median(curves[sampler, row.seed][k - 1] for row in mine) for k in (n // 2, n))
        pairs = [(sampler, row.seed) for row in mine if (samplers[0], row.seed) in curves]
        leads = np.array([curves[pair][n - 1] - curves[samplers[0], pair[1]][n - 1] for pair in pairs])
        low, high = mean_interval(leads[:, None])
        lead = "" if sampler == samplers[0] else f"{leads.mean():+.4f} ({low[0]:+.4f} to {high[0]:+.4f})"
        cpu_s = statistics.median(row.cpu_s for row in mine)
        print(f"| {sampler} | {len(mine)} | {half:.3f} | {end:.3f} | {lead} | {cpu_s:.1f} |")


if __name__ == "__main__":
    main()
