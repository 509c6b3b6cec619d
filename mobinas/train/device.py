"""Which device trainings run on."""

import os

import torch

from mobinas.errors import ConfigError
from mobinas.train import parallel


def find_device(name: str) -> torch.device:
    """The device that a job asks for.

    Args:
        name: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, or one of several GPUs as ``cuda:1``.
            Processes that torchrun started take one GPU each.

    Raises:
        ConfigError: This machine or this build of PyTorch has no such device.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not found):
        return torch.device("cpu")
    own = os.environ.get("LOCAL_RANK", "0") if parallel.processes() > 1 else "0"
    number = int(name.partition(":")[2] or own)
    if number >= found:
        why = (
            f"the last of {found} is cuda:{found - 1}"
            if found
            else "PyTorch finds no GPU (its CPU build never does)"
        )
        raise ConfigError(f"device is '{name}', but {why}; set device to 'auto' or 'cpu'")
    return torch.device("cuda", number)
