"""Networks as PyTorch users write them are trained, in the memory layout that their code takes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mobinas.errors import TrainingError
from mobinas.train.batches import shuffled_batches
from mobinas.train.loop import Recipe, evaluate, seconds_per_epoch, train
from mobinas.train.memory_layout import fitting_layout
from mobinas.train.splits import Normalisation, Part


class Own(nn.Module):
    """Some layers, and what is done with them."""

    def __init__(self, forward: Callable[["Own", Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.does = forward
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.linear = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear(self.does(self, x))
        return result


def stop_unless_contiguous(x: Tensor) -> Tensor:
    assert x.is_contiguous()
    return x.flatten(1)


def attend(net: Own, x: Tensor) -> Tensor:
    tokens = net.conv(x).view(len(x), 4, -1).transpose(1, 2)
    mixed: Tensor = net.attention(tokens, tokens, tokens)[0].mean(dim=1)
    return mixed


def standardised(net: Own, x: Tensor) -> Tensor:
    weight = net.wide.weight
    flat = weight.view(4, -1)
    return functional.conv2d(
        x.expand(-1, 3, -1, -1), (flat - flat.mean(1, keepdim=True)).view_as(weight)
    ).flatten(1)


def conv() -> nn.Conv2d:
    return nn.Conv2d(1, 4, 3)


NETS: dict[str, tuple[str, Callable[[], Own]]] = {
    "plain": ("channels_last", lambda: Own(lambda n, x: n.conv(x).relu().flatten(1), conv=conv())),
    "dropout": (
        "channels_last",
        lambda: Own(lambda n, x: functional.dropout(n.conv(x), training=n.training).flatten(1), conv=conv()),
    ),
    "view": ("contiguous", lambda: Own(lambda n, x: n.conv(x).view(len(x), -1), conv=conv())),
    "conv3d": (
        "contiguous",
        lambda: Own(lambda n, x: n.deep(x.unsqueeze(1)).flatten(1), deep=nn.Conv3d(1, 2, (1, 3, 3))),
    ),
    "transposed": (
        "channels_last",
        lambda: Own(lambda n, x: n.up(x).flatten(1), up=nn.ConvTranspose2d(1, 4, 2, 2)),
    ),
    "asserts": ("contiguous", lambda: Own(lambda n, x: stop_unless_contiguous(n.conv(x)), conv=conv())),
    "errs silently": (
        "contiguous",
        lambda: Own(
            lambda n, x: n.conv(x).flatten(1) * (1 if n.conv(x).is_contiguous() else -1), conv=conv()
        ),
    ),
    "standardised": ("contiguous", lambda: Own(standardised, wide=nn.Conv2d(3, 4, 3))),
    "lstm": (
        "channels_last",
        lambda: Own(lambda n, x: n.lstm(x.squeeze(1))[0][:, -1], lstm=nn.LSTM(6, 5, batch_first=True)),
    ),
    "attention": (
        "channels_last",
        lambda: Own(attend, conv=conv(), attention=nn.MultiheadAttention(4, 2, batch_first=True)),
    ),
    "embedding": (
        "channels_last",
        lambda: Own(
            lambda n, x: n.embedding((x.clamp(-1, 1) * 4 + 4).long()).view(len(x), -1),
            embedding=nn.Embedding(9, 2),
        ),
    ),
    "fourier": (
        "channels_last",
        lambda: Own(lambda n, x: torch.fft.rfft2(n.conv(x)).abs().flatten(1), conv=conv()),
    ),
}


def part(n: int = 12) -> Part:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 1, 6, 6), dtype=torch.uint8, generator=generator)
    return Part(images, torch.arange(n) % 3)


NORMALISATION = Normalisation((0.5,), (0.25,))
RECIPE = Recipe(epochs=1, batch_size=4)


def made(make: Callable[[], Own], dtype: torch.dtype = torch.float32) -> Own:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = make()
        net(NORMALISATION(part().batch(torch.arange(2), 6)))
    return net.to(dtype)


@pytest.mark.parametrize("name", NETS)
def test_the_layout_is_what_the_code_takes(name: str) -> None:
    layout, make = NETS[name]
    net = made(make)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.random.get_rng_state()
    assert seconds_per_epoch(net, part(), RECIPE, resolution=6, normalisation=NORMALISATION, steps=1) > 0
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    told = train(net, part(), RECIPE, resolution=6, normalisation=NORMALISATION, seed=0)
    assert told.layout == layout
    assert torch.equal(torch.random.get_rng_state(), state)
    assert any(not torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(p.is_contiguous() for p in net.parameters()), "the copy's layout does not stay"
    assert 0 <= evaluate(net, part(), resolution=6, normalisation=NORMALISATION) <= 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_images_come_in_the_networks_type(dtype: torch.dtype) -> None:
    net = made(NETS["plain"][1], dtype)
    told = train(net, part(), RECIPE, resolution=6, normalisation=NORMALISATION, seed=0)
    assert len(told.losses) == 1 and net.conv.weight.dtype == dtype
    assert 0 <= evaluate(net, part(), resolution=6, normalisation=NORMALISATION) <= 1


def test_what_cannot_be_copied_is_left_as_it_is() -> None:
    net = made(NETS["plain"][1])
    net.held = net.conv.weight * 1  # type: ignore[assignment]  # deepcopy refuses what is no leaf
    assert fitting_layout(net, NORMALISATION(part().batch(torch.arange(2), 6))) is torch.contiguous_format


@pytest.mark.parametrize(
    ("forward", "text"),
    [
        (lambda n, x: {"logits": x}, "output is of type dict; return logits"),
        (lambda n, x: n.conv(x), r"output is of shape \[4, 4, 4, 4\]; return logits"),
        (lambda n, x: (n.conv(x).flatten(1), [1]), "output is of type list"),
    ],
)
def test_what_is_no_classifier_is_one_line(forward: Callable[[Own, Tensor], Tensor], text: str) -> None:
    class Other(Own):
        def forward(self, x: Tensor) -> Tensor:
            return self.does(self, x)

    net = Other(forward, conv=conv())
    net.linear = nn.Linear(1, 1)  # type: ignore[assignment]
    with pytest.raises(TrainingError, match=text) as error:
        train(net, part(), RECIPE, resolution=6, normalisation=NORMALISATION, seed=0)
    assert "\n" not in str(error.value)


def test_frozen_and_shared_parameters_stay_so() -> None:
    net = made(NETS["plain"][1])
    net.again = net.conv
    net.linear.requires_grad_(False)
    frozen = net.linear.weight.clone()
    train(net, part(), RECIPE, resolution=6, normalisation=NORMALISATION, seed=0)
    assert torch.equal(net.linear.weight, frozen) and net.again.weight is net.conv.weight
    net.requires_grad_(False)
    with pytest.raises(TrainingError, match="no parameter to train"):
        train(net, part(), RECIPE, resolution=6, normalisation=NORMALISATION, seed=0)


@pytest.mark.parametrize("n", range(2, 12))
@pytest.mark.parametrize("batch_size", [2, 3, 4, 8])
def test_no_batch_is_of_one_image(n: int, batch_size: int) -> None:
    batches = shuffled_batches(n, batch_size, torch.Generator().manual_seed(0))
    assert min(map(len, batches)) >= 2
    assert sorted(torch.cat(batches).tolist()) == list(range(n))
