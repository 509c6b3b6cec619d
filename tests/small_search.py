"""A small search whose answers are known, for the tests of several files."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from mobinas.errors import Infeasible
from mobinas.metrics.evaluation import Evaluation, Value
from mobinas.metrics.objective import Objective
from mobinas.search.choice_space import Choices, ChoiceSpace
from mobinas.search.samplers import sampler_names

AXES = (Objective("accuracy", "maximize"), Objective("latency_s", "minimize", "s"))
SMALL = ChoiceSpace({"a": (0, 1, 2, 3), "b": (0.0, 0.5, 1.0), "c": ("x", "y"), "d": ("only",)})


def answer(choices: Mapping[str, Any]) -> dict[str, float]:
    """Both objectives."""
    cost_s = 0.001 * (1 + choices["a"] + choices["b"])
    return {
        "accuracy": 0.2 * choices["a"] + 0.1 * (choices["c"] == "y") - 0.05 * choices["b"],
        "latency_s": cost_s,
    }


def everything() -> list[Evaluation[Choices]]:
    """Every candidate with its answer."""
    rows = itertools.product(*SMALL.choices.values())
    found = [Choices(dict(zip(SMALL.choices, row, strict=True))) for row in rows]
    return [
        Evaluation(c, {k: Value(x, "s" * (k == "latency_s")) for k, x in answer(c).items()}) for c in found
    ]


def refuse() -> dict[str, float]:
    """In place of an answer."""
    raise Infeasible("too big")


# Optuna's Gaussian processes take seconds for a proposal.
SAMPLERS = [pytest.param(n, marks=[pytest.mark.slow] if n == "gp" else []) for n in sampler_names()]
