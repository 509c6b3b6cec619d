from typing import Any

import pytest

from mobinas.errors import ConfigError
from mobinas.train.recipe import Recipe


def test_one_cycle() -> None:
    recipe = Recipe(learning_rate=0.4, warmup=0.25)
    rates = [recipe.learning_rate_at(step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(0.4)
    peak = rates.index(max(rates))
    assert peak == 24
    assert rates[:peak] == sorted(rates[:peak]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < 0.001
    assert rates[0] == pytest.approx(0.4 / 25)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 0.99])
def test_short_trainings_always_move(steps: int, warmup: float) -> None:
    rates = [Recipe(learning_rate=1.0, warmup=warmup).learning_rate_at(step, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("warmup", 1.0),
        ("label_smoothing", 1.0),
        ("max_gradient_norm", 0.0),
    ],
)
def test_bad_values_are_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value}; it must be"):
        Recipe(**{name: value})
