"""A private OpenSSH server on the loopback interface."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HOST = "device"


@dataclass(frozen=True)
class Sshd:
    """A running server.

    Attributes:
        folder: Its keys and configuration.
        home: Where those who log in keep their files.
    """

    folder: Path
    home: Path


def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An sshd of this user, with a port, keys and a home of its own; the host is called ``device``."""
    binary = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
    if binary is None or shutil.which("ssh") is None:
        pytest.skip("no sshd here; install the package openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    home = tmp_path_factory.mktemp("home")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    python = f"{Path(sys.executable).parent}"
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        f"PidFile {folder}/pid\nSetEnv HOME={home} PATH={python}:/usr/bin:/bin\n"
    )
    (folder / "ssh_config").write_text(
        f"Host {HOST}\n HostName 127.0.0.1\n Port {port}\n IdentityFile {folder}/user\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {folder}/known\n StrictHostKeyChecking accept-new\n LogLevel ERROR\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(parents=True, exist_ok=True)  # where sshd separates privileges
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([binary, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            pytest.fail(f"sshd does not listen: {(folder / 'log').read_text()}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MOBINAS_SSH_COMMAND", f"ssh -F {folder}/ssh_config")
            yield Sshd(folder, home)
    finally:
        server.terminate()
        server.wait()
