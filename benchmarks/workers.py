"""Evaluations per second of 8 workers over those of one, and what is lost or doubled when workers are killed.

    python benchmarks/workers.py throughput      # asked: at least 7 times, with evaluations of 1 s
    python benchmarks/workers.py soak            # asked: 0 lost, 0 doubled in 100 kills

Both on a private PostgreSQL server of this machine (the package postgresql), or on the one of ``--storage``.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

import postgres  # noqa: E402

from mobinas.metrics.front import ParetoFront  # noqa: E402
from mobinas.metrics.objective import Objective  # noqa: E402
from mobinas.search.choice_space import Choices, ChoiceSpace  # noqa: E402
from mobinas.search.study import pareto_search  # noqa: E402

SPACE = ChoiceSpace({f"x{i}": (0, 1, 2, 3) for i in range(8)})
AXES = (Objective("gain", "maximize"), Objective("price", "minimize"))
SECONDS, LOG = "MOBINAS_BENCHMARK_S", "MOBINAS_BENCHMARK_LOG"
_LAUNCH = [sys.executable, "-m", "mobinas", "worker", "--study"]


def evaluate(choices: Choices) -> dict[str, float]:
    """A sleep and two sums; each end is told to a log, in one write."""
    time.sleep(float(os.environ[SECONDS]))
    with Path(os.environ[LOG]).open("a") as log:
        log.write(f"{choices.digest} {time.time():.3f}\n")
    xs = [int(x or 0) for x in choices.values()]
    return {"gain": float(sum(xs)), "price": float(sum(i * x for i, x in enumerate(xs)))}


def throughput(storage: str, workers: int, per_worker: int, seconds: float, log: Path) -> float:
    """Evaluations per second from the first end on, so that the start of processes does not count."""
    os.environ[SECONDS] = str(seconds)
    os.environ[LOG] = str(log)
    n = workers * per_worker
    pareto_search(SPACE, "workers:evaluate", AXES, n_trials=n, sampler="random", storage=storage,
                  workers=workers, study=uuid4().hex)  # fmt: skip
    ends = sorted(float(line.split()[1]) for line in log.read_text().splitlines())
    # All have started once as many have ended as there are workers, less the share of the slowest start.
    steady = [end for end in ends if end >= ends[workers - 1]]
    return (len(steady) - 1) / (steady[-1] - steady[0])


class Killer(threading.Thread):
    """Kills a random worker every now and then, and starts another in its place."""

    def __init__(self, storage: str, study: str, workers: int, kills: int) -> None:
        """Starts the workers."""
        super().__init__(daemon=True)
        path = os.pathsep.join([str(ROOT), *sys.path])
        self._environment = {**os.environ, "MOBINAS_STORAGE": storage, "PYTHONPATH": path}
        self._study, self._kills, self._rng = study, kills, random.Random(0)
        self.killed = 0
        self._processes = [self._launched() for _ in range(workers)]

    def _launched(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*_LAUNCH, self._study], env=self._environment, stdout=subprocess.DEVNULL)

    def run(self) -> None:
        """Kills until it has killed enough."""
        time.sleep(4)
        while self.killed < self._kills:
            time.sleep(self._rng.uniform(0.5, 3.0))
            i = self._rng.randrange(len(self._processes))
            if self._processes[i].poll() is None:
                self._processes[i].send_signal(signal.SIGKILL)
                self._processes[i].wait()
                self.killed += 1
                self._processes[i] = self._launched()

    def wait(self) -> None:
        """Until all workers have ended by themselves."""
        for process in self._processes:
            process.wait(timeout=120)


def soak(storage: str, kills: int, workers: int, n: int, log: Path) -> dict[str, int]:
    """Counts what is lost, doubled or unlike a serial search after so many kills."""
    os.environ.update({SECONDS: "0.5", LOG: str(log), "MOBINAS_HEARTBEAT_S": "1"})
    study = uuid4().hex
    options = {"n_trials": n, "sampler": "random", "storage": storage, "study": study, "tries": 50}
    lead = {}

    def search() -> None:
        lead["result"] = pareto_search(SPACE, "workers:evaluate", AXES, workers=0, **options)  # type: ignore[arg-type]

    leading = threading.Thread(target=search)
    leading.start()
    time.sleep(3)
    killer = Killer(storage, study, workers, kills)
    killer.start()
    leading.join()
    result = lead["result"]
    killer.wait()
    digests = Counter(e.candidate.digest for e in result.history)
    os.environ[SECONDS], os.environ[LOG] = "0", os.devnull
    serial = pareto_search(SPACE, evaluate, AXES, n_trials=n, sampler="random")
    ended = Counter(line.split()[0] for line in log.read_text().splitlines() if line)
    return {
        "kills": killer.killed,
        "evaluations in the record": len(result.history),
        "lost (of a serial search)": sum(e.candidate.digest not in digests for e in serial.history),
        "doubled in the record": sum(count - 1 for count in digests.values()),
        "failed": sum(bool(e.error) for e in result.history),
        "front unlike the serial one": int(result.front != serial.front),
        "front unlike the record's": int(result.front != ParetoFront.of(result.history, AXES)),
        "ended, but killed before it was recorded": sum(ended.values()) - len(ended),
    }


@contextmanager
def served(storage: str | None) -> Iterator[str]:
    """The given storage, or a private server."""
    if storage:
        yield storage
        return
    serving = postgres.serving()
    yield next(serving).url()
    serving.close()


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("throughput", "soak"))
    parser.add_argument("--storage")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--per-worker", type=int, default=20)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--evaluations", type=int, default=400)
    asked = parser.parse_args()
    with served(asked.storage) as storage, tempfile.TemporaryDirectory() as folder:
        if asked.what == "soak":
            found = soak(storage, asked.kills, asked.workers, asked.evaluations, Path(folder) / "log")
            for name, count in found.items():
                print(f"| {name} | {count} |")
            return
        rates = [
            throughput(storage, workers, asked.per_worker, asked.seconds, Path(folder) / str(workers))
            for workers in (1, asked.workers)
        ]
    print(f"| 1 worker | {rates[0]:.3f} per s |\n| {asked.workers} workers | {rates[1]:.3f} per s |")
    print(f"| ratio | {rates[1] / rates[0]:.2f} |")


if __name__ == "__main__":
    main()
