"""What is known of a candidate."""

import pytest

from mobinas.metrics.evaluation import Evaluation, described
from mobinas.search.choice_space import Choices


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("", ""),
        ("too much memory", "too much memory"),
        ("its worker died 3 times\nin a row", "its worker died 3 times"),
        ('Traceback (most recent call last):\n  File "x", line 1\nKeyError: 3\n', "KeyError: 3"),
        (
            "Traceback (most recent call last):\nKeyError: 3\n\nDuring handling of the above exception, "
            "another exception occurred:\n\nTraceback (most recent call last):\n"
            '  File "x", line 1\n    f()\n    ~^^\nRuntimeError: no room\nfor 3\n  or 4\n',
            "RuntimeError: no room",
        ),
    ],
)
def test_the_reason_is_one_line(error: str, reason: str) -> None:
    assert Evaluation(Choices({"a": 1}), error=error).reason == reason


def test_a_candidate_is_described_by_its_choices() -> None:
    choices = Choices({"a": 1, "b": "x"})
    assert described(choices) == f"{choices.name} (a=1, b='x')"
