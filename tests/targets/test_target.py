from pathlib import Path

import pytest

from mobinas.errors import TargetError
from mobinas.targets.registry import find_target
from mobinas.targets.target import Target


def test_json_round_trip_keeps_the_fingerprint() -> None:
    target = Target(
        "pi", threads=4, batch=2, graph_optimisation="basic", affinity=(1, 0), statistic="minimum"
    )
    again = Target.from_json(target.to_json())
    assert again == target
    assert again.fingerprint == target.fingerprint


def test_every_setting_changes_the_fingerprint() -> None:
    changed = [
        Target(name="b"),
        Target(provider="CUDAExecutionProvider"),
        Target(threads=2),
        Target(batch=2),
        Target(graph_optimisation="none"),
        Target(affinity=(0,)),
        Target(statistic="minimum"),
    ]
    assert len({t.fingerprint for t in [Target(), *changed]}) == 8


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"threads": 0}, "threads is 0"),
        ({"threads": True}, "threads is True"),
        ({"batch": "1"}, "batch is '1'"),
        ({"name": " "}, "name"),
        ({"graph_optimisation": "al"}, "did you mean 'all'"),
        ({"affinity": (0, 0)}, "twice"),
        ({"affinity": (-1,)}, "CPU numbers"),
        ({"statistic": "mean"}, "statistic is 'mean'"),
    ],
)
def test_a_setting_that_breaks_a_rule_is_named(settings: dict, text: str) -> None:
    with pytest.raises(TargetError, match=text):
        Target(**settings)


def test_toml_file_gives_name_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "pi.toml"
    path.write_text("threads = 4\naffinity = [0, 1]\n")
    assert find_target(str(path)) == Target(name="pi", threads=4, affinity=(0, 1))


@pytest.mark.parametrize(
    ("content", "text"),
    [("thread = 2", "did you mean 'threads'"), ("threads = ", "not valid TOML"), ("threads = 0", "pi.toml")],
)
def test_a_bad_file_is_named(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "pi.toml"
    path.write_text(content)
    with pytest.raises(TargetError, match=text):
        Target.load(path)


def test_unknown_and_missing_targets() -> None:
    assert find_target("local") == Target.local()
    assert find_target("fake").provider == "fake"
    with pytest.raises(TargetError, match="did you mean 'local'"):
        find_target("locl")
    with pytest.raises(TargetError, match=r"cannot read target file gone\.toml"):
        find_target("gone.toml")
