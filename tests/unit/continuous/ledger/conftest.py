"""A ledger with a clock that the test moves: on SQLite, and (slow) on SPT_TEST_POSTGRES_URL."""

import os
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


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/spt.db"
        return
    server = os.environ.get("SPT_TEST_POSTGRES_URL")
    if not server:
        pytest.skip("SPT_TEST_POSTGRES_URL names no Postgres server to make databases on")
    address = sa.make_url(server).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(address, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    name = f"spt_test_{uuid.uuid4().hex[:12]}"
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield address.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def sqlite_only(url: str) -> None:
    if not url.startswith("sqlite"):
        pytest.skip("moves the clock, and Postgres goes by the server's")


@pytest.fixture
def ledger(url: str, clock: Clock) -> Ledger:
    ledger = Ledger(url, clock=clock)
    ledger.upsert_sources([source("sec"), source("ecb")], actor="olga")
    return ledger


@pytest.fixture
def fence(ledger: Ledger) -> Iterator[Fence]:
    with ledger.lead("leader:1:1", ttl_s=1e6) as lease:
        yield fence_of(lease)


@pytest.fixture
def registry(url: str) -> Registry:
    """Three versions, of which the first is the champion."""
    registry = Registry(url)
    for name in ("a", "b", "c"):
        registry.add(exported(name), POLICY, {}, created_by="olga")
    registry.set_alias(MODEL, "champion", 1, expected=None, actor="olga")
    return registry


@pytest.fixture
def reviewer(ledger: Ledger) -> Principal:
    key = ledger.add_principal("rita", ["reviewer"], actor="olga")
    return ledger.authenticate("rita", key)
