"""How long work tells how far it is."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Called by long steps after each unit of work."""

    def __call__(self, done: int, total: int, text: str, /) -> None:
        """Reports `done` of `total` units, with a short text such as the last loss."""
        ...


def silent(done: int, total: int, text: str) -> None:
    """A Progress that shows nothing."""


class Reporter(Protocol):
    """Told by the job which step begins; gives that step its Progress."""

    def step(self, number: int, total: int, title: str) -> AbstractContextManager[Progress]:
        """Opens a step; its end is the end of the context."""
        ...

    def note(self, text: str) -> None:
        """Says one thing that the user should know."""
        ...


class SilentReporter:
    """Shows nothing."""

    @contextmanager
    def step(self, number: int, total: int, title: str) -> Iterator[Progress]:
        """Opens a step."""
        yield silent

    def note(self, text: str) -> None:
        """Drops the text."""


class NoteReporter:
    """Writes notes alone, each as a line on standard error: the default of calls from Python."""

    @contextmanager
    def step(self, number: int, total: int, title: str) -> Iterator[Progress]:
        """Opens a step."""
        yield silent

    def note(self, text: str) -> None:
        """Writes one line."""
        sys.stderr.write(f"mobinas: {text}\n")
        sys.stderr.flush()
