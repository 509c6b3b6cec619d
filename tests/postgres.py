"""A private PostgreSQL server on the loopback interface."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "s3cret-word"
_CONFIG = (
    "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\nshared_buffers = 16MB\n"
    "max_connections = 100\n"
)


@dataclass
class Postgres:
    """A server that can be stopped, killed and started again.

    Attributes:
        binaries: Folder of initdb and pg_ctl.
        folder: The cluster's data.
        port: On the loopback interface.
        user: What `subprocess` needs to run as the owner of the folder.
    """

    binaries: Path
    folder: Path
    port: int
    user: dict[str, Any] = field(default_factory=dict)

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        """For `pareto_search` and workers."""
        return f"postgresql://mobinas:{password}@127.0.0.1:{self.port}/{database}"

    def _control(self, *arguments: str) -> None:
        subprocess.run(
            [self.binaries / "pg_ctl", "-D", self.folder / "data", "-w", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            **self.user,
        )

    def make(self) -> None:
        """Makes the cluster; only who knows the password gets in."""
        word = self.folder / "word"
        word.write_text(PASSWORD)
        subprocess.run(
            [
                *(self.binaries / "initdb", "-D", self.folder / "data", "-U", "mobinas"),
                *("-A", "scram-sha-256", "--pwfile", word, "--no-sync", "-E", "UTF8", "--locale", "C"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            **self.user,
        )
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(f"{_CONFIG}port = {self.port}\n")

    def start(self) -> None:
        """Starts the server and waits for it."""
        self._control("-l", str(self.folder / "log"), "start")

    def runs(self) -> bool:
        """Whether the server is there."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Ends the server and all its connections."""
        self._control("-m", "immediate", "stop")


def _binaries() -> Path | None:
    on_path = shutil.which("initdb")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(on_path).parent if on_path else found[-1].parent if found else None


def _unprivileged(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": folder}


def serving() -> Generator[Postgres]:
    """A server of its own for the tests of a module."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL here; install the package postgresql")
    # Not below pytest's folder, which only its owner may enter.
    with tempfile.TemporaryDirectory(prefix="postgres-") as name, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        server = Postgres(binaries, Path(name), port, _unprivileged(Path(name)))
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
