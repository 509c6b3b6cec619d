"""Measures on another machine over the system's ssh: one connection, no open port.

The other machine needs Python 3.9 with onnxruntime and NumPy. The worker is copied there once per version;
models go through the connection, and results come back as they are final. A lost connection is opened again,
and what was measured before it is not measured twice. The worker that lost its listener ends at its next
word, and a new one waits for that.
"""

import hashlib
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mobinas.errors import MeasurementError, TargetError
from mobinas.progress import Progress
from mobinas.targets.target import Target
from predictors.runners.archive import worker_archive
from predictors.runners.base import ModelFile, OnResult, measurement_of
from predictors.runners.request import request_pieces
from predictors.worker import PROTOCOL
from predictors.worker.measuring import MeasuringPlan, Timed
from predictors.worker.talk import Worker, last_line, started, take

# Another command than ``ssh``, such as ``ssh -F file``; as GIT_SSH_COMMAND is to git.
_COMMAND_VARIABLE = "MOBINAS_SSH_COMMAND"
_OPTIONS = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")
_ATTEMPTS = 4
_LOST = 255  # ssh's own exit status
_PAUSE_S = 2.0


class _Lost(Exception):
    """The connection ended before the worker did."""


class SshRunner:
    """onnxruntime on the machine that a target's ``ssh`` names."""

    def __init__(self, target: Target, *, pause_s: float = _PAUSE_S) -> None:
        """Connects nowhere yet.

        Args:
            target: With `ssh`.
            pause_s: Before a lost connection is tried again; twice as long each time.
        """
        self._target = target
        self._pause_s = pause_s
        self._hello: dict[str, Any] | None = None

    @property
    def host(self) -> str:
        """Name, CPU model and number of CPUs of the other machine."""
        return str(self._greeting()["host"])

    @property
    def runtime_version(self) -> str:
        """The onnxruntime there."""
        return str(self._greeting()["runtime_version"])

    def measure(
        self,
        models: Sequence[ModelFile],
        target: Target,
        plan: MeasuringPlan,
        on_result: OnResult,
        progress: Progress,
    ) -> None:
        """Measures over there, group by group; see `predictors.runners.Runner`."""
        left, level_s, lost = list(range(len(models))), plan.reference_level_s, 0

        def keep(place: int, timed: Timed) -> None:
            nonlocal level_s
            level_s = timed.reference_level_s
            i = asked[place]
            left.remove(i)
            on_result(i, measurement_of(models[i], target, self.host, self.runtime_version, timed))

        while left:
            asked = list(left)
            try:
                again = replace(plan, reference_level_s=level_s)
                self._request([models[i] for i in asked], again, keep, progress)
                return
            except _Lost as error:
                # Only attempts that brought nothing count: a long job may lose its connection many times.
                lost = lost + 1 if len(left) == len(asked) else 1
                if lost == _ATTEMPTS:
                    raise MeasurementError(
                        f"lost the connection to {self._target.ssh} {lost} times ({error}); "
                        "look after it and run the same command again, which goes on from what its log keeps"
                    ) from None
                time.sleep(self._pause_s * 2**lost)

    def _request(
        self,
        models: list[ModelFile],
        plan: MeasuringPlan,
        keep: Callable[[int, Timed], None],
        progress: Progress,
    ) -> None:
        with self._worker(request_pieces(models, self._target, plan)) as worker:
            if take(worker, len(models), self._target.ssh, keep, progress, self._meet):
                return
        if 0 < worker.status != _LOST:
            raise MeasurementError(
                f"the worker on {self._target.ssh} died: {worker.complaint or worker.status}"
            )
        raise _Lost(worker.complaint or "no reason given")

    def _greeting(self) -> dict[str, Any]:
        if self._hello is None:
            with self._worker([]) as worker:
                first = next(worker.answers, {})
            if first.get("kind") != "hello":
                why = worker.complaint or "no reason given"
                raise TargetError(f"the worker on {self._target.ssh} does not start: {why}")
            return self._meet(first)
        return self._hello

    def _meet(self, hello: dict[str, Any]) -> dict[str, Any]:
        if hello.get("protocol") != PROTOCOL or not {"host", "runtime_version"} <= hello.keys():
            raise TargetError(
                f"the worker on {self._target.ssh} is of another version; take {_worker_path()} away there"
            )
        self._hello = hello
        return hello

    @contextmanager
    def _worker(self, pieces: Iterable[bytes]) -> Iterator[Worker]:
        """A worker over there that is sent these bytes."""
        self._install()
        with started(self._ssh(f"{self._python} {_worker_path()}"), pieces) as worker:
            yield worker

    @property
    def _python(self) -> str:
        home, python = "~/", self._target.python
        return home + shlex.quote(python[2:]) if python.startswith(home) else shlex.quote(python)

    def _install(self) -> None:
        """Copies the worker over there, unless it is there already."""
        if self._hello is not None:
            return
        path = _worker_path()
        # A connection that is lost while copying leaves a part behind.
        whole = f'test "$(wc -c < {{}})" -eq {len(worker_archive())}'
        there = self._run(f"test -f {path} && {whole.format(path)}", b"")
        if there.returncode == 1:
            part = f"{path}.part$$"
            put = f"mkdir -p ~/.cache/mobinas && cat > {part} && {whole.format(part)} && mv {part} {path}"
            there = self._run(put, worker_archive())
        if there.returncode:
            raise TargetError(f"cannot reach {self._target.ssh}: {_reason(there)}")
        needs = "import sys, numpy, onnxruntime; sys.exit(sys.version_info < (3, 9))"
        found = self._run(f"{self._python} -c {shlex.quote(needs)}", b"")
        if found.returncode:
            raise TargetError(
                f"{self._target.python} on {self._target.ssh} cannot measure ({_reason(found)}); "
                "it must be Python 3.9 or newer with onnxruntime: pip install onnxruntime there, "
                "or set the target's python"
            )

    def _run(self, command: str, data: bytes) -> "subprocess.CompletedProcess[bytes]":
        try:
            return subprocess.run(self._ssh(command), input=data, capture_output=True, check=False)
        except OSError as error:
            raise TargetError(f"cannot start ssh ({error.strerror}); install an ssh client") from error

    def _ssh(self, command: str) -> list[str]:
        try:
            ssh = shlex.split(os.environ.get(_COMMAND_VARIABLE) or "ssh")
        except ValueError as error:
            raise TargetError(
                f"the environment variable {_COMMAND_VARIABLE} is no command: {error}"
            ) from None
        return [*ssh, *_OPTIONS, "--", self._target.ssh, command]


def _worker_path() -> str:
    return f"~/.cache/mobinas/worker-{hashlib.sha256(worker_archive()).hexdigest()[:16]}.pyz"


def _reason(done: "subprocess.CompletedProcess[bytes]") -> str:
    return last_line(done.stderr) or f"exit status {done.returncode}"
