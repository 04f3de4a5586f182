"""A ledger with a clock that the test moves: on SQLite, and (slow) on SPT_TEST_POSTGRES_URL."""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from spt_core.continuous.ledger import Fence, Ledger, Principal, fence_of
from spt_core.registry import Registry
from tests.chaos.ledger.world import MODEL, POLICY, exported
from tests.unit.continuous.ledger.steps import Clock, source


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fill(url: str) -> None:
    """Two sources, a reviewer, and three versions of which the first is the champion."""
    ledger = Ledger(url, clock=Clock())
    ledger.upsert_sources([source("sec"), source("ecb")], actor="olga")
    ledger.add_principal("rita", ["reviewer"], actor="olga")
    registry = Registry(url)
    for name in ("a", "b", "c"):
        registry.add(exported(name), POLICY, {}, created_by="olga")
    registry.set_alias(MODEL, "champion", 1, expected=None, actor="olga")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "spt.db"
    fill(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def server() -> Iterator[sa.URL]:
    """A Postgres server with the same database as a template to copy; skipped without one."""
    address = os.environ.get("SPT_TEST_POSTGRES_URL")
    if not address:
        pytest.skip("SPT_TEST_POSTGRES_URL names no Postgres server to make databases on")
    url = sa.make_url(address).set(drivername="postgresql+psycopg")
    name = f"spt_template_{uuid.uuid4().hex[:12]}"
    _on_server(url, f"CREATE DATABASE {name}")
    fill(url.set(database=name).render_as_string(hide_password=False))
    yield url.set(database=name)
    _on_server(url, f"DROP DATABASE {name} WITH (FORCE)")


def _on_server(url: sa.URL, statement: str) -> None:
    admin = sa.create_engine(
        url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with admin.connect() as connection:
        connection.execute(sa.text(statement))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path, template: Path) -> Iterator[str]:
    if request.param == "sqlite":
        shutil.copy(template, tmp_path / "spt.db")
        yield f"sqlite:///{tmp_path}/spt.db"
        return
    server: sa.URL = request.getfixturevalue("server")
    name = f"spt_test_{uuid.uuid4().hex[:12]}"
    _on_server(server, f"CREATE DATABASE {name} TEMPLATE {server.database}")
    yield server.set(database=name).render_as_string(hide_password=False)
    _on_server(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_only(url: str) -> None:
    if not url.startswith("sqlite"):
        pytest.skip("moves the clock, and Postgres goes by the server's")


@pytest.fixture
def ledger(url: str, clock: Clock) -> Ledger:
    return Ledger(url, clock=clock)


@pytest.fixture
def fence(ledger: Ledger) -> Iterator[Fence]:
    with ledger.lead("leader:1:1", ttl_s=1e6) as lease:
        yield fence_of(lease)


@pytest.fixture
def registry(url: str) -> Registry:
    return Registry(url)


@pytest.fixture
def reviewer() -> Principal:
    return Principal(name="rita", roles=("reviewer",))
