"""One search by several processes.

Run it as ``torchrun --nproc-per-node 2 examples/parallel_search.py``; without torchrun, it is one process.
"""

import os

import torch
import torch.distributed as dist

from mobinas import SearchSpace, Task
from mobinas.supernet.search import search_supernet
from mobinas.supernet.settings import MethodSettings
from mobinas.train.data import load_data
from mobinas.train.splits import split


def main() -> None:
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if "RANK" in os.environ:  # set by torchrun
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    splits = split(load_data("digits")).to(device)
    ops = ("skip_connect", "sep_conv_3x3", "max_pool_3x3")
    space = SearchSpace(Task(len(splits.classes), 1), (8,), (3,), (8,), (ops,))
    found = search_supernet(space, splits, MethodSettings("pc-darts", epochs=2), seed=0)
    print(f"loss {found.history[-1].weight_loss:.3f}, genotype {found.genotype.digest[:8]}")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
