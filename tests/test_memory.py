"""Keeping freed memory."""

import ctypes

import pytest
import torch

from mobinas import memory
from mobinas.memory import reused_memory


class _Libc:
    def __init__(self) -> None:
        self.now: dict[int, int] = {}
        self.trimmed = 0

    def mallopt(self, option: int, value: int) -> None:
        self.now[option] = value

    def malloc_trim(self, _: int) -> None:
        self.trimmed += 1


def test_only_the_outer_one_ends_it_and_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    libc = _Libc()
    monkeypatch.setattr(memory, "_glibc", lambda: libc)
    with pytest.raises(ZeroDivisionError), reused_memory():
        with reused_memory():
            reusing = dict(libc.now)
        assert libc.now == reusing and not libc.trimmed
        raise ZeroDivisionError
    assert libc.now != reusing and libc.trimmed == 1
    with reused_memory():
        assert reusing.items() <= libc.now.items()


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def refuse(_: None) -> ctypes.CDLL:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with reused_memory():
        assert torch.ones(2).sum() == 2
