"""What the report says to distrust."""

import math

import pytest

from mobinas.report.models import ModelRow
from mobinas.report.trust import reservations, tau_by_chance


def test_chance_shrinks_with_more_models() -> None:
    assert tau_by_chance(1) == 1
    assert tau_by_chance(8) == pytest.approx(1.96 * math.sqrt(42 / 504))
    assert tau_by_chance(100) < 0.15


def rows(n: int, backwards: bool = False) -> list[ModelRow]:
    return [
        ModelRow(
            f"m{i}",
            "front",
            0.9 + 0.001 * i,
            1e-4 * (i + 1),
            inherited_accuracy=0.8 + 0.001 * (n - i if backwards else i),
            predicted_s=1e-4 * (i + 1) * 1.25,
        )
        for i in range(n)
    ]


def test_sentences_say_what_the_numbers_say() -> None:
    text = " ".join(reservations(rows(12)))
    assert "agrees with" in text
    assert "tau 1.00" in text
    assert "25.0\N{NO-BREAK SPACE}%" in text
    assert "trust only what was measured" in text
    assert "contradicts" in " ".join(reservations(rows(12, backwards=True)))
    assert "too few to tell" in " ".join(reservations(rows(3)))
    assert reservations([]) == []


def test_members_that_the_test_part_would_drop_are_named(models: tuple[ModelRow, ...]) -> None:
    text = " ".join(reservations(models))
    assert "slow would not be on the front" in text


def test_members_that_cannot_be_told_apart_are_named() -> None:
    fast = ModelRow("fast", "front", 0.97, 1e-4, test_accuracy=0.97, test_bounds=(0.95, 0.98))
    slow = ModelRow("slow", "pick", 0.98, 2e-4, test_accuracy=0.975, test_bounds=(0.96, 0.99))
    assert any("test accuracy of slow" in sentence for sentence in reservations([slow, fast]))
    far = ModelRow("far", "pick", 0.99, 2e-4, test_accuracy=0.995, test_bounds=(0.99, 0.998))
    assert reservations([far, fast]) == []
