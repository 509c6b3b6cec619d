"""Worker processes of this machine, replaced when they are killed."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mobinas.errors import SearchError
from mobinas.processes import cores

STORAGE_ENV = "MOBINAS_STORAGE"
_LAST_WORDS = 2000
_OWN_CODES = (1, 2)  # an error, a wrong option; with others a candidate ends its worker


class LocalWorkers:
    """So many `mobinas worker` processes.

    Attributes:
        lost: How many died since this was last set to 0, which is for whoever sees an evaluation end.
    """

    def __init__(self, address: str, study: str, count: int) -> None:
        """Starts them."""
        # The address may hold a password, which a command line would show to everyone.
        self._environment = {
            **{"OMP_NUM_THREADS": str(max(1, cores() // max(1, count)))},
            **os.environ,
            STORAGE_ENV: address,
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        }
        self._command = [sys.executable, "-m", "mobinas", "worker", "--study", study]
        self._command += ["--parent", str(os.getpid())]
        self._processes = [self._started() for _ in range(count)]
        self.lost = 0

    def _started(self) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        said = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        # A session of its own: Ctrl-C reaches the parent alone, which then ends all in order.
        process = subprocess.Popen(
            self._command,
            env=self._environment,
            stderr=said,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        return process, said

    def __len__(self) -> int:
        return len(self._processes)

    def check(self, most_lost: int) -> None:
        """Replaces the ones that were killed, or that a candidate made end.

        Args:
            most_lost: So many may die until one evaluation ends.

        Raises:
            SearchError: One ended with an error of its own, or more died.
        """
        for i, (process, said) in enumerate(self._processes):
            code = process.poll()
            if code is None:
                continue
            if code in _OWN_CODES and (words := _last_line(said)):
                raise SearchError(f"a worker ended: {words}")
            self.lost += 1
            if self.lost > most_lost:
                how = f"with exit status {code}" if code >= 0 else f"of signal {-code}"
                words = f": {text}" if (text := _last_line(said)) else ""
                raise SearchError(
                    f"{self.lost} workers died since an evaluation last ended, the last {how}{words}; call "
                    "the evaluate function once without workers to see why"
                )
            said.close()
            self._processes[i] = self._started()

    def stop(self) -> None:
        """Ends all; what they were evaluating is given back."""
        for process, _ in self._processes:
            if process.poll() is None:
                process.terminate()
        for process, said in self._processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            said.close()


def _last_line(said: IO[bytes]) -> str:
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - _LAST_WORDS))
    lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("mobinas: ") if lines else ""


@contextmanager
def local_workers(address: str, study: str, count: int) -> Iterator[LocalWorkers]:
    """Workers for the duration of the context."""
    workers = LocalWorkers(address, study, count)
    try:
        yield workers
    finally:
        workers.stop()
