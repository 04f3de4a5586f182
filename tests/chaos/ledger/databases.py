"""A fresh world on either database, for the chaos commands."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from spt_core.registry.database import Database
from tests.chaos.ledger.world import Paths

BACKENDS = ("sqlite", "postgres")
SERVER = "SPT_TEST_POSTGRES_URL"


@contextlib.contextmanager
def fresh(backend: str) -> Iterator[Paths]:
    """An empty database with the schema, and a folder; both are removed afterwards."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="spt-", dir=memory if memory.is_dir() else None))
    upgrade = Database._upgrade
    try:
        with _database(backend, folder) as url:
            revision = Database(url).revision
            Database._upgrade = lambda self: revision  # forks open it quickly
            yield Paths(url=url, jobs=folder / "jobs.log")
    finally:
        Database._upgrade = upgrade
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _database(backend: str, folder: Path) -> Iterator[str]:
    if backend == "sqlite":
        yield f"sqlite:///{folder}/spt.db"
        return
    address = sa.make_url(os.environ[SERVER]).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(address, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    name = f"spt_test_{uuid.uuid4().hex[:12]}"
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield address.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
