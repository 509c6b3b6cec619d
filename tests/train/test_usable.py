"""What cannot be used is left out where that is allowed, and told all at once where not."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from mobinas.errors import DataError
from mobinas.train.images import ImageData
from mobinas.train.splits import split
from mobinas.train.usable import drawn_parts, summary, under_two_labels, usable


def some(counts: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """So many different images of each class."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (len(labels), 1, 4, 4), generator=generator, dtype=torch.uint8), labels


def data_of(
    counts: list[int],
    *,
    select: tuple[Tensor, Tensor] | None = None,
    test: tuple[Tensor, Tensor] | None = None,
) -> ImageData:
    names = tuple(f"c{label}" for label in range(len(counts)))
    return ImageData(*some(counts), names, "some", test, select)


def test_parts_that_are_drawn() -> None:
    own = some([1, 1], seed=1)
    assert drawn_parts(data_of([4, 4])) == ("weights", "alphas", "select", "test")
    assert drawn_parts(data_of([4, 4], test=own)) == ("weights", "alphas", "select")
    assert drawn_parts(data_of([4, 4], select=own)) == ("weights", "alphas", "test")
    assert drawn_parts(data_of([4, 4], select=own, test=own)) == ("weights", "alphas")


def test_small_classes_are_dropped_and_labels_move_together() -> None:
    data = usable(data_of([6, 3, 5], test=some([2, 2, 2], seed=1)), min_per_class=5)
    assert data.classes == ("c0", "c2") and torch.bincount(data.labels).tolist() == [6, 5]
    assert data.test is not None and torch.bincount(data.test[1]).tolist() == [2, 2]
    assert data.found.skipped == ("1 classes with fewer than 5 different training images (c1: 3)",)
    assert torch.equal(data.images[data.labels == 1], some([6, 3, 5])[0][9:])
    assert "skipped: 1 classes with fewer" in summary(data)


def test_skipping_drops_what_cannot_be_split_and_no_more() -> None:
    assert usable(data_of([6, 3, 4]), skip_bad=True).classes == ("c0", "c2")
    assert usable(data_of([6, 3, 4], test=some([1, 1, 1], 1)), skip_bad=True).classes == ("c0", "c1", "c2")
    whole = data_of([6, 3, 4])
    assert usable(whole).classes == whole.classes


def test_repeated_images_and_those_of_own_parts_count_once_or_not() -> None:
    data = data_of([6, 6, 6])
    repeated = dataclasses.replace(data, images=data.images.clone())
    repeated.images[6:12] = repeated.images[6]
    assert usable(repeated, min_per_class=2).classes == ("c0", "c2")
    own = (data.images[:5], data.labels[:5])
    assert usable(dataclasses.replace(data, test=own), min_per_class=2).classes == ("c1", "c2")


def test_too_few_classes_remain() -> None:
    with pytest.raises(DataError, match=r"keeps 1 of 2 classes .*c1: 3"):
        usable(data_of([9, 3]), min_per_class=4)
    with pytest.raises(
        DataError, match=r"too few images: class 'c0' of some has 2, class 'c1' .* add images"
    ):
        split(data_of([2, 3]))


def test_all_small_classes_are_told_with_the_way_on() -> None:
    with pytest.raises(DataError) as caught:
        split(data_of([3, 9, 2, 9]))
    text = str(caught.value)
    assert "class 'c0' of some has 3" in text and "class 'c2' of some has 2" in text
    assert "--set images.min_per_class=4, or --skip-bad" in text


def test_a_class_without_images_is_told() -> None:
    data = ImageData(*some([4, 4]), ("c0", "c1", "c2"), "some")
    with pytest.raises(DataError, match=r"class 'c2' of some has 0 .*--set images\.min_per_class=4"):
        usable(data)
    assert usable(data, min_per_class=1).classes == ("c0", "c1")


def test_one_image_under_two_labels_is_told_by_place_across_parts() -> None:
    data = data_of([5, 5])
    data = dataclasses.replace(data, test=(data.images[[0, 9]], torch.tensor([1, 1])))
    assert tuple(under_two_labels(data)) == (
        "1 images are the same under two labels (image 0 (c0) = image 10 (c1))",
    )


@pytest.mark.parametrize("seed", range(3))
def test_own_parts_are_kept_apart(seed: int) -> None:
    images, labels = some([30, 30])
    select = (torch.cat([images[:3], some([4, 4], seed=1)[0]]), torch.tensor([0] * 7 + [1] * 4))
    test = (
        torch.cat([select[0][:1], images[40:42], some([5, 5], seed=2)[0]]),
        torch.tensor([0] * 6 + [1] * 7),
    )
    splits = split(ImageData(images, labels, ("c0", "c1"), "some", test, select), seed=seed)
    parts = [splits.weights, splits.alphas, splits.select, splits.test]
    seen = [{image.numpy().tobytes() for image in part.images} for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert torch.equal(splits.test.images, test[0]) and len(splits.select) == 10
    assert [len(part) for part in parts[:2]] == [33, 22]
    assert splits.notes[0].startswith("2 images are the same under two labels (image 40 (c1) = image 7")
    assert splits.notes[1:] == (
        "1 selection images are dropped, as the test part holds them, too",
        "5 training images are dropped, as the select or test part holds them, too",
    )


def test_own_selection_part_alone_has_the_test_split_off_training() -> None:
    splits = split(data_of([100, 100], select=some([10, 10], seed=1)))
    assert [len(splits.weights), len(splits.alphas), len(splits.select), len(splits.test)] == [94, 58, 20, 48]
    assert not splits.notes
    both = split(data_of([90, 90], select=some([10, 10], seed=1), test=some([5, 5], seed=2)))
    assert [len(both.weights), len(both.alphas)] == [110, 70]


def test_an_own_part_that_lacks_classes_or_everything() -> None:
    splits = split(data_of([9, 9], select=some([4], seed=1)))
    assert splits.notes == ("the select part holds none of 1 of 2 classes (c1)",)
    own = some([3, 3], seed=1)
    with pytest.raises(DataError, match="every selection image of some is a test image"):
        split(data_of([9, 9], select=own, test=own))


def test_labels_keep_their_type() -> None:
    data = usable(data_of([6, 1, 5]), min_per_class=2)
    assert data.labels.dtype == torch.int64 and np.unique(data.labels.numpy()).tolist() == [0, 1]
