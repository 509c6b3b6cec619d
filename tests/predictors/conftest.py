from collections.abc import Iterator

import pytest
from sshd import Sshd, serving


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A private OpenSSH server."""
    yield from serving(tmp_path_factory)
