"""How well inherited weights order architectures, beside zero-cost scores, sizes, and a second training.

    python benchmarks/proxy_trust.py
    python benchmarks/proxy_trust.py examples/fashion_mnist.toml --steps 12000 --images 8000 --epochs 6

An elastic supernet is trained on a job's space and data, with uniform probabilities; then architectures are
drawn, judged cheaply, and trained from scratch with each seed. A table gives Kendall's tau of each judgement
with the mean accuracy of these trainings, and its 95 % interval. Below it, tau between two trainings of
different seeds tells how far chance decides the order.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

from mobinas.arch.probabilities import Probabilities
from mobinas.arch.space import SearchSpace
from mobinas.config import load_config
from mobinas.files import write_atomic
from mobinas.graph.lowering import lower
from mobinas.metrics.rank import kendall_tau
from mobinas.nets.module import GraphModule
from mobinas.pipeline.load import subset, task_of
from mobinas.pipeline.proxy_check import INHERITED, TRUTH, compare, draw, judgements
from mobinas.pipeline.supernet import at_most
from mobinas.pipeline.train import recipe_of
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.supernet.elastic_training import ElasticSettings, train_elastic
from mobinas.train.data import load_data
from mobinas.train.evaluate import evaluate
from mobinas.train.loop import train
from mobinas.train.splits import Splits, split


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", nargs="?", default="digits")
    parser.add_argument("--architectures", type=int, default=40)
    parser.add_argument("--steps", type=int, default=2000, help="of the elastic supernet, about")
    parser.add_argument("--images", type=int, default=10_000, help="for all trainings, at most")
    parser.add_argument(
        "--judged", type=int, default=2000, help="images that judge inherited weights, at most"
    )
    parser.add_argument("--epochs", type=int, default=16, help="of each training from scratch")
    parser.add_argument("--seeds", type=int, default=2, help="trainings from scratch of each architecture")
    parser.add_argument("--write", type=Path, help="a .json file for all that was found")
    options = parser.parse_args()
    config = load_config(options.job)
    splits = split(load_data(config.data, seed=0), seed=0)
    parts = at_most(splits, options.images // 2, 0)
    training, judged = parts.training, subset(splits.select, options.judged, 0)
    space = config.space.for_task(task_of(splits), max(splits.select.images.shape[2:]))
    supernet, steps = trained(space, parts, config.supernet.elastic_batch_size, options.steps)
    recipe = recipe_of(config, options.epochs)
    found, by_seed, judge_s = [], [], []
    for architecture in draw(space, options.architectures, 0):
        started = time.perf_counter()
        cheap = judgements(
            supernet,
            architecture,
            training,
            judged,
            normalisation=splits.normalisation,
            metric="accuracy",
            seed=0,
        )
        judge_s.append(time.perf_counter() - started)
        how: dict[str, Any] = {"resolution": architecture.resolution, "normalisation": splits.normalisation}
        accuracies = []
        for seed in range(options.seeds):
            module = GraphModule(lower(architecture), seed=seed)
            train(module, training, recipe, seed=seed, **how)
            accuracies.append(evaluate(module, splits.select, **how))
        by_seed.append(accuracies)
        found.append({**cheap, TRUTH: statistics.mean(accuracies)})
        print(f"  {architecture.name}: inherited {cheap[INHERITED]:.3f}, trained {accuracies}", flush=True)
    if options.write:
        write_atomic(options.write, json.dumps({"found": found, "by_seed": by_seed}, indent=1) + "\n")
    print(f"{len(found)} architectures of {options.job}, {steps} elastic steps")
    print(f"{statistics.median(judge_s):.2f} s for all judgements of one")
    print(compare(found).table())
    taus = [kendall_tau(a, b) for a, b in itertools.combinations(zip(*by_seed, strict=True), 2)]
    if taus:
        print(f"tau between two trainings: {statistics.mean(taus):.2f}")


def trained(space: SearchSpace, parts: Splits, batch_size: int, steps: int) -> tuple[ElasticSupernet, int]:
    """An elastic supernet, and its number of steps: whole epochs, about as many as asked."""
    supernet = ElasticSupernet(space, 0)
    batch_size = min(batch_size, len(parts.training))
    an_epoch = len(parts.training) // batch_size
    epochs = max(1, round(steps / an_epoch))
    started = time.perf_counter()
    train_elastic(
        supernet,
        parts,
        Probabilities.uniform(space.ops(), space.nodes),
        ElasticSettings(epochs=epochs, batch_size=batch_size),
        seed=0,
        progress=lambda done, total, text: print(f"  {text} ({done} of {total})", flush=True),
    )
    print(f"elastic supernet: {epochs} epochs, {time.perf_counter() - started:.0f} s", flush=True)
    return supernet, epochs * an_epoch


if __name__ == "__main__":
    main()
