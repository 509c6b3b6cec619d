"""Our ONNX files against those of torch.onnx for the same networks: latency and number of nodes.

    python benchmarks/export_latency.py

Each network is written twice and both files take turns on ONNX Runtime in the same rounds, so only the ratio
counts. Ours fold batch normalisation themselves; torch.onnx's go through its own optimiser, then both through
ONNX Runtime's. Asked: no file slower than torch.onnx's.
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import onnx
import torch

from exporters import find_format
from mobinas.arch.architecture import Architecture, CellBody, Task
from mobinas.arch.genotype import published
from mobinas.graph.lowering import lower
from mobinas.nets.module import GraphModule
from mobinas.targets.target import Target
from predictors.measure import measure

# Genotype, depth, width, resolution: from digits to CIFAR size.
NETWORKS = (
    ("DARTS_V2", 3, 4, 8),
    ("PDARTS", 4, 8, 16),
    ("DARTS_V2", 8, 16, 32),
    ("PC_DARTS_cifar", 8, 16, 32),
)


def main() -> None:
    """Writes, measures and prints one row a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        files = [write_both(Path(scratch), *network) for network in NETWORKS]
        flat = [path for pair in files for path in pair]
        found = measure(flat, Target.local(), rounds=options.rounds, block_s=0.1)
        for network, pair, ours, theirs in zip(NETWORKS, files, found[::2], found[1::2], strict=True):
            nodes = [len(onnx.load(path).graph.node) for path in pair]
            name, depth, width, resolution = network
            print(
                f"{name} r{resolution}-d{depth}-w{width}: "
                f"ours {ours.median_s * 1e3:.3f} ms in {nodes[0]} nodes, "
                f"torch.onnx {theirs.median_s * 1e3:.3f} ms in {nodes[1]} nodes, "
                f"ratio {theirs.median_s / ours.median_s:.2f}x"
            )


def write_both(folder: Path, name: str, depth: int, width: int, resolution: int) -> tuple[Path, Path]:
    """Our file and torch.onnx's, of one network with the same weights."""
    body = CellBody(published(name), depth, width)
    graph = lower(Architecture(body, resolution, Task(10)))
    module = GraphModule(graph, seed=0).eval()
    stem = f"{name}-{resolution}-{width}"
    ours, theirs = folder / f"{stem}.onnx", folder / f"{stem}-torch.onnx"
    find_format("onnx").export(module, ours, image_shape=graph.input_shape, metadata={})
    example = torch.zeros(1, *graph.input_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (example,), theirs, dynamo=True, external_data=False, verbose=False)
    return ours, theirs


if __name__ == "__main__":
    main()
