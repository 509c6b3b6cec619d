"""What workers evaluate in the tests: two sums, and whatever the environment asks for."""

import os
import signal
import tempfile
import time
from pathlib import Path

from mobinas.errors import DataError
from mobinas.metrics.objective import Objective
from mobinas.search.artifacts import attach_file, given_file
from mobinas.search.choice_space import Choices, ChoiceSpace

SPACE = ChoiceSpace({f"x{i}": (0, 1, 2, 3) for i in range(5)})
AXES = (Objective("gain", "maximize"), Objective("price", "minimize"))


def evaluate(choices: Choices) -> dict[str, float]:
    """Kills its own process in some candidates, if that is a worker, the first time or always."""
    xs = [int(x or 0) for x in choices.values()]
    deadly = Path(os.environ["DEADLY"]) if {"DEADLY", "MOBINAS_STORAGE"} <= set(os.environ) else None
    if deadly and xs[0] == 3:
        mark = deadly / choices.name
        if not mark.exists() or "ALWAYS" in os.environ:
            mark.touch()
            if os.environ.get("ALWAYS") == "exit":
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(os.environ.get("JOB_S", "0")))
    return {"gain": float(sum(xs)), "price": float(sum(i * x for i, x in enumerate(xs)))}


def unfinite(choices: Choices) -> dict[str, float]:
    """An answer that cannot be meant."""
    return {"gain": float("nan"), "price": 0.0}


def sometimes_unfinite(choices: Choices) -> dict[str, float]:
    """An answer that cannot be meant, of some candidates."""
    return unfinite(choices) if choices["x0"] == 3 else evaluate(choices)


def train_unless_broken(choices: Choices) -> dict[str, float]:
    """Counts its calls by network, and fails in one of them as long as the environment says so."""
    with (Path(os.environ["CALLS"]) / str(choices["network"])).open("a") as file:
        file.write("x")
    if choices["network"] == os.environ.get("BROKEN"):
        raise MemoryError("out of memory")
    return {"seconds": 1.0}


def failing(choices: Choices) -> dict[str, float]:
    """A mistake of the user."""
    raise ValueError("no such layer")


def evaluate_with_files(choices: Choices) -> dict[str, float]:
    """Attaches what it was given, before anything may kill it."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.txt"
        log.write_text(f"{choices.name} {given_file('weights.txt').read_text()}")
        attach_file(log)
    return evaluate(choices)


class _Unprepared:
    def prepare(self) -> None:
        raise DataError("no images here")

    def __call__(self, choices: Choices) -> dict[str, float]:
        return evaluate(choices)


unprepared = _Unprepared()
