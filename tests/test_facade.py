"""The public surface, and that importing it costs nothing."""

import importlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

import mobinas

HEAVY = ("torch", "torchvision", "onnx", "onnxruntime", "optuna", "matplotlib", "sklearn", "pydantic")


def test_importing_the_packages_loads_nothing_heavy() -> None:
    code = f"import mobinas, predictors, exporters, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_the_command_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom mobinas.cli import app\n"
        "result = CliRunner().invoke(app, ['--help'])\nassert result.exit_code == 0, result.output\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


@pytest.mark.parametrize("name", mobinas.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(mobinas, name).__module__.startswith(("mobinas", "predictors", "exporters"))


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mobinas.nothing  # type: ignore[attr-defined]


def test_all_and_dir_agree() -> None:
    assert sorted(mobinas.__all__) == dir(mobinas)
    assert set(mobinas.__all__) == set(mobinas._HOME)
    assert importlib.import_module("mobinas").__version__


def test_a_search_needs_only_the_facade() -> None:
    from mobinas import ChoiceSpace, Infeasible, Objective, pareto_search

    space = ChoiceSpace({"phone": (1, 2, 3), "watch": (3, 2, 1)})
    names = ("phone_s", "watch_s", "memory_bytes")
    axes = [Objective(name, "minimize") for name in names]

    def evaluate(choices: Mapping[str, Any]) -> dict[str, float]:
        return {"phone_s": choices["phone"], "watch_s": choices["watch"], "memory_bytes": 4}

    result = pareto_search(space, evaluate, axes, n_trials=9)
    assert [dict(e.candidate) for e in result.members] == [{"phone": 1, "watch": 1}]
    with pytest.raises(Infeasible, match=r"phone_s <= 0 \(nearest: 1\)"):
        pareto_search(space, evaluate, axes, n_trials=9, constraints={"phone_s": "<= 0"})
