from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobinas.arch.architecture import Task
from mobinas.cli import parse_override
from mobinas.config import JobConfig, dump_toml, load_config
from mobinas.errors import ConfigError


@pytest.mark.parametrize("job", ["digits", "smoke", "auto"])
def test_shipped_jobs_round_trip(job: str, tmp_path: Path) -> None:
    config = load_config(job)
    file = tmp_path / "job.toml"
    file.write_text(dump_toml(config), encoding="utf-8")
    assert load_config(file) == config


def test_a_preset_round_trips(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text('[space]\npreset = "mobile"\n', encoding="utf-8")
    config = load_config(file)
    file.write_text(dump_toml(config), encoding="utf-8")
    assert load_config(file) == config
    assert config.space.for_task(Task(10), 224).resolutions == (224, 192, 160, 128)


@given(st.text())
def test_any_text_survives_toml(text: str) -> None:
    import tomllib

    assert tomllib.loads(dump_toml(JobConfig(data=text)))["data"] == text


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("trian.epochs", 3, ["trian", "did you mean 'train'"]),
        ("train.epoch", 3, ["train.epoch", "did you mean 'epochs'"]),
        ("train.epochs", "many", ["train.epochs", "many"]),
        ("images", {"test_share": 0.9, "select_share": 0.2}, ["below 1"]),
        ("data.x", 1, ["data", "not a section"]),
        ("max_latency_ms", -1, ["max_latency_ms", "greater than 0"]),
    ],
)
def test_bad_values_are_named(key: str, value: Any, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("smoke", {key: value})
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("device", "gpu", "unknown device 'gpu'; did you mean 'cuda'?"),
        ("device", "GPU:1", "did you mean 'cuda:1'?"),
        ("device", "CUDA", "did you mean 'cuda'?"),
        ("device", "cuda0", "did you mean 'cuda:0'?"),
        ("device", "Auto", "did you mean 'auto'?"),
        ("device", "mps", "choose from auto, cpu, cuda, cuda:0"),
        ("device", 3, "it must be a text (given: 3)"),
        ("space.stem", "imagnet", "unknown word; did you mean 'imagenet'?"),
        ("space.stem", "CIFAR", "did you mean 'cifar'?"),
        ("max_latency_ms", float("inf"), "it must be a finite number (given: inf)"),
        ("max_latency_ms", float("nan"), "it must be a finite number (given: nan)"),
        ("max_latency_ms", "fast", "it must be a number (given: 'fast')"),
        ("target_latency_ms", float("inf"), "finite"),
        ("train.epochs", 2.5, "it must be a whole number (given: 2.5)"),
        ("train.epochs", float("inf"), "it must be a"),
        ("train.epochs", 0, "it must be at least 1 (given: 0)"),
        ("train.minutes", float("inf"), "finite"),
        ("train.learning_rate", float("nan"), "finite"),
        ("train.label_smoothing", 1, "it must be less than 1 (given: 1)"),
        ("train.flip", "maybe", "it must be true or false"),
        ("train", 3, "'train': it must be a section, such as [train]"),
        ("train.baselines", 3, "it must be a list"),
        ("space.depths", "many", "it must be a list"),
    ],
)
def test_messages_are_in_the_users_words(key: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("smoke", {key: value})
    text = str(caught.value)
    assert words in text and key.split(".")[0] in text
    assert not {"pattern", "regex", "pydantic", "Input", "instance", "dictionary", "^"} & set(text.split())
    assert "\n" not in text and "(auto|" not in text


def test_every_number_of_the_job_is_finite() -> None:
    numbers = [
        (f"{section}.{key}" if section else key)
        for section, keys in {"": JobConfig().model_dump(), **JobConfig().model_dump()}.items()
        if isinstance(keys, dict)
        for key in keys
    ]
    refused = 0
    for key in numbers:
        for value in (float("nan"), float("inf")):
            try:
                load_config("smoke", {key: value})
            except ConfigError as error:
                assert any(word in str(error) for word in ("it must be", "unknown")), str(error)
                refused += 1
    assert refused == 2 * len(numbers)


def test_unknown_space_preset_gets_a_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text('[space]\npreset = "mobil"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'mobile'"):
        load_config(file)


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe"])
def test_a_torn_job_file_is_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        load_config(file)


def test_missing_and_unknown_jobs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load_config(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        load_config("digit")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.epochs=5", ("train.epochs", 5)),
        ("data=fashion_mnist", ("data", "fashion_mnist")),
        ("space.widths=[2, 4]", ("space.widths", [2, 4])),
        ("train.flip=true", ("train.flip", True)),
        ("data=a=b", ("data", "a=b")),
    ],
)
def test_overrides_are_read_as_toml(text: str, expected: tuple[str, Any]) -> None:
    assert parse_override(text) == expected


def test_an_override_without_equals_is_refused() -> None:
    with pytest.raises(ConfigError, match="key=value"):
        parse_override("train.epochs")


def test_resolutions_follow_the_images() -> None:
    space = JobConfig().space.for_task(Task(10, 1), 28)
    assert space.resolutions == (16, 20, 28)


def test_a_preset_beside_other_keys_of_the_space_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text('[space]\npreset = "tiny"\nnodes = 3\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="a preset fixes the whole space"):
        load_config(file)


def test_a_preset_on_the_command_line_replaces_the_space_of_the_file() -> None:
    assert load_config("smoke", {"space.preset": "mobile"}).space.preset == "mobile"
