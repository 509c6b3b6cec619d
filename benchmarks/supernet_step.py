"""One supernet step (forward and backward, weights and architecture) beside the authors' code.

    python benchmarks/supernet_step.py pc-darts --reference PATH/TO/PC-DARTS
    python benchmarks/supernet_step.py darts --reference PATH/TO/darts/cnn

Both run in processes of their own and take turns, step by step, on the same images; the line gives the median
step of each, the ratio of the medians, and each process's peak memory. PATH is a checkout of
https://github.com/yuhuixu1993/PC-DARTS or the folder ``cnn`` of https://github.com/quark0/darts; without it
only ours is timed. A search reuses freed memory (`mobinas.memory`), and so does ours here; the authors' code
does with --same-memory. C=16, 8 cells, 32x32 pixels, CPU, float32, all cores.
"""

import argparse
import contextlib
import multiprocessing
import os
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path

import torch

WIDTH, DEPTH, RESOLUTION, CLASSES = 16, 8, 32, 10
BATCH = {"darts": 32, "pc-darts": 64}
Maker = Callable[..., torch.nn.Module]
Memory = Callable[[], AbstractContextManager[None]]


def main() -> None:
    """Times both and prints one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=sorted(BATCH))
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--same-memory", action="store_true", help="reuse memory in the reference, too")
    options = parser.parse_args()
    batch = options.batch or BATCH[options.method]
    from mobinas.memory import reused_memory

    makers: list[tuple[Maker, tuple[object, ...], Memory]] = [(ours, (options.method,), reused_memory)]
    if options.reference:
        memory = reused_memory if options.same_memory else contextlib.nullcontext
        makers.append((reference, (str(options.reference),), memory))
    context = multiprocessing.get_context("spawn")
    sides = []
    for maker in makers:
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, *maker, batch), daemon=True)
        process.start()
        sides.append((process, here, list[float]()))
    for step in range(options.steps + 2):
        for _, pipe, times_s in sides:
            pipe.send("step")
            seconds = pipe.recv()
            if step >= 2:  # the first ones allocate
                times_s.append(seconds)
    medians_s = [statistics.median(times_s) for _, _, times_s in sides]
    peaks_gb = []
    for process, pipe, _ in sides:
        pipe.send("end")
        peaks_gb.append(pipe.recv())
        process.join()
    text = f"{options.method}, batch {batch}, {os.cpu_count()} cores: "
    text += f"ours {medians_s[0]:.3f} s, {peaks_gb[0]:.2f} GB"
    if options.reference:
        text += (
            f"; reference {medians_s[1]:.3f} s, {peaks_gb[1]:.2f} GB; "
            f"ratio {medians_s[1] / medians_s[0]:.2f}x, memory {peaks_gb[0] / peaks_gb[1]:.2f}"
        )
    print(text)


def serve(pipe: Connection, make: Maker, arguments: tuple[object, ...], memory: Memory, batch: int) -> None:
    """One side: a step for each request, then its peak memory."""
    warnings.simplefilter("ignore")
    network = make(*arguments).train()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, RESOLUTION, RESOLUTION, generator=generator)
    labels = torch.randint(0, CLASSES, (batch,), generator=generator)
    with memory():
        while pipe.recv() == "step":
            started = time.perf_counter()
            torch.autograd.backward(torch.nn.functional.cross_entropy(network(images), labels))
            pipe.send(time.perf_counter() - started)
            for parameter in network.parameters():
                parameter.grad = None
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def ours(method: str) -> torch.nn.Module:
    """The search network of a method, as a search makes it."""
    from mobinas.arch.architecture import Task
    from mobinas.arch.ops import op_set
    from mobinas.arch.space import SearchSpace
    from mobinas.supernet.methods import find_method
    from mobinas.supernet.network import SearchNetwork, search_ops

    space = SearchSpace(Task(CLASSES, 3), (RESOLUTION,), (DEPTH,), (WIDTH,), (op_set("darts"),), nodes=4)
    relaxation = find_method(method).relax(search_ops(space), space.nodes, 0)
    partial = find_method(method).stages[0].partial
    return SearchNetwork(
        space, relaxation, resolution=RESOLUTION, depth=DEPTH, width=WIDTH, seed=0, partial=partial
    )


def reference(folder: str) -> torch.nn.Module:
    """The authors' search network; their code calls ``cuda()``, which does nothing here."""
    sys.path.insert(0, folder)
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    torch.nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    from model_search import Network  # type: ignore[import-not-found]

    network: torch.nn.Module = Network(WIDTH, CLASSES, DEPTH, torch.nn.CrossEntropyLoss())
    return network


if __name__ == "__main__":
    main()
