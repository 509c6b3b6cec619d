"""Scores of untrained networks: the cheapest guesses at how good a network will be.

Each takes one batch and no training; larger is meant to be better. How far they can be trusted differs from
space to space, so whoever uses one reports its rank correlation beside.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# A score of a network [batch, channels, height, width] -> [batch, classes], images and labels.
ZeroCostScore = Callable[[nn.Module, Tensor, Tensor], float]


def synflow(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Sum over the weights of |w dR/dw|, where R is the network's response to ones with all weights positive.

    Tanaka et al., 2020 (https://arxiv.org/abs/2006.05467), eq. 2; as a score of networks: Abdelfattah et al.,
    2021 (https://arxiv.org/abs/2101.08134). Batch normalisation uses its initial statistics, so it does
    nothing. Returned as a logarithm, since it grows exponentially with depth.
    """
    module = _double(module).eval()
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.abs_()
    parameters = list(module.parameters())
    ones = torch.ones((1, *images.shape[1:]), dtype=torch.float64, device=images.device)
    response = module(ones).sum()
    gradients = torch.autograd.grad(response, parameters, allow_unused=True)
    flows = [(p * g).abs().sum() for p, g in zip(parameters, gradients, strict=True) if g is not None]
    return float(torch.log(torch.stack(flows).sum()).detach())


def grad_norm(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Sum over the layers of the norm of the loss's gradient (Abdelfattah et al., 2021, section 3.1)."""
    module = _double(module).train()
    loss = nn.functional.cross_entropy(module(images.double()), labels)
    gradients = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    return float(sum(float(g.norm()) for g in gradients if g is not None))


def jacob_cov(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """How little the network's local linear maps at different images correlate.

    Minus the sum of log(v + k) + 1 / (v + k), k = 1e-5, over the eigenvalues v of the Jacobians' correlation
    matrix (Mellor et al., 2020, https://arxiv.org/abs/2006.04647v1, eq. 6).
    """
    module = _double(module).train()
    inputs = images.double().requires_grad_()
    (jacobian,) = torch.autograd.grad(module(inputs).sum(), inputs)
    eigenvalues = torch.linalg.eigvalsh(torch.corrcoef(jacobian.flatten(1))) + 1e-5
    return float(-(torch.log(eigenvalues) + 1 / eigenvalues).sum())


def naswot(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Logarithm of the determinant of the kernel of how many rectifiers two images agree on.

    A hard swish counts as one: it is above 0 where its input is.

    Mellor et al., 2021 (https://arxiv.org/abs/2006.04647), section 3.
    """
    with torch.no_grad(), _RectifierCodes() as codes:
        _double(module).train()(images.double())
    kernel = sum(c @ c.T + (1 - c) @ (1 - c).T for c in codes.seen)
    assert isinstance(kernel, Tensor), "a network has rectifiers"
    return float(torch.linalg.slogdet(kernel).logabsdet)


def parameters(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """How many there are."""
    return float(sum(p.numel() for p in module.parameters()))


ZERO_COST: dict[str, ZeroCostScore] = {
    "synflow": synflow,
    "jacob_cov": jacob_cov,
    "naswot": naswot,
    "grad_norm": grad_norm,
    "parameters": parameters,
}


class _RectifierCodes(TorchFunctionMode):
    """Notes which rectifiers let each image pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.relu, nn.functional.relu, Tensor.relu_, nn.functional.hardswish):
            self.seen.append((result > 0).flatten(1).to(torch.float64))
        return result


def _double(module: nn.Module) -> nn.Module:
    """A copy in double precision, since the scores multiply and divide across many magnitudes."""
    return copy.deepcopy(module).double()
