"""What only a Postgres server can show; tests/unit/registry runs its whole suite on one as well.

SPT_TEST_POSTGRES_URL=postgresql://user@host:port/postgres python -m pytest -m slow
"""

import os
import uuid

import pytest
import sqlalchemy as sa

from spt_core.artifacts import ExportedModel, ModelArtifact, as_uri
from spt_core.errors import ConflictError
from spt_core.policy import Costs, DecisionPolicy
from spt_core.registry import Registry
from spt_core.signature import Field, Signature

pytestmark = pytest.mark.slow
NAME = "finance/fraud/default"


@pytest.fixture
def url():
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


def add_one(registry, tmp_path):
    artifact = ModelArtifact(
        uri=as_uri(tmp_path / "artifact"),
        task="finance/fraud",
        model_name="default",
        family="tabular",
        role="student",
        signature=Signature(fields=(Field(name="amount", kind="number", minimum=0.1),)),
        files={},
        config={},
        metrics={"average_precision": 0.1 + 0.2},
        seed=0,
        data_fingerprint="d",
        code_fingerprint="c",
        splits="file:///splits",
    )
    exported = ExportedModel(
        uri=f"{artifact.uri}/export",
        artifact=artifact,
        files={},
        parity={},
        probes={},
        size_bytes=1,
    )
    costs = Costs(missed_positive=100.0, false_alarm=10.0, review=2.0)
    policy = DecisionPolicy(costs=costs, review_threshold=0.1, decline_threshold=0.8)
    registry.add(exported, policy, {"note": "☃ \x00"}, created_by="ann")
    registry.set_alias(NAME, "champion", 1, expected=None, actor="ann", reason="naïve")
    registry.deploy(NAME, 1, expected_epoch=0, actor="ann")


def test_a_backup_goes_from_sqlite_to_postgres_and_back(url, tmp_path):
    first = Registry(f"sqlite:///{tmp_path}/first.db")
    add_one(first, tmp_path)
    first.backup(str(tmp_path / "1.jsonl"))
    middle = Registry(url)
    middle.restore(str(tmp_path / "1.jsonl"))
    middle.backup(str(tmp_path / "2.jsonl"))
    last = Registry(f"sqlite:///{tmp_path}/last.db")
    last.restore(str(tmp_path / "2.jsonl"))

    for registry in (middle, last):
        assert registry.versions(NAME) == first.versions(NAME)
        assert registry.history(NAME) == first.history(NAME)
        assert registry.deployments() == first.deployments()


def test_a_lease_runs_by_the_clock_of_the_server(url):
    behind = Registry(url, clock=lambda: 0.0)
    ahead = Registry(url, clock=lambda: 9e9)
    with (
        behind.lease("rollout", "elsewhere:1:1"),
        pytest.raises(ConflictError, match="host elsewhere"),
        ahead.lease("rollout"),
    ):
        pass


def test_the_tables_of_other_tools_in_the_same_database_stay_as_they_are(url):
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:  # as MLflow makes it
        connection.execute(sa.text("CREATE TABLE alembic_version AS SELECT 'abc' AS version_num"))
    assert Registry(url).names() == []

    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "abc"
    engine.dispose()


def test_a_reader_sees_one_snapshot_while_others_write(url, tmp_path):
    registry = Registry(url)
    count = sa.text("SELECT count(*) FROM spt_model_version")
    with registry._database.read() as connection:
        before = connection.scalar(count)
        add_one(registry, tmp_path)

        assert (before, connection.scalar(count)) == (0, 0)
    assert len(registry.versions(NAME)) == 1
