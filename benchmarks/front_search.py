"""How many evaluations each sampler needs to find the front, on tables that hold every answer.

    python benchmarks/front_search.py --jobs 2 --out curves.json --picture curves.png

Tables, by `--tables`:

- zcu102, a100: 5,138 networks of Accel-NASBench, top-1 against latency on ZCU102, or throughput on A100. They
  are a sample of their space, so each proposal is replaced by the nearest row not asked yet (Hamming
  distance, seeded ties), whose own choices enter the record.
- cells: every architecture of a small cell and macro space; exact latency of the fake device, synthetic
  accuracy (see `front_tables.cells`).
- zcu102-tight, cells-tight: the same with the constraint that latency is in the lowest quarter.

With `--told`, samplers may ask for the latency of what they propose, and the random rows to begin with are
within the constraint, as in a search with a latency predictor as its prefilter.

Shown is the number of evaluations until the front holds 95 % of the true hypervolume, median and quartiles
over seeds; the reference point is the worst feasible value of each objective in the whole table. All samplers
begin with the same 24 random rows. The lead on random search is a mean over seeds with a 95 % interval, after
each evaluation: where its least upper end is above 0, the interval never lies below 0 as a whole; where its
least lower end is, too, never even in part.
"""

import argparse
import io
import json
import random
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import front_tables
import numpy as np
import numpy.typing as npt
from front_tables import Table

from mobinas.files import write_atomic
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.hypervolume import hypervolume, non_dominated
from mobinas.search.choice_space import Choices
from mobinas.search.record import Record, derived_seed
from mobinas.search.samplers import make_sampler, sampler_names

Floats = npt.NDArray[np.float64]

DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "accel_nasbench.csv.xz"
N_START = 24
GOAL = 0.95
# The most trials of samplers that take seconds for a proposal; how many seeds is asked by --slow-seeds.
SLOW = {"gp": 150}
LATE = 50
OVERHEAD_AT = 1000
TOLD = ", latency told"


@dataclass(frozen=True, slots=True)
class Curve:
    """One run.

    Attributes:
        table: Its name.
        sampler: Its name.
        seed: Of all draws.
        share: Of the true hypervolume, after each evaluation.
        feasible: Whether each evaluation met the constraint.
        wall_s: Of the whole run.
    """

    table: str
    sampler: str
    seed: int
    share: list[float]
    feasible: list[bool]
    wall_s: float

    def reached(self) -> float:
        """Evaluations until the goal; infinite where it was not reached."""
        return next((i + 1 for i, share in enumerate(self.share) if share >= GOAL), float("inf"))


def main() -> None:
    """Runs and prints."""
    options = read_options()
    tables = [front_tables.named(name, options.data) for name in options.tables]
    if options.overhead:
        print_overhead(tables[0], options.samplers, options.seeds, options.told)
        return
    curves: list[Curve] = []
    if options.out and options.out.exists():
        curves = [Curve(**row) for row in json.loads(options.out.read_text())]
    done = {(c.table, c.sampler, c.seed) for c in curves}
    work = [
        (table, sampler, seed, min(options.trials, SLOW.get(sampler, options.trials)), options.told)
        for sampler, table in product(options.samplers, tables)
        for seed in range(options.slow_seeds if sampler in SLOW else options.seeds)
        if (table.name, sampler + TOLD * options.told, seed) not in done
    ]
    with ProcessPoolExecutor(options.jobs) as pool:
        for curve in pool.map(run, work):
            curves.append(curve)
            if options.out:
                write_atomic(options.out, json.dumps([as_json(c) for c in curves]))
    for table in tables:
        print_table(table, [c for c in curves if c.table == table.name])
    print_summary(curves, options.tables)
    if options.picture:
        draw([c for c in curves if c.table in options.tables], options.tables, options.picture)


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="accel_nasbench.csv.xz")
    parser.add_argument("--tables", nargs="+", default=list(front_tables.NAMES), choices=front_tables.NAMES)
    parser.add_argument("--samplers", nargs="+", default=list(sampler_names()), choices=sampler_names())
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--slow-seeds", type=int, default=3, help="of gp")
    parser.add_argument("--trials", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="raw curves (JSON); those that it holds are not run again")
    parser.add_argument("--picture", type=Path, help="hypervolume over evaluations with bands")
    parser.add_argument(
        "--told",
        action="store_true",
        help="the latency is known without an evaluation; on cells tables, which hold every proposal",
    )
    parser.add_argument(
        "--overhead", action="store_true", help=f"time a proposal at {OVERHEAD_AT} trials instead"
    )
    options = parser.parse_args()
    if options.told and not all(name.startswith("cells") for name in options.tables):
        parser.error("--told is for tables that hold every proposal: --tables cells cells-tight")
    return options


def run(job: tuple[Table, str, int, int, bool]) -> Curve:
    """One search on one table."""
    table, sampler, seed, trials, told = job
    began = time.perf_counter()
    replay = Replay(table, seed, told)
    while len(replay.asked) < min(trials, len(table)):
        replay.step(sampler)
    feasible = table.feasible()[replay.asked]
    share = shares(table, replay.asked)
    wall_s = time.perf_counter() - began
    return Curve(table.name, sampler + TOLD * told, seed, share, feasible.tolist(), wall_s)


class Replay:
    """A search whose proposals are looked up."""

    def __init__(self, table: Table, seed: int, told: bool = False) -> None:
        """Nothing is asked yet; `told` as of the command line."""
        self.table = table
        self.told = told
        self.seed = seed
        self.record: Record[Choices] = Record(table.space, table.objectives, None)
        self.asked: list[int] = []
        self._left = np.ones(len(table), dtype=bool)

    def step(self, sampler: str) -> None:
        """Asks the sampler and evaluates the nearest row not asked yet; random rows come first."""
        number = len(self.asked)
        rng = random.Random(derived_seed(self.seed, number, "row"))
        if number < N_START:
            allowed = self._left & self.table.feasible() if self.told else self._left
            row = rng.choice(np.flatnonzero(allowed).tolist())
        else:
            row = self._nearest(self.propose(sampler, number), rng)
        self._add(row, sampler)

    def propose(self, sampler: str, number: int) -> Choices:
        """What the sampler wants to see; its trial is ended untold."""
        foretell = self.foretell if self.told else None
        made = make_sampler(sampler, derived_seed(self.seed, number, 0), foretell)
        trial, wanted = self.record.ask(made)
        self.record.drop(trial)
        return wanted

    def foretell(self, choices: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
        """The latency of the row of these choices, or of one that is isomorphic or nearly so."""
        axis, row = self.table.objectives[-1], int(self._differences(choices).argmin())
        x = float(self.table.values[row, -1])
        return {axis.name: axis.loss(x)}, {str(c): c.violation(x) for c in self.table.constraints}

    def _differences(self, wanted: Mapping[str, Any]) -> npt.NDArray[np.int64]:
        code = [self.table.number(name, wanted[name]) for name in self.table.space.choices]
        differ: npt.NDArray[np.int64] = (self.table.codes != np.array(code)).sum(axis=1)
        return differ

    def _nearest(self, wanted: Choices, rng: random.Random) -> int:
        differ = self._differences(wanted)
        differ[~self._left] = differ.max() + 1
        return rng.choice(np.flatnonzero(differ == differ.min()).tolist())

    def _add(self, row: int, sampler: str) -> None:
        candidate = self.table.candidate(row)
        made = make_sampler(sampler, derived_seed(self.seed, len(self.asked), "given"))
        trial, _ = self.record.ask(made, candidate)
        values = {
            o.name: Value(float(x))
            for o, x in zip(self.table.objectives, self.table.values[row], strict=True)
        }
        feasible = bool(self.table.feasible()[row])
        self.record.add(trial, "evaluated", Evaluation(candidate, values, feasible), self.table.constraints)
        self._left[row] = False
        self.asked.append(row)


def shares(table: Table, asked: Sequence[int]) -> list[float]:
    """Share of the true hypervolume after each evaluation."""
    losses, feasible = table.losses(), table.feasible()
    reference = losses[feasible].max(axis=0)
    whole = hypervolume(losses[feasible], reference)
    front = np.empty((0, losses.shape[1]))
    found = []
    for row in asked:
        if feasible[row]:
            front = np.vstack([front, losses[row]])
            front = front[non_dominated(front)]
        found.append(hypervolume(front, reference) / whole)
    return found


def print_table(table: Table, curves: Sequence[Curve]) -> None:
    """A row for each sampler."""
    names = sorted({c.sampler for c in curves})
    tight = " | infeasible after 50" if table.constraints else ""
    print(
        f"\n{table.name}: {len(table)} rows, {int(table.feasible().sum())} feasible, reference "
        f"{dict(zip([o.name for o in table.objectives], table.worst(), strict=True))}\n"
    )
    if table.constraints:
        print(f"{broken_near_the_fastest(table):.0%} of the 100 rows nearest to the fastest are infeasible\n")
    heads = ["sampler", "seeds", f"to {GOAL:.0%}", "quartiles", "after 100", "after 150", "after 300"]
    heads += ["lead on random: least lower end of 95 % (at)", "least upper end (at)"]
    print(f"| {' | '.join(heads)}{tight} |")
    print("|---" * (9 + bool(tight)) + "|")
    random_of = {(c.sampler.removeprefix("random"), c.seed): c.share for c in curves if "random" in c.sampler}
    for name in names:
        mine = [c for c in curves if c.sampler == name]
        reached = [c.reached() for c in mine]
        low, middle, high = np.quantile(reached, (0.25, 0.5, 0.75), method="nearest")
        after = [
            f"{statistics.median(c.share[n - 1] for c in mine):.3f}" if len(mine[0].share) >= n else ""
            for n in (100, 150, 300)
        ]
        late = [ok for c in mine for ok in c.feasible[LATE:]]
        broken = f" | {1 - np.mean(late):.1%}" if late and tight else " | " if tight else ""
        told = TOLD if name.endswith(TOLD) else ""
        paired = worst_lead([(c.share, random_of[told, c.seed]) for c in mine if (told, c.seed) in random_of])
        print(
            f"| {name} | {len(mine)} | {middle:g} | {low:g} to {high:g} | {' | '.join(after)} | "
            f"{paired}{broken} |"
        )


def broken_near_the_fastest(table: Table) -> float:
    """What no proposal can avoid much of, where rows stand in for proposals: a share of the nearest 100."""
    differ = (table.codes != table.codes[table.losses()[:, -1].argmin()]).sum(axis=1)
    return 1 - float(table.feasible()[np.argsort(differ, kind="stable")[:100]].mean())


def print_summary(curves: Sequence[Curve], tables: Sequence[str]) -> None:
    """Evaluations to the goal, median and quartiles, of every sampler on every table; best sampler first."""

    def cell(sampler: str, table: str) -> tuple[float, str]:
        mine = [c for c in curves if (c.sampler, c.table) == (sampler, table)]
        if not mine:
            return float("inf"), ""
        most = max(len(c.share) for c in mine)
        ends = np.quantile([c.reached() for c in mine], (0.25, 0.5, 0.75), method="nearest")
        low, middle, high = (f"{end:g}" if np.isfinite(end) else f"> {most}" for end in ends)
        seeds = f", {len(mine)} seeds" if len(mine) < 10 else ""
        return float(ends[1]), f"{middle} ({low} to {high}{seeds})"

    rows = {name: [cell(name, table) for table in tables] for name in {c.sampler for c in curves}}
    print(f"\n| evaluations to {GOAL:.0%} of the hypervolume | {' | '.join(tables)} |")
    print("|---" * (1 + len(tables)) + "|")
    for name in sorted(rows, key=lambda name: (sum(min(x, 1e4) for x, _ in rows[name]), name)):
        print(f"| {name} | {' | '.join(text for _, text in rows[name])} |")


def worst_lead(pairs: Sequence[tuple[list[float], list[float]]]) -> str:
    """The least ends of the 95 % interval of the mean lead, over evaluations, and where."""
    if len(pairs) < 2:
        return " | "
    n = min(len(curve) for pair in pairs for curve in pair)
    leads = np.array([[a - b for a, b in zip(*(c[:n] for c in pair), strict=True)] for pair in pairs])
    ends = [end[N_START:] for end in mean_interval(leads)]
    return " | ".join(f"{end.min():+.4f} ({int(end.argmin()) + N_START + 1})" for end in ends)


def mean_interval(numbers: Floats) -> tuple[Floats, Floats]:
    """Both ends of the 95 % interval of the mean over rows (Student's t), for each column."""
    from scipy.stats import t

    n = len(numbers)
    half = t.ppf(0.975, n - 1) * numbers.std(axis=0, ddof=1) / np.sqrt(n)
    middle = numbers.mean(axis=0)
    return middle - half, middle + half


def print_overhead(table: Table, samplers: Sequence[str], seeds: int, told: bool) -> None:
    """Processor time of a proposal with so many past trials, the sampler made anew as in a search."""
    print(f"| sampler | CPU ms per proposal at {OVERHEAD_AT} trials, median | least | most |")
    print("|---|---|---|---|")
    replay = Replay(table, 0, told)
    while len(replay.asked) < OVERHEAD_AT:
        # Costs little, and learns something.
        replay.step("evolution")
    for sampler in samplers:
        times_ms = []
        for i in range(seeds):
            began = time.process_time()
            replay.propose(sampler, OVERHEAD_AT + i)
            times_ms.append((time.process_time() - began) * 1e3)
        print(
            f"| {sampler} | {statistics.median(times_ms):.1f} | {min(times_ms):.1f} | {max(times_ms):.1f} |",
            flush=True,
        )


def draw(curves: Sequence[Curve], tables: Iterable[str], path: Path) -> None:
    """Medians and quartiles over seeds, one panel a table."""
    from matplotlib.figure import Figure

    names = list(tables)
    figure = Figure(figsize=(6 * len(names), 4.5), layout="constrained")
    for axes, table in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for k, sampler in enumerate(sorted({c.sampler for c in curves})):
            mine = [c.share for c in curves if (c.table, c.sampler) == (table, sampler)]
            if mine:
                low, middle, high = np.quantile(mine, (0.25, 0.5, 0.75), axis=0)
                steps = np.arange(1, len(middle) + 1)
                axes.plot(steps, middle, label=sampler, color=f"C{k}")
                axes.fill_between(steps, low, high, alpha=0.15, color=f"C{k}", linewidth=0)
        axes.axhline(GOAL, color="grey", linewidth=0.8, linestyle="--")
        axes.set(title=table, xlabel="evaluations", ylabel="share of the true hypervolume", ylim=(0.6, 1.0))
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": "MOBINAS"})
    write_atomic(path, buffer.getvalue())


def as_json(curve: Curve) -> dict[str, Any]:
    """Plain data, rounded."""
    return {
        "table": curve.table,
        "sampler": curve.sampler,
        "seed": curve.seed,
        "share": [round(x, 6) for x in curve.share],
        "feasible": curve.feasible,
        "wall_s": round(curve.wall_s, 2),
    }


if __name__ == "__main__":
    main()
