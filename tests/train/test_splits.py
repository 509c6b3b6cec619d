import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mobinas.errors import DataError
from mobinas.train.data import ImageData, load_data
from mobinas.train.splits import Fractions, Normalisation, Part, Splits, split

PARTS = ("weights", "alphas", "select", "test")


def noise_data(counts: list[int], seed: int = 0, test: tuple[Tensor, Tensor] | None = None) -> ImageData:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    images = torch.randint(0, 256, (len(labels), 1, 5, 5), generator=generator, dtype=torch.uint8)
    return ImageData(images, labels, tuple(f"c{i}" for i in range(len(counts))), "noise", test)


def pixels(part: Part) -> list[bytes]:
    return [image.numpy().tobytes() for image in part.images]


def assert_disjoint(splits: Splits) -> None:
    seen = [set(pixels(getattr(splits, name))) for name in PARTS]
    assert sum(map(len, seen)) == len(set().union(*seen))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(4, 60), min_size=2, max_size=5), st.integers(0, 2**31))
def test_parts_are_disjoint_complete_and_stratified(counts: list[int], seed: int) -> None:
    data = noise_data(counts)
    splits = split(data, seed=seed)
    assert_disjoint(splits)
    everything = sorted(image for name in PARTS for image in pixels(getattr(splits, name)))
    assert everything == sorted(image.numpy().tobytes() for image in data.images)
    share = {"weights": 0.4, "alphas": 0.25, "select": 0.15, "test": 0.2}
    for name in PARTS:
        got = torch.bincount(getattr(splits, name).labels, minlength=len(counts))
        for n, k in zip(counts, got.tolist(), strict=True):
            assert k >= 1
            # Largest remainders are off by less than one; lending to an empty part moves at most two more.
            assert abs(k - share[name] * n) < (1 if n >= 7 else 3)


def test_labels_stay_with_their_images() -> None:
    data = noise_data([20, 30])
    label_of = dict(zip([i.numpy().tobytes() for i in data.images], data.labels.tolist(), strict=True))
    for name in PARTS:
        part = getattr(split(data, seed=3), name)
        assert [label_of[image] for image in pixels(part)] == part.labels.tolist()


def test_digits_fill_all_parts_and_the_seed_decides() -> None:
    data = load_data("digits")
    first, again, other = split(data, seed=1), split(data, seed=1), split(data, seed=2)
    assert [len(getattr(first, name)) for name in PARTS] == pytest.approx([719, 449, 270, 359], abs=6)
    assert torch.equal(first.test.images, again.test.images)
    assert not torch.equal(first.test.images, other.test.images)
    assert_disjoint(first)


def test_training_is_weights_and_alphas() -> None:
    splits = split(noise_data([20, 20]))
    assert pixels(splits.training) == pixels(splits.weights) + pixels(splits.alphas)
    assert splits.normalisation == Normalisation.of(splits.training.images)


def test_identical_images_share_a_part() -> None:
    base = noise_data([30, 30])
    data = ImageData(base.images.repeat(3, 1, 1, 1), base.labels.repeat(3), base.classes, "tripled")
    splits = split(data, seed=5)
    assert_disjoint(splits)
    assert sum(len(getattr(splits, name)) for name in PARTS) == 180


def test_own_test_part_is_kept_and_its_images_leave_the_training() -> None:
    base = noise_data([40, 40])
    test = (base.images[:7], base.labels[:7])
    splits = split(ImageData(base.images, base.labels, base.classes, "own", test))
    assert torch.equal(splits.test.images, test[0])
    assert_disjoint(splits)
    assert len(splits.training) + len(splits.select) == 73


def test_fractions_are_obeyed_with_an_own_test_part() -> None:
    data = noise_data([200, 200], test=(torch.zeros(1, 1, 5, 5, dtype=torch.uint8), torch.tensor([1])))
    splits = split(data, fractions=Fractions(0.1, 0.3, 0.1, 0.5))
    assert [len(splits.weights), len(splits.alphas), len(splits.select)] == [80, 240, 80]


def test_too_few_images_names_the_class_and_the_need() -> None:
    with pytest.raises(DataError, match=r"too few images: class 'c1' .* has 3 .* at least 4"):
        split(noise_data([30, 3]))


def test_bad_fractions() -> None:
    with pytest.raises(DataError, match="must sum to 1"):
        Fractions(0.5, 0.5, 0.5, 0.5)


def test_normalised_training_has_mean_0_and_std_1() -> None:
    images = torch.randint(
        0, 200, (50, 3, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    images[:, 2] = 77
    x = Normalisation.of(images)(images)
    assert x.dtype == torch.float32
    assert x.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert x[:, :2].std(dim=(0, 2, 3)) == pytest.approx([1, 1], abs=1e-3)


def test_normalisation_is_its_formula() -> None:
    images = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)
    x = Normalisation((0.5, 0.2), (0.25, 0.1))(images)
    assert torch.allclose(x, torch.tensor([[[[-2.0, 2.0]], [[0.0, 2.0]]]]), atol=1e-6)


def test_resized_images_are_cached_and_batches_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    part = split(load_data("digits")).select
    assert part.at(8) is part.images
    assert part.at(12) is part.at(12)
    positions = torch.tensor([5, 0, 5])
    cached = part.batch(positions, 12)
    assert torch.equal(cached, part.at(12)[positions])
    monkeypatch.setattr("mobinas.train.splits._CACHE_BYTES", 0)
    assert torch.equal(Part(part.images, part.labels).batch(positions, 12), cached)
