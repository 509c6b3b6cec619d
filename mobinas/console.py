"""Shows the steps of a job: bars with time left on a terminal, log lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator

from mobinas.progress import Progress, Reporter

_LOG_EVERY_S = 10.0


class LineReporter:
    """Writes lines to standard error, at most one every few seconds within a step."""

    def note(self, text: str) -> None:
        """Writes one line."""
        sys.stderr.write(f"      {text}\n")
        sys.stderr.flush()

    @contextlib.contextmanager
    def step(self, number: int, total: int, title: str) -> Iterator[Progress]:
        """Writes a line at the start, now and then, and at the end."""
        started = began = last = time.monotonic()
        done_before = 0
        sys.stderr.write(f"[{number}/{total}] {title}\n")
        sys.stderr.flush()

        def progress(done: int, total: int, text: str) -> None:
            nonlocal last, began, done_before
            now = time.monotonic()
            if done < done_before:  # the step goes on with something else
                began = now
            done_before = done
            if now - last >= _LOG_EVERY_S:
                last = now
                left_s = (now - began) / max(done, 1) * (total - done)
                self.note(f"{done}/{total}, about {_clock(left_s)} left. {text}")

        yield progress
        self.note(f"took {_clock(time.monotonic() - started)}")


class BarReporter:
    """Draws a bar with time left on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    def note(self, text: str) -> None:
        """Writes one line."""
        self._console.print(f"      {text}", highlight=False, markup=False)

    @contextlib.contextmanager
    def step(self, number: int, total: int, title: str) -> Iterator[Progress]:
        """Draws the step's bar."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars

        columns = (
            TextColumn(f"[{number}/{total}] {title:<28}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),
        )
        with Bars(*columns, console=self._console) as bars:
            task = bars.add_task("", total=None, text="")
            done_before = 0

            def progress(done: int, total: int, text: str) -> None:
                nonlocal done_before
                if done < done_before:  # the step goes on with something else
                    bars.reset(task)
                done_before = done
                bars.update(task, completed=done, total=total, text=text)

            yield progress


def console_reporter() -> Reporter:
    """The reporter that fits standard error."""
    return BarReporter() if sys.stderr.isatty() else LineReporter()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
