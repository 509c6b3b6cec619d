"""How well cheap judgements order architectures, against full training: Kendall's tau of each.

    mobinas run digits --out runs/digits
    python benchmarks/proxy_trust.py runs/digits --architectures 28

Architectures are drawn from the run's space, most of them from one or two kinds of op. Each is judged by
inherited weights, by a few epochs from them, by as many from scratch, by its size, and is then trained
in full with the run's recipe; the truth is the accuracy over select and test part together.
"""

import argparse
import random
from pathlib import Path

from scipy.stats import kendalltau

from mobinas.arch.architecture import Architecture
from mobinas.config import dump_toml, load_config
from mobinas.graph.cost import cost
from mobinas.graph.lowering import lower
from mobinas.nets.module import GraphModule
from mobinas.pipeline.context import Job
from mobinas.pipeline.load import load, space_of
from mobinas.pipeline.run_folder import JOB_FILE, RunFolder
from mobinas.pipeline.supernet import ELASTIC
from mobinas.pipeline.train import recipe_of
from mobinas.progress import SilentReporter
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.targets.target import find_target
from mobinas.train.evaluate import evaluate
from mobinas.train.loop import train
from mobinas.train.splits import Part, Splits


def main() -> None:
    """Prints a row for each judgement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--architectures", type=int, default=28)
    options = parser.parse_args()
    config = load_config(options.run / JOB_FILE)
    with RunFolder(options.run, dump_toml(config)) as folder:
        job = Job(config, folder, find_target(config.target), SilentReporter())
        splits = load(job)
        space = space_of(job, splits)
        supernet = ElasticSupernet.load(options.run / ELASTIC, space)
    rng = random.Random(config.seed)
    rows = []
    for _ in range(options.architectures):
        few = rng.sample(space.ops(), rng.choice((1, 2, len(space.ops()))))
        drawn = space.build(
            lambda _, offered, few=few: rng.choice([o for o in offered if o in few] or offered)
        )
        rows.append(judgements(job, drawn, supernet, splits))
        print(drawn.name, {name: round(value, 3) for name, value in rows[-1].items()}, flush=True)
    print("| judged by | Kendall's tau with full training |\n|---|---|")
    for name in rows[0]:
        if name != "full training":
            tau = kendalltau([row[name] for row in rows], [row["full training"] for row in rows])[0]
            print(f"| {name} | {tau:.2f} |")


def judgements(
    job: Job, architecture: Architecture, supernet: ElasticSupernet, splits: Splits
) -> dict[str, float]:
    """All of one architecture."""
    few = job.config.search.qualifying_epochs or 2

    def accuracy(module: GraphModule, part: Part) -> float:
        resolution = architecture.resolution
        return evaluate(module, part, resolution=resolution, normalisation=splits.normalisation)

    def trained(module: GraphModule, epochs: int) -> GraphModule:
        train(
            module,
            splits.training,
            recipe_of(job.config, epochs),
            resolution=architecture.resolution,
            normalisation=splits.normalisation,
            seed=job.config.seed,
        )
        return module

    counted = cost(lower(architecture))
    full = trained(GraphModule(lower(architecture), seed=0), job.config.train.epochs)
    n_select, n_test = len(splits.select), len(splits.test)
    right = accuracy(full, splits.select) * n_select + accuracy(full, splits.test) * n_test
    return {
        "inherited weights": supernet.judge(
            architecture, splits.training, splits.select, normalisation=splits.normalisation
        ),
        f"{few} epochs from them": accuracy(trained(supernet.subnet(architecture), few), splits.select),
        f"{few} epochs from scratch": accuracy(
            trained(GraphModule(lower(architecture), seed=0), few), splits.select
        ),
        "parameters": float(counted.params),
        "multiply-accumulates": float(counted.macs),
        "full training": right / (n_select + n_test),
    }


if __name__ == "__main__":
    main()
