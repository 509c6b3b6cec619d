"""Processes of this machine: how many cores they have, and whether a script may start any."""

import ast
import os
import sys
from pathlib import Path
from types import FrameType

from mobinas.errors import ConfigError


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def let_threads_sleep() -> None:
    """Has threads that wait for each other sleep soon; to be called before torch loads.

    GNU's OpenMP, which torch computes with, lets them spin for 300,000 rounds. Where a core is busy, the one
    that is waited for cannot run meanwhile: a small training step with two threads took 608 ms beside four
    other processes on two cores, with 1,000 rounds 41 ms, and alone as long as before (6 ms).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def main_script() -> Path | None:
    """The file that Python was started with; None of an interactive session or a command line's code."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return None if file is None else Path(file)


def check_main_guard(call: str) -> None:
    """Refuses a call from the top level of a script that worker processes would import, and so call again.

    Args:
        call: The function's name, for the message.

    Raises:
        ConfigError: The call is not below ``if __name__ == "__main__":``.
    """
    script, line = main_script(), _line_of_main()
    if script is None or line is None:
        return
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, ValueError, SyntaxError):
        return
    if not _is_guarded(tree, line):
        raise ConfigError(
            f"{script.name}, line {line}: call {call}() below 'if __name__ == \"__main__\":', for its worker "
            "processes import this script"
        )


def _line_of_main() -> int | None:
    """The line at the main script's top level from which all else was called."""
    main = sys.modules.get("__main__")
    frame: FrameType | None = sys._getframe()
    line = None
    while frame is not None:
        if main is not None and frame.f_globals is vars(main) and frame.f_code.co_name == "<module>":
            line = frame.f_lineno
        frame = frame.f_back
    return line


def _is_guarded(tree: ast.Module, line: int) -> bool:
    """Whether the line is below a test of __name__, or after one that ends all but the main script."""
    for node in tree.body:
        if isinstance(node, ast.If) and any(
            isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
        ):
            ends = any(isinstance(part, ast.NotEq) for part in ast.walk(node.test)) and node.lineno < line
            if ends or node.lineno <= line <= (node.end_lineno or node.lineno):
                return True
    return False
