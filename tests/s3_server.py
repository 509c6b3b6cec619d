"""A private server that speaks S3 over HTTP, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

KEY, SECRET, BUCKET = "tests-key", "s3cret-word", "bucket"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(port: int) -> dict[str, str]:
    """What boto3 reads from the environment."""
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }


def client(port: int) -> Any:
    """A client of the server."""
    import boto3

    of = settings(port)
    return boto3.client(
        "s3",
        endpoint_url=of["AWS_ENDPOINT_URL"],
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name=of["AWS_DEFAULT_REGION"],
    )


@contextmanager
def serving(port: int = 0, checked: bool = False) -> Iterator[int]:
    """The server's port, with one bucket there.

    Args:
        port: Any free one without.
        checked: Whether requests after the bucket's making need credentials that the server knows; it
            knows none.
    """
    port = port or _free_port()
    environment = {**os.environ, **({"INITIAL_NO_AUTH_ACTION_COUNT": "1"} if checked else {})}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not _answers(port):
            assert server.poll() is None and time.monotonic() < until, "the S3 server does not start"
            time.sleep(0.05)
        client(port).create_bucket(Bucket=BUCKET)
        yield port
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
