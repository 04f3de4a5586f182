import sqlite3
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from spt_core.errors import InputError, MissingPackageError
from spt_core.registry import Registry
from spt_core.registry.tables import METADATA, REVISION_TABLE

OPEN = """
import sys
from spt_core.registry import Registry
print("ready", flush=True)
sys.stdin.readline()
print(Registry(sys.argv[1]).names())
"""


def test_the_migrations_make_the_tables_that_the_code_knows(registry, url):
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": REVISION_TABLE})
        assert compare_metadata(context, METADATA) == []


def test_a_database_from_a_newer_version_is_refused(registry, url):
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text(f"UPDATE {REVISION_TABLE} SET version_num = '9999'"))

    with pytest.raises(InputError, match=r"has schema 9999 and this version ends at 0006"):
        Registry(url)


@pytest.mark.slow
def test_processes_may_open_a_new_database_together(url, start):
    processes = [start(OPEN, url) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()

    assert [process.stdout.readline() for process in processes] == ["[]\n"] * 3


def test_a_transaction_that_fails_leaves_nothing(registry):
    def fail_halfway():
        with registry._database.write() as connection:
            connection.execute(sa.text("INSERT INTO spt_lease VALUES ('x', 'o', 1, 0, 0)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    with registry._database.read() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM spt_lease")) == 0


def test_sqlite_is_set_up_to_lose_nothing(tmp_path):
    registry = Registry(f"sqlite:///{tmp_path}/new/folder/a.db")
    with registry._database.read() as connection:
        facts = [
            connection.scalar(sa.text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]

    assert facts == ["wal", 2, 1, 30000]


def test_a_relative_sqlite_file_stays_the_same_when_the_process_moves(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    registry = Registry("sqlite:///a.db")
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert registry.names() == []


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("nonsense", "a database is named by a URL"),
        ("mysql://host/db", "must be SQLite or Postgres"),
        ("sqlite://", "must be a file"),
        ("sqlite:////proc/nowhere/a.db", "needs a writable folder"),
    ],
)
def test_a_url_that_cannot_be_a_database_is_refused(url, rule):
    with pytest.raises(InputError, match=rule):
        Registry(url)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "a.db").write_text("no database" * 1000)

    with pytest.raises(InputError, match="must be there and usable"):
        Registry(f"sqlite:///{tmp_path}/a.db")


def test_a_postgres_url_without_the_driver_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(MissingPackageError, match=r"pip install 'psycopg\[binary\]'"):
        Registry("postgresql://user@localhost/spt")


def test_a_password_is_not_shown(monkeypatch):
    pytest.importorskip("psycopg")
    with pytest.raises(InputError) as caught:
        Registry("postgresql://user:secret@127.0.0.1:1/spt")

    assert "secret" not in str(caught.value)


def test_a_write_waits_its_turn_and_then_says_who_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("spt_core.registry.database.BUSY_TIMEOUT_S", 0.2)
    path = tmp_path / "a.db"
    Registry(f"sqlite:///{path}")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    with pytest.raises(Exception, match="must be free within"):
        Registry(f"sqlite:///{path}")
    holder.close()
