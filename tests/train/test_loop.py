from pathlib import Path

import pytest
import torch
from torch import nn

from mobinas.errors import TrainingError
from mobinas.train.data import load_data
from mobinas.train.loop import Recipe, TrainResult, evaluate, logits_of, seconds_per_epoch, train
from mobinas.train.splits import Normalisation, Part, Splits, split

RECIPE = Recipe(epochs=3, batch_size=32)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return split(load_data("digits", limit=400))


class Net(nn.Module):
    """Small, with batch normalisation and dropout."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Sequential(
                nn.Conv2d(1, 16, 3, 2, 1, bias=False),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, 2, 1, bias=False),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.Flatten(),
                nn.Dropout(0.1),
                nn.Linear(128, 10),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.body(x)
        return result


def fit(net: nn.Module, splits: Splits, recipe: Recipe = RECIPE, **more: object) -> TrainResult:
    options: dict[str, object] = {"resolution": 8, "normalisation": splits.normalisation, "seed": 4} | more
    return train(net, splits.training, recipe, **options)  # type: ignore[arg-type]


def accuracy(net: nn.Module, splits: Splits) -> float:
    return evaluate(net, splits.test, resolution=8, normalisation=splits.normalisation)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_learns_the_digits(splits: Splits) -> None:
    net = Net()
    before = accuracy(net, splits)
    result = fit(net, splits, Recipe(epochs=12, batch_size=32))
    assert before < 0.3 and accuracy(net, splits) > 0.9
    assert result.losses[-1] < result.losses[0] and result.accuracies[-1] > 0.8
    assert len(result.losses) == 12 and result.learning_rate_scale == 1 and not net.training


def test_same_seed_same_weights_and_no_trace_in_the_global_generator(splits: Splits) -> None:
    nets = [Net(), Net(), Net()]
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        fit(net, splits, seed=seed)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(nets[0], nets[1]) and not same(nets[0], nets[2])


class Stop(Exception):
    pass


@pytest.mark.parametrize("epochs_done", [1, 2, 3])
def test_resume_is_bitwise_equal(splits: Splits, tmp_path: Path, epochs_done: int) -> None:
    whole, resumed = Net(), Net()
    expected = fit(whole, splits)
    path = tmp_path / "state.pt"

    def interrupt(done: int, total: int, text: str) -> None:
        # In the middle of the epoch that follows: the report of its end comes before its checkpoint.
        if done > epochs_done * total // RECIPE.epochs:
            raise Stop

    if epochs_done < RECIPE.epochs:
        with pytest.raises(Stop):
            fit(resumed, splits, checkpoint=path, progress=interrupt)
    else:
        fit(resumed, splits, checkpoint=path)
    other = Net(seed=9)  # what it started from no longer matters
    result = fit(other, splits, checkpoint=path)
    assert same(other, whole)
    assert result.losses == expected.losses


def test_torn_checkpoint_starts_anew(splits: Splits, tmp_path: Path) -> None:
    whole, net, path = Net(), Net(), tmp_path / "state.pt"
    fit(whole, splits)
    fit(Net(), splits, checkpoint=path)
    path.write_bytes(path.read_bytes()[:1000])
    fit(net, splits, checkpoint=path)
    assert same(net, whole)


def test_checkpoint_of_another_training_is_refused(splits: Splits, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    fit(Net(), splits, checkpoint=path)
    with pytest.raises(TrainingError, match="is of another seed"):
        fit(Net(), splits, checkpoint=path, seed=5)


class Bomb(Net):
    """Its output is NaN at some of its training steps, counted from 1."""

    def __init__(self, steps: set[int]) -> None:
        super().__init__()
        self.at, self.step = steps, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.step += self.training
        return super().forward(x) * (float("nan") if self.training and self.step in self.at else 1.0)


def test_one_nan_goes_back_an_epoch_at_half_the_rate(splits: Splits) -> None:
    net = Bomb({12})
    result = fit(net, splits)
    steps = round(len(splits.training) / 32)
    assert result.learning_rate_scale == 0.5 and len(result.losses) == 3
    assert steps < 12, "the bomb lies in the second epoch"
    assert net.step == 3 * steps + 12 - steps
    assert all(torch.isfinite(v).all() for v in net.state_dict().values())


def test_a_second_nan_stops_with_the_reason(splits: Splits) -> None:
    with pytest.raises(TrainingError, match=r"not finite in epoch 2.*half the learning rate of 0.2"):
        fit(Bomb({12, 16}), splits)


def test_real_divergence_is_caught(splits: Splits) -> None:
    with pytest.raises(TrainingError, match="not finite"):
        fit(
            nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 10)),
            splits,
            Recipe(learning_rate=1e30),
        )


def test_batch_norm_and_bias_have_no_weight_decay(splits: Splits) -> None:
    net = Net()
    bn, conv = net.body[1], net.body[0]
    assert isinstance(bn, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d)
    net.body[8].weight.data.zero_()  # no gradient reaches what lies before
    net.body[8].requires_grad_(False)
    before = conv.weight.norm()
    fit(net, splits, Recipe(epochs=1, batch_size=32, weight_decay=0.1, momentum=0.0))
    assert bn.weight.tolist() == [1.0] * 16
    assert conv.weight.norm() < 0.95 * before


def test_auxiliary_outputs_train_and_the_first_counts(splits: Splits) -> None:
    class Two(Net):
        def __init__(self) -> None:
            super().__init__()
            self.auxiliary = nn.Linear(64, 10)
            self.auxiliary.weight.data.zero_()

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
            return super().forward(x), self.auxiliary(x.flatten(1))

    net = Two()
    fit(net, splits, Recipe(epochs=8, batch_size=32))
    assert accuracy(net, splits) > 0.8
    assert net.auxiliary.weight.abs().max() > 0


def test_logits_do_not_depend_on_the_batch_size_and_keep_the_mode(splits: Splits) -> None:
    net = Net().train()
    options = {"resolution": 8, "normalisation": splits.normalisation}
    one = logits_of(net, splits.select, batch_size=7, **options)  # type: ignore[arg-type]
    all_at_once = logits_of(net, splits.select, **options)  # type: ignore[arg-type]
    assert torch.allclose(one, all_at_once, atol=1e-5) and net.training
    assert one.shape == (len(splits.select), 10)
    assert not one.is_inference()


def test_accuracy_is_a_share_of_right_answers() -> None:
    images = torch.zeros(4, 1, 1, 3, dtype=torch.uint8)
    for i, brightest in enumerate([0, 1, 2, 2]):
        images[i, 0, 0, brightest] = 255
    part = Part(images.repeat(1, 1, 3, 1), torch.tensor([0, 1, 2, 0]))

    class Brightest(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, 0, 0]

    assert evaluate(Brightest(), part, resolution=3, normalisation=Normalisation((0.0,), (1.0,))) == 0.75


def test_time_of_an_epoch_leaves_the_network_alone(splits: Splits) -> None:
    net, untouched = Net(), Net()
    before = torch.get_rng_state()
    options = {"resolution": 8, "normalisation": splits.normalisation}
    assert seconds_per_epoch(net, splits.training, RECIPE, **options) > 0  # type: ignore[arg-type]
    assert same(net, untouched) and torch.equal(torch.get_rng_state(), before)


def test_a_remainder_of_one_image_does_not_break_batch_norm(splits: Splits) -> None:
    part = splits.training.subset(torch.arange(65))
    train(Net(), part, RECIPE, resolution=8, normalisation=splits.normalisation, seed=0)


def test_progress_counts_steps_up_to_the_total(splits: Splits) -> None:
    seen: list[tuple[int, int]] = []
    fit(Net(), splits, progress=lambda done, total, text: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == 3 * round(len(splits.training) / 32)
    assert seen == sorted(seen)


def test_out_of_memory_keeps_the_checkpoint(splits: Splits, tmp_path: Path) -> None:
    class Greedy(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if path.exists():
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(x)

    path, whole, net = tmp_path / "state.pt", Net(), Net()
    with pytest.raises(TrainingError, match=r"halve train\.batch_size \(now 32\).*goes on from the last"):
        fit(Greedy(), splits, checkpoint=path)
    before = path.read_bytes()
    fit(net, splits, checkpoint=path)
    fit(whole, splits)
    assert same(net, whole) and path.read_bytes() != before
    with pytest.raises(TrainingError, match=r"^training ran out of memory: halve train\.batch_size"):
        seconds_per_epoch(Greedy(), splits.training, RECIPE, resolution=8, normalisation=splits.normalisation)
