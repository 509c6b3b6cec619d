"""What networks of users need before they are trained as this project's own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mobinas.errors import SearchError


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PyTorch draws from the seed inside; its own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def uncompiled(module: nn.Module) -> nn.Module:
    """The module as it is written, in place of what `torch.compile` made of it, which cannot be exported.

    Raises:
        SearchError: What `torch.jit` made of it cannot be undone.
    """
    original = getattr(module, "_orig_mod", None)
    if isinstance(original, nn.Module):
        return uncompiled(original)
    if isinstance(module, torch.jit.ScriptModule):
        raise SearchError(
            f"{module.original_name} is scripted, which torch.onnx cannot export; return the module as it is "
            "written, without torch.jit"
        )
    for name, child in list(module._modules.items()):
        if child is not None and (plain := uncompiled(child)) is not child:
            module._modules[name] = plain
    module._compiled_call_impl = None
    return module


def check_logits(output: object, n: int, classes: int) -> None:
    """Refuses a network that is no classifier of these classes.

    Args:
        output: Of the network in evaluation mode.
        n: How many images it was given.
        classes: Of the data.

    Raises:
        SearchError: It is no tensor [n, classes].
    """
    if not isinstance(output, Tensor):
        raise SearchError(
            f"the network returns a {type(output).__name__}; let its forward return the logits alone, a "
            f"tensor [images, {classes} classes], in evaluation mode"
        )
    if tuple(output.shape) != (n, classes):
        raise SearchError(
            f"the network returns the shape {list(output.shape)} for {n} image(s); it must be "
            f"[{n}, {classes}], logits of the {classes} classes"
        )
