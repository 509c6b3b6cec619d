"""A study that processes of many machines share, in PostgreSQL through Optuna's RDB storage.

Workers are alive as long as Optuna's heartbeats come. Locks are PostgreSQL's advisory locks: the server frees
them with the connection of a process that dies.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, Trial

from mobinas.errors import SearchError
from mobinas.search.journal import quiet_optuna
from mobinas.search.shared import Wait

HEARTBEAT_S = 10
GRACE_S = 30
_HEARTBEAT_ENV = "MOBINAS_HEARTBEAT_S"
_CONNECT_S = 5
_PATIENCE_S = 120.0
# A machine that vanishes closes no connection; the server asks after 10 s and frees its locks after 25 s.
_KEEPALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
_INSTALL = "pip install 'mobinas[cluster]'"
# What libpq and the server say of a server that is down, begins or ends; all else will not mend itself.
_MAY_PASS = (
    "refused",
    "timeout expired",
    "server closed the connection",
    "starting up",
    "shutting down",
    "not yet accepting",
    "unreachable",
)


class _Storage(RDBStorage):
    """An outage of the server does not end the heartbeats."""

    def record_heartbeat(self, trial_id: int) -> None:
        for attempt in range(5):
            try:
                return super().record_heartbeat(trial_id)
            except StorageInternalError:
                if attempt == 4:
                    raise
                time.sleep(0.2)
        return None


class AdvisoryLock:
    """A lock of the server, held by a connection of its own."""

    def __init__(self, engine: Any, study: str, purpose: str) -> None:
        """The same study and purpose make the same lock on every machine."""
        self._engine = engine
        digest = hashlib.sha256(f"mobinas/{study}/{purpose}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        self._connection: Any = None
        self._is_held = False

    def _ask(self, question: str) -> Any:
        from sqlalchemy import text

        return self._connection.execute(text(question), {"key": self._key}).scalar()

    def acquire(self, *, wait: bool = True) -> bool:
        """Takes it; without waiting, tells whether it could be had."""
        from sqlalchemy.exc import SQLAlchemyError

        for _attempt in range(2):  # a connection kept from before an outage fails once
            try:
                if self._connection is None:
                    connection = self._engine.connect()
                    self._connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                if wait:
                    self._ask("SELECT pg_advisory_lock(:key)")
                    self._is_held = True
                else:
                    self._is_held = bool(self._ask("SELECT pg_try_advisory_lock(:key)"))
                return self._is_held
            except SQLAlchemyError:
                self.close()
        raise StorageInternalError("the database cannot be reached")

    def held(self) -> bool:
        """Whether the connection that took it still stands."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return self._is_held and self._ask("SELECT CAST(:key AS bigint)") == self._key
        except SQLAlchemyError:
            self.close()
            return False

    def release(self) -> None:
        """Gives it back."""
        from sqlalchemy.exc import SQLAlchemyError

        if self._is_held:
            try:
                self._ask("SELECT pg_advisory_unlock(:key)")
            except SQLAlchemyError:
                self.close()
        self._is_held = False

    def close(self) -> None:
        """Ends the connection; the server then frees the lock."""
        from sqlalchemy.exc import SQLAlchemyError

        self._is_held = False
        if self._connection is not None:
            try:
                self._connection.invalidate()
                self._connection.close()
            except SQLAlchemyError:
                pass
            self._connection = None


class SharedDatabase:
    """See `Shared`."""

    failures: tuple[type[Exception], ...] = (StorageInternalError,)

    def __init__(self, url: str, study: str, wait: Wait) -> None:
        """Connects, and makes Optuna's tables where there are none.

        Args:
            url: Of the database.
            study: Its name.
            wait: For a server that does not run yet.

        Raises:
            SearchError: No PostgreSQL URL, no driver, no connection, or tables of another Optuna.
        """
        self.address = url
        parsed = parse_url(url)
        self.where = _shown(parsed)
        self.storage = self._open(parsed.render_as_string(hide_password=False), wait)
        _wait_for_the_server(self.storage.engine)
        self.claiming = AdvisoryLock(self.storage.engine, study, "claiming")
        self.leading = AdvisoryLock(self.storage.engine, study, "leading")

    def _open(self, url: str, wait: Wait) -> _Storage:
        while True:
            storage, problem, may_pass = self._tried(url)
            if storage is not None:
                return storage
            if not (may_pass and wait.goes_on(f"the server of storage {self.where} cannot be reached")):
                # Outside of the handlers: a chained error could show what holds the password.
                raise SearchError(f"storage {self.where} {problem}{wait.waited}")

    def _tried(self, url: str) -> tuple[_Storage | None, str, bool]:
        """The storage, or what is wrong and whether that may pass."""
        from sqlalchemy.exc import SQLAlchemyError

        beat_s = int(os.environ.get(_HEARTBEAT_ENV, HEARTBEAT_S))
        connect = {"connect_timeout": _CONNECT_S, "options": _KEEPALIVE}
        try:
            with quiet_optuna():
                storage = _Storage(
                    url,
                    skip_compatibility_check=True,
                    engine_kwargs={"pool_pre_ping": True, "connect_args": connect},
                    heartbeat_interval=beat_s,
                    grace_period=GRACE_S * beat_s // HEARTBEAT_S,
                )
            if storage.get_current_version() == storage.get_head_version():
                return storage, "", False
            storage.engine.dispose()
        except ImportError:
            return None, f"needs a database driver; install it with: {_INSTALL}", False
        except (SQLAlchemyError, StorageInternalError) as error:
            said = _first_line(error)
            problem = f"cannot be used: {said}; check the URL, and that the server runs"
            return None, problem, any(words in said for words in _MAY_PASS)
        problem = (
            "has tables of another version of Optuna; run 'optuna storage upgrade --storage URL', or "
            "install that version"
        )
        return None, problem, False

    @contextmanager
    def working(self, worker: str) -> Iterator[None]:
        """Heartbeats come with each trial."""
        yield

    def begun(self, trial: Trial) -> None:
        """Beats once, at once: Optuna's thread may not have come to it."""
        self.storage.record_heartbeat(trial._trial_id)

    def fail_dead(self, study: optuna.Study, running: list[FrozenTrial]) -> None:
        """Optuna's `fail_stale_trials`.

        Its retry callback is not used: killed between the mark and the callback, it would lose the
        candidate, and a second process could not tell. Who leads gives back all that failed without a result.
        """
        fail_stale_trials(study)

    def close(self) -> None:
        """Ends the connections, and with them the locks."""
        self.claiming.close()
        self.leading.close()
        self.storage.remove_session()
        self.storage.engine.dispose()


def parse_url(url: str) -> Any:
    """SQLAlchemy's, with the one driver that there is.

    Raises:
        SearchError: It is no PostgreSQL URL; the text shows nothing of it but the scheme.
    """
    try:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError:
        raise SearchError(f"a database storage needs a driver; install it with: {_INSTALL}") from None
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.get_backend_name() != "postgresql":
        scheme = url.partition("://")[0]
        raise SearchError(
            f"storage '{scheme}://...' is no PostgreSQL URL; write it like "
            "postgresql://user:password@host:5432/database, or give a file's path"
        )
    if url.count("@") > (parsed.username is not None):
        raise SearchError("storage 'postgresql://...' has an @ too many; write @ in a password as %40")
    return parsed.set(drivername="postgresql+psycopg")


def _shown(url: Any) -> str:
    """Without its password, and without options, where one may stand, too."""
    return str(url.create("postgresql", url.username, None, url.host, url.port, url.database))


def _first_line(error: BaseException) -> str:
    """What the driver said, of a chain of errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def _wait_for_the_server(engine: Any) -> None:
    """From now on, whoever needs a connection waits for a server that is being restarted."""
    from sqlalchemy import event

    def connect(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.2)

    event.listen(engine, "do_connect", connect)
