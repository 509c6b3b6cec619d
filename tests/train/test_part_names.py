import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobinas.train.adapters.part_names import is_neutral, role_of


@pytest.mark.parametrize(
    ("names", "role"),
    [
        (
            "train Training TRAIN train_images imgs_train train-2020 train2017 Final_Training seg_train",
            "train",
        ),
        ("training_set TrainSet traindata trainval dataset-train", "train"),
        ("val valid validation Validation dev val_images imgs-val validation_set", "val"),
        ("test Testing test1 test_set TestImages hold-out hold_out holdout eval testdata", "test"),
        ("unlabeled unlabelled un-labeled extra pred single_prediction unsup", "ignore"),
    ],
)
def test_names_of_parts(names: str, role: str) -> None:
    assert {name: role_of(name) for name in names.split()} == dict.fromkeys(names.split(), (role, ""))


@pytest.mark.parametrize(
    "name",
    ["cat", "valve", "contrast", "latest", "retrain", "pretrained", "invalid", "0", "001.ak47"],
)
def test_names_of_classes(name: str) -> None:
    assert role_of(name)[0] is None


def test_what_else_a_name_says_is_kept() -> None:
    assert role_of("asl_alphabet_train") == ("train", "asl alphabet")
    assert role_of("crash_test") == ("test", "crash")
    assert role_of("trainA") == ("train", "a") and role_of("testB") == ("test", "b")
    assert role_of("train_test")[0] is None


def test_neutral_names_say_nothing() -> None:
    assert all(map(is_neutral, ("images", "data_2", "JPEGImages", "dataset")))
    assert not any(map(is_neutral, ("0", "17", "cat", "train", "masks")))


@given(st.text(max_size=30))
def test_any_name_has_one_reading(name: str) -> None:
    role, rest = role_of(name)
    assert role in (None, "train", "val", "test", "ignore")
    assert rest == rest.strip()
