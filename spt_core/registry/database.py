"""One database by URL, brought to this project's schema when it is opened.

URL -> Database -> short transactions: `read()` sees one snapshot, `write()` is alone. There is one
writer at a time on SQLite and on Postgres alike, so whatever a write transaction has read is still
so when it commits. A connection lives for one transaction: forks share none, and a database
server that was restarted is not noticed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from spt_core.errors import ConflictError, InputError, MissingPackageError, UnavailableError
from spt_core.registry.tables import REVISION_TABLE

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S = 30
IDLE_TIMEOUT_S = 20  # below BUSY_TIMEOUT_S, so that who waits outlasts who is frozen
_WRITER_LOCK = 0x5350545F44424C4B  # any number that other users of the server do not lock
_ALEMBIC = threading.Lock()  # alembic keeps its running migration in module globals


@final
class Database:
    """Transactions on one database; safe to share between threads.

    Raises ConflictError when others kept the database busy, UnavailableError when it cannot be
    used.
    """

    def __init__(self, url: str) -> None:
        self._url = _checked_url(url)
        self.shown = self._url.render_as_string(hide_password=True)
        self._is_postgres = self._url.get_backend_name() == "postgresql"
        engine = _postgres(self._url) if self._is_postgres else _sqlite(self._url)
        snapshot = {"isolation_level": "REPEATABLE READ"} if self._is_postgres else {}
        self._reader = engine.execution_options(**snapshot)
        self._writer = engine.execution_options(spt_write=True)
        self.revision = self._upgrade()

    @contextlib.contextmanager
    def read(self) -> Generator[sa.Connection]:
        """A connection that sees one consistent snapshot."""
        with _in_words(self.shown), self._reader.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Generator[sa.Connection]:
        """The only writing connection; commits at the end, rolls back on an exception."""
        with _in_words(self.shown), self._writer.begin() as connection:
            if self._is_postgres:
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{BUSY_TIMEOUT_S}s'"))
                # A writer that is frozen halfway would keep all others out until it thaws.
                idle = f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT_S}s'"
                connection.execute(sa.text(idle))
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))
            yield connection

    @property
    def has_clock(self) -> bool:
        """Whether the database's own clock counts, and not its clients'."""
        return self._is_postgres

    def now_s(self, connection: sa.Connection, clock: Callable[[], float]) -> float:
        """Seconds since 1970 by the clock that all hosts share: the server's, or else ours."""
        if not self._is_postgres:
            return clock()
        seconds = connection.scalar(sa.text("SELECT extract(epoch FROM clock_timestamp())"))
        return float(seconds or 0.0)

    def _upgrade(self) -> str:
        with _ALEMBIC, self.write() as connection:
            head, revisions = _revisions()
            revision = MigrationContext.configure(
                connection, opts={"version_table": REVISION_TABLE}
            ).get_current_revision()
            if revision is not None and revision not in revisions:
                raise InputError(
                    "a database must not come from a newer version of the project, however: "
                    f"{self.shown} has schema {revision} and this version ends at {head}; update "
                    "the project, or name another database"
                )
            if revision != head:
                config = _alembic()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        return head


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


@functools.cache  # reading the scripts takes ten times as long as opening a database
def _revisions() -> tuple[str, frozenset[str]]:
    """The schema's head, and all that came before it."""
    script = ScriptDirectory.from_config(_alembic())
    revisions = frozenset(one.revision for one in script.walk_revisions())
    return script.get_current_head() or "", revisions


def _checked_url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except ArgumentError as error:
        raise InputError(
            "a database is named by a URL such as sqlite:////folder/spt.db or "
            "postgresql://user@host/spt, however: this text is none"
        ) from error
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise InputError(
            f"a database must be SQLite or Postgres (driver psycopg), however: {url.drivername!r}"
        )
    if url.database in (None, "", ":memory:"):
        raise InputError("a SQLite database must be a file, however: the URL names none")
    return url.set(database=str(Path(str(url.database)).expanduser().absolute()))


def _postgres(url: sa.URL) -> sa.Engine:
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        raise MissingPackageError(
            "a Postgres database needs the driver psycopg, however: it cannot be imported; "
            "pip install 'psycopg[binary]'"
        ) from error
    return sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": 10})


def _sqlite(url: sa.URL) -> sa.Engine:
    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"a SQLite database needs a writable folder, however: {error}") from error
    engine = sa.create_engine(
        url,
        poolclass=sa.NullPool,
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None},
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:  # Any: the DBAPI has no types
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except connection.OperationalError as error:
            # The switch to WAL does not wait for others who open the same new file.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise InputError(
            f"a SQLite database must allow write-ahead logging, however: its journal is {mode!r}; "
            "put it on a local disk, or use Postgres"
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A deferred transaction that turns to writing fails at once where IMMEDIATE waits its turn.
    write = connection.get_execution_options().get("spt_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextlib.contextmanager
def _in_words(shown: str) -> Generator[None]:
    try:
        yield
    except DatabaseError as error:
        fact = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
        if "locked" in fact or "lock timeout" in fact:
            raise ConflictError(
                f"the database must be free within {BUSY_TIMEOUT_S} s, however: {shown} ({fact})"
            ) from error
        gone = isinstance(error, OperationalError) or error.connection_invalidated
        if gone or "not a database" in fact:
            raise UnavailableError(
                f"the database must be there and usable, however: {shown} ({fact})"
            ) from error
        raise
