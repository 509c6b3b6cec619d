"""Second-order quantities against exact ones."""

import torch
from torch import nn

from mobinas.supernet.sharpness import dominant_eigenvalue
from mobinas.supernet.unrolled import unrolled_gradients


def _parameters(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes]


def test_the_unrolled_gradient_is_that_through_the_step() -> None:
    """A small network, differentiated twice; momentum and weight decay included."""
    alphas, weights = _parameters((3,)), _parameters((4, 3), (2, 4))
    generator = torch.Generator().manual_seed(1)
    train, val = (torch.randn(8, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.arange(8) % 2

    def loss(images: torch.Tensor, w: list[torch.Tensor]) -> torch.Tensor:
        hidden = torch.tanh((images * torch.softmax(alphas[0], dim=0)) @ w[0].T)
        return nn.functional.cross_entropy(hidden @ w[1].T, labels)

    optimiser = torch.optim.SGD(weights, 0.1, momentum=0.9, weight_decay=3e-4)
    loss(train, weights).backward()
    optimiser.step()  # fills the momentum buffers
    optimiser.zero_grad()
    alphas[0].grad = None
    gradients = torch.autograd.grad(loss(train, weights), weights, create_graph=True)
    moved = [
        w - 0.1 * (0.9 * optimiser.state[w]["momentum_buffer"] + g + 3e-4 * w)
        for w, g in zip(weights, gradients, strict=True)
    ]
    (expected,) = torch.autograd.grad(loss(val, moved), alphas)
    before = [w.detach().clone() for w in weights]
    (found,) = unrolled_gradients(
        alphas,
        weights,
        weight_loss=lambda: loss(train, weights),
        alpha_loss=lambda: loss(val, weights),
        rate=0.1,
        optimiser=optimiser,
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-8)
    first_order = torch.autograd.grad(loss(val, weights), alphas)[0]
    assert not torch.allclose(found, first_order, rtol=1e-2)
    assert all(map(torch.equal, before, weights))
    assert all(p.grad is None for p in (*alphas, *weights))


def test_the_dominant_eigenvalue_of_a_quadratic() -> None:
    (at,) = _parameters((5,))
    basis, _ = torch.linalg.qr(
        torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    )
    hessian = basis @ torch.diag(torch.tensor([-9.0, 3.0, 1.0, 0.5, 0.1], dtype=torch.float64)) @ basis.T
    before = at.detach().clone()
    found = dominant_eigenvalue(lambda: 0.5 * at @ hessian @ at, [at], torch.Generator().manual_seed(0))
    assert abs(found + 9) < 0.01
    assert torch.equal(at, before)
