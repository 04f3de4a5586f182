"""What goes wrong round a ledger: the disk is full, the database is away, the clock is wrong."""

import socket
import threading

import pytest
import sqlalchemy as sa

from spt_core.continuous.ledger import Ledger, fence_of, patiently
from spt_core.errors import InputError, UnavailableError
from spt_core.registry import database
from tests.unit.continuous.ledger.steps import all_of_them, answer, begin, item, never


def test_a_full_disk_loses_nothing_and_is_named(ledger, fence, monkeypatch, sqlite_only):
    begin(ledger, fence)
    before = ledger.items(), ledger.audit_head(), ledger.sources()
    set_up = database._set_up_sqlite

    def full(connection, record):
        set_up(connection, record)
        connection.execute("PRAGMA max_page_count = 1")  # no page more than there are

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_database", _database_with(full, ledger, patch))
        with pytest.raises(UnavailableError, match="database or disk is full"):
            ledger.ingest(fence, [answer(item("2", "x" * 100_000))], all_of_them)
    assert (ledger.items(), ledger.audit_head(), ledger.sources()) == before
    assert ledger.ingest(fence, [answer(item("2", "x" * 100_000))], never).num_new == 1
    ledger.verify_audit()


def _database_with(set_up, ledger, patch):
    patch.setattr(database, "_set_up_sqlite", set_up)
    return database.Database(f"sqlite:///{ledger._database._url.database}")


def test_a_database_that_comes_back_is_waited_for_with_a_clear_state(
    ledger, fence, tmp_path, sqlite_only
):
    away = tmp_path.with_name("away")
    tmp_path.rename(away)
    told = []

    def sleep(_):
        if len(told) == 60:
            away.rename(tmp_path)

    def poll():
        return ledger.ingest(fence, [answer(item("1"))], all_of_them)

    assert patiently(poll, tell=told.append, sleep=sleep).num_new == 1
    assert told[-1] == ""
    assert "waiting for the database since 59 s: the database must be there" in told[-2]
    assert len(ledger.retrains()) == 1


def test_a_database_that_stays_away_is_given_up_in_time(ledger, tmp_path, sqlite_only):
    tmp_path.rename(tmp_path.with_name("gone"))
    told = []
    with pytest.raises(UnavailableError, match="unable to open database file"):
        patiently(ledger.sources, wait_s=3.0, tell=told.append, sleep=lambda _: None)
    assert len(told) == 3
    tmp_path.with_name("gone").rename(tmp_path)


class Proxy:
    """A way to a server that can be closed and opened again."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.connections = []
        self.port = 0
        self.open()

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            connection.close()
        self.connections.clear()

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            self.connections += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        finally:
            for end in (one, other):
                end.close()


def test_a_server_that_goes_away_and_comes_back_is_waited_for(url):
    if not url.startswith("postgres"):
        pytest.skip("needs a server")
    address = sa.make_url(url)
    proxy = Proxy(address.host, address.port or 5432)
    near = address.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
    ledger = Ledger(near)
    told = []
    with ledger.lead("leader:1:1", ttl_s=1000) as lease:
        proxy.close()
        calls = patiently(
            lambda: ledger.ingest(fence_of(lease), [answer(item("1"))], all_of_them),
            tell=told.append,
            sleep=lambda _: proxy.open() if len(told) == 3 else None,
        )
        assert calls.num_new == 1
    assert len(told) == 4
    proxy.close()


def test_a_transaction_that_lost_its_server_halfway_left_nothing(url):
    if not url.startswith("postgres"):
        pytest.skip("needs a server")
    ledger = Ledger(url)

    def lose_the_server(pending):
        admin = sa.create_engine(url)
        with admin.connect() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
            )
        admin.dispose()
        return all_of_them(pending)

    with ledger.lead("leader:1:1", ttl_s=1000) as lease:
        fence = fence_of(lease)
        with pytest.raises(UnavailableError, match="the database must be there"):
            ledger.ingest(fence, [answer(item("1"))], lose_the_server)
        assert ledger.items() == []
        assert ledger.ingest(fence, [answer(item("1"))], all_of_them).num_new == 1


def test_a_writer_frozen_halfway_does_not_keep_others_out_for_ever(url, monkeypatch):
    if not url.startswith("postgres"):
        pytest.skip("needs a server")
    monkeypatch.setattr(database, "IDLE_TIMEOUT_S", 1)
    frozen, other = Ledger(url), Ledger(url)
    done = threading.Event()

    def freeze(pending):
        other.note("test", {"while": "frozen"}, actor="olga")  # waits until the server ends us
        done.set()
        return all_of_them(pending)

    with frozen.lead("leader:1:1", ttl_s=1000) as lease:
        with pytest.raises(UnavailableError):
            frozen.ingest(fence_of(lease), [answer(item("1"))], freeze)
        assert done.is_set()
        assert frozen.items() == []


def test_a_wrong_place_for_the_database_is_a_users_mistake():
    with pytest.raises(InputError, match="must be SQLite or Postgres"):
        Ledger("mysql://host/db")
