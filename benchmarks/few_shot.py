"""How well 10, 30 or 100 latencies of a device rank the networks that were not measured there.

    python benchmarks/few_shot.py --profile FOLDER

Asked on 14 devices of OneProxy's tables (1,999 NAS-Bench-201 networks): mean over the devices of Spearman's
correlation on the networks not used, for random samples. A device's figure is a mean over draws. "chosen" has
the networks to measure chosen by `most_informative` among 300 random ones instead.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nas_bench_201
import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from mobinas import Target
from mobinas.errors import PredictorError
from mobinas.graph.cost import cost
from mobinas.graph.layers import Graph
from predictors.models.adapted import views_of
from predictors.models.baselines import plain_features
from predictors.models.latency import LatencyPredictor
from predictors.models.report import Z_90
from predictors.models.transfer import Transfer, Views, most_informative
from predictors.networks import Layout, kernels_of
from predictors.profile import profile_target

Floats = npt.NDArray[np.float64]

DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "oneproxy_nb201.npz"
SIZES = (10, 30, 100)
POOL = 300
ASKED = {10: 0.95, 100: 0.975}
_RIDGE = 1.0


@dataclass(frozen=True, slots=True)
class Table:
    """Networks and their latencies on devices.

    Attributes:
        ops: One operation for each edge of each network.
        latencies_s: Device to [n]; not finite where a network does not run.
    """

    ops: list[list[int]]
    latencies_s: dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Row:
    """Figures for one device and one number of pairs, means over draws.

    Attributes:
        spearman: Of the adapted predictor on networks that it has not seen.
        chosen: The same with the most informative networks instead of random ones.
        ridge_edges: Of ridge regression on the encoding.
        ridge_kernels: Of ridge regression on the kernel features.
        coverage_90: Share of the unseen latencies in the nominal 90 % interval.
    """

    spearman: float
    chosen: float
    ridge_edges: float
    ridge_kernels: float
    coverage_90: float


def main() -> None:
    """Prints a row for each device, the means, and what is asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="oneproxy_nb201.npz")
    parser.add_argument(
        "--profile", type=Path, help="this machine's predictor; else 60 networks are measured"
    )
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--pruned", action="store_true", help="without the operations that see only zeros")
    options = parser.parse_args()
    if not options.data.is_file():
        sys.exit(
            f"{options.data} is missing: OneProxy's latencies of 1,999 NAS-Bench-201 networks; give --data"
        )
    table = read(options.data)
    # What sees only zeros misleads the baselines on all devices but one.
    plain = [nas_bench_201.network(ops) for ops in table.ops]
    graphs = plain if options.pruned else [nas_bench_201.network(ops, zero_fed=True) for ops in table.ops]
    source = LatencyPredictor.load(options.profile) if options.profile else profiled()
    start = time.perf_counter()
    views, _ = views_of(source, graphs)
    print(f"features of {len(graphs)} networks: {time.perf_counter() - start:.0f} s\n")
    report(table, plain, views, source.predict(plain).mean_s, options.draws)


def profiled() -> LatencyPredictor:
    """This machine's predictor, from a minute of measuring."""
    with tempfile.TemporaryDirectory() as folder:
        return profile_target(Target.local(threads=1), Path(folder), networks=60)


def read(path: Path) -> Table:
    """The table in a file; -1 means that a network does not run."""
    with np.load(path) as data:
        latencies_ms = data["latency_ms"].astype(float)
        latencies_s = np.where(latencies_ms > 0, latencies_ms / 1e3, np.nan)
        devices = [str(name) for name in data["devices"]]
        return Table(data["ops"].tolist(), dict(zip(devices, latencies_s.T, strict=True)))


def report(table: Table, graphs: Sequence[Graph], views: Views, source_s: Floats, draws: int) -> None:
    """Prints the table of all devices and numbers of pairs; graphs and the source's seconds for baselines."""
    edges = np.eye(len(nas_bench_201.OP_NAMES))[np.array(table.ops)].reshape(len(graphs), -1)
    kernels = plain_features([kernels_of(graph, Layout()) for graph in graphs])
    params = np.array([cost(graph).params for graph in graphs])
    heads = (
        [f"{n}" for n in SIZES]
        + [f"chosen {n}" for n in SIZES]
        + [f"edges {n}" for n in SIZES]
        + [f"kernels {n}" for n in SIZES]
    )
    heads += ["source", "params", "MACs"] + [f"covered {n}" for n in SIZES]
    print(f"| device | {' | '.join(heads)} |")
    print("|---" * (len(heads) + 1) + "|")
    lines: list[list[float]] = []
    for number, (device, latencies_s) in enumerate(table.latencies_s.items()):
        rows = [row_of(views, edges, kernels, latencies_s, n, draws, number) for n in SIZES]
        runs = np.isfinite(latencies_s)
        alone = [rank(x[runs], latencies_s[runs]) for x in (source_s, params, kernels[:, 0])]
        line = (
            [r.spearman for r in rows]
            + [r.chosen for r in rows]
            + [r.ridge_edges for r in rows]
            + [r.ridge_kernels for r in rows]
        )
        lines.append(line + alone + [r.coverage_90 for r in rows])
        print(f"| {device} | {' | '.join(f'{x:.3f}' for x in lines[-1])} |", flush=True)
    print(f"| mean | {' | '.join(f'{x:.4f}' for x in np.mean(lines, axis=0))} |")
    print(f"| asked | {' | '.join(f'{ASKED[n]}' if n in ASKED else '' for n in SIZES)} |")


def row_of(
    views: Views, edges: Floats, kernels: Floats, latencies_s: Floats, n: int, draws: int, seed: int
) -> Row:
    """Figures for one device from random draws of n pairs."""
    figures = []
    rng = np.random.default_rng([seed, n])
    runs = np.flatnonzero(np.isfinite(latencies_s))
    for _ in range(draws):
        known = rng.choice(runs, n, replace=False)
        new = np.setdiff1d(runs, known)
        truth = latencies_s[new]
        mean_s, std_s = Transfer.fit(views[known], latencies_s[known]).predict(views[new])
        ridges = [ridge(x[known], latencies_s[known], x[new]) for x in (edges, kernels)]
        covered = float(np.mean(np.abs(truth - mean_s) <= Z_90 * std_s))
        chosen = _chosen(views, latencies_s, rng.choice(runs, POOL, replace=False), n)
        ranks = [rank(predicted, truth) for predicted in (mean_s, *ridges)]
        figures.append([ranks[0], chosen, *ranks[1:], covered])
    return Row(*np.mean(figures, axis=0).tolist())


def _chosen(views: Views, latencies_s: Floats, pool: npt.NDArray[np.int64], n: int) -> float:
    known = pool[most_informative(views[pool], n)]
    new = np.setdiff1d(np.flatnonzero(np.isfinite(latencies_s)), known)
    mean_s, _ = Transfer.fit(views[known], latencies_s[known]).predict(views[new])
    return rank(mean_s, latencies_s[new])


def ridge(known: Floats, latencies_s: Floats, new: Floats) -> Floats:
    """Ridge regression on standardised features."""
    centre, spread = known.mean(axis=0), known.std(axis=0)
    spread[spread == 0] = np.inf
    a, b = (known - centre) / spread, (new - centre) / spread
    gram = a @ a.T + _RIDGE * np.eye(len(a))
    result: Floats = latencies_s.mean() + b @ (a.T @ np.linalg.solve(gram, latencies_s - latencies_s.mean()))
    return result


def rank(predicted: Floats, truth: Floats) -> float:
    """Spearman's correlation."""
    return float(spearmanr(predicted, truth).statistic)


if __name__ == "__main__":
    try:
        main()
    except PredictorError as error:
        sys.exit(str(error))
