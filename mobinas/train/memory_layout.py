"""In which memory layout a network is computed: channels_last where its own code takes it."""

import contextlib
import copy

import torch
from torch import Tensor, nn

from mobinas.nets.module import GraphModule

# Rounding differs between the kernels of the two layouts by some 1e-6 of the largest output.
_TOLERANCE = 1e-3
NAMES = {torch.channels_last: "channels_last", torch.contiguous_format: "contiguous"}


def usual_layout(module: nn.Module) -> torch.memory_format:
    """The layout that needs no trial: networks of this project take channels_last, others may not."""
    return torch.channels_last if isinstance(module, GraphModule) else torch.contiguous_format


def fitting_layout(module: nn.Module, images: Tensor) -> torch.memory_format:
    """channels_last, which is up to twice as fast on a CPU, unless the network's code fails or errs in it.

    Code that calls `view` or asks for `is_contiguous`, and parameters of five axes, need the contiguous one.
    It is tried once, forwards and backwards, on copies.

    Args:
        module: Not changed.
        images: A few, normalised, [n, channels, height, width], on the network's device.
    """
    if isinstance(module, GraphModule):
        return torch.channels_last
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), contextlib.suppress(Exception):
        plain = _answer(copy.deepcopy(module), images, torch.contiguous_format)
        fast = _answer(copy.deepcopy(module), images, torch.channels_last)
        # Not a number twice is the same answer.
        bound = _TOLERANCE * float(plain.nan_to_num().abs().max())
        if torch.allclose(plain, fast, rtol=0.0, atol=bound, equal_nan=True):
            return torch.channels_last
    return torch.contiguous_format


def _answer(module: nn.Module, images: Tensor, layout: torch.memory_format) -> Tensor:
    """What the network answers, after a step of training has gone through without an error."""
    if layout is torch.channels_last:
        module.to(memory_format=layout)  # type: ignore[call-overload]
    images = images.contiguous(memory_format=layout)
    module.eval()
    with torch.no_grad():
        answer = _logits(module(images)).clone()
    module.train()
    _logits(module(images)).sum().backward()  # type: ignore[no-untyped-call]
    return answer.double()


def _logits(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def as_input(images: Tensor, module: nn.Module, layout: torch.memory_format) -> Tensor:
    """Normalised images in the layout, and in the floating type of the network's first parameter."""
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), images.dtype)
    return images.to(dtype).contiguous(memory_format=layout)
