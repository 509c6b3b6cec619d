"""What judging one candidate by inherited weights costs, the recalibration of its statistics apart.

    python benchmarks/judge.py

Cells of the DARTS ops at 32x32 pixels, 16 channels, 8 cells, on random images; weights are untrained, which
changes no time. Medians over architectures, each judged once.
"""

import argparse
import itertools
import os
import random
import statistics
import time
from collections.abc import Callable

import torch

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.ops import op_set
from mobinas.arch.space import SearchSpace
from mobinas.memory import reused_memory
from mobinas.nets.batch_norm import recalibrate
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.train.evaluate import evaluate
from mobinas.train.splits import Normalisation, Part

RESOLUTION, WIDTH, DEPTH = 32, 16, 8
CALIBRATION_IMAGES = 256
ASKED_S = {500: 1.5, 2000: 4.0}


def main() -> None:
    """Prints a row for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architectures", type=int, default=7)
    options = parser.parse_args()
    space = SearchSpace(Task(10, 3), (RESOLUTION,), (DEPTH,), (WIDTH,), (op_set("darts"),))
    supernet, rng = ElasticSupernet(space, 0), random.Random(0)
    architectures = [space.sample(rng) for _ in range(options.architectures + 1)]
    normalisation = Normalisation((0.5,) * 3, (0.25,) * 3)
    calibration = normalisation(images(CALIBRATION_IMAGES).images).contiguous(
        memory_format=torch.channels_last
    )
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    print("| images | subnet, s | recalibration, s | accuracy, s | in all, s | asked, s |")
    print("|---|---|---|---|---|---|")
    for n, asked_s in ASKED_S.items():
        part = images(n)
        # The first one warms caches.
        times = [
            judged_s(supernet.subnet, architecture, calibration, part, normalisation)
            for architecture in architectures
        ][1:]
        parts = [statistics.median(column) for column in zip(*times, strict=True)]
        total = statistics.median(sum(row) for row in times)
        print(f"| {n} | {' | '.join(f'{s:.2f}' for s in parts)} | {total:.2f} | {asked_s} |", flush=True)


def judged_s(
    subnet: Callable[[Architecture], torch.nn.Module],
    architecture: Architecture,
    calibration: torch.Tensor,
    part: Part,
    normalisation: Normalisation,
) -> list[float]:
    """Seconds of each step of `ElasticSupernet.judge`."""
    with reused_memory():
        stamps = [time.perf_counter()]
        module = subnet(architecture)
        stamps.append(time.perf_counter())
        recalibrate(module, torch.split(calibration, CALIBRATION_IMAGES // 2))
        stamps.append(time.perf_counter())
        evaluate(module, part, resolution=RESOLUTION, normalisation=normalisation)
        stamps.append(time.perf_counter())
    return [b - a for a, b in itertools.pairwise(stamps)]


def images(n: int) -> Part:
    """Random ones."""
    generator = torch.Generator().manual_seed(n)
    pixels = torch.randint(0, 256, (n, 3, RESOLUTION, RESOLUTION), generator=generator, dtype=torch.uint8)
    return Part(pixels, torch.randint(0, 10, (n,), generator=generator))


if __name__ == "__main__":
    main()
