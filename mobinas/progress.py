"""How long work tells how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Called by long steps after each unit of work."""

    def __call__(self, done: int, total: int, text: str) -> None:
        """Reports `done` of `total` units, with a short text such as the last loss."""
        ...


def silent(done: int, total: int, text: str) -> None:
    """A Progress that shows nothing."""
