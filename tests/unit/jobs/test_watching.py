"""`jobs.watch` on a ledger: who may, what Ray must not see, how status and audit verify end."""

import contextlib
import json
import os
import signal
import threading
import time

import pytest
import sqlalchemy as sa

from cluster.settings import actor
from cluster.watcher import WatchPlan, job_environment
from jobs.watch import main
from spt_core.continuous import WatchOptions
from spt_core.continuous.ledger import Ledger
from spt_core.continuous.sources import SourcesFile
from spt_core.errors import ForbiddenError, InputError

pytestmark = pytest.mark.slow  # Ray is imported, and whole watchers run

SECRET = "hunter2"
FINE = "postgresql+psycopg://spt@db/spt"
SOURCES = """\
[[source]]
id = "inside"
name = "I"
industry = "technology"
kind = "rss"
url = "http://10.1.2.3/feed"
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    for name in ("RAY_ADDRESS", "SPT_DATABASE_URL", "SPT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPT_STORAGE", str(tmp_path))
    (tmp_path / "watch.toml").write_text(SOURCES)
    monkeypatch.setattr("jobs.watching.calm_collector", lambda: None)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(f"sqlite:///{tmp_path}/spt.db")


@pytest.fixture
def no_ray(monkeypatch):
    """A cluster's address, and nobody there: what is asked of it first must be refused before."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr("cluster.lifecycle.ray_session", lambda _: contextlib.nullcontext())


SHOWN = [
    ("s3://bucket/spt", f"postgresql://spt:{SECRET}@db/spt"),
    ("s3://bucket/spt", f"postgresql+psycopg://spt:{SECRET}#1@db/spt"),
    ("s3://bucket/spt", f"postgresql://spt:{SECRET}/1@db/spt"),
    ("s3://bucket/spt", f"postgresql://spt:{SECRET}?1@db/spt"),
    ("s3://bucket/spt", f"postgresql://db/spt?user=spt&password={SECRET}"),
    ("s3://bucket/spt", f"postgresql://db/spt?sslpassword={SECRET}"),
    ("s3://bucket/spt", f"postgresql://db:{SECRET}/spt"),
    ("s3://bucket/spt", SECRET),
    (f"s3://KEY:{SECRET}@bucket/spt", FINE),
    (f"s3://KEY:{SECRET}/1@bucket/spt", FINE),
    (f"s3://KEY:{SECRET}@bucket/spt", ""),
    (f"abfs://container@account/spt?client_secret={SECRET}", FINE),
]


@pytest.mark.parametrize(("storage", "url"), SHOWN)
def test_what_ray_shows_to_all_holds_no_secret(storage, url):
    options = WatchOptions(storage=storage, database_url=url)
    for show in (
        lambda: job_environment(options, ""),
        lambda: WatchPlan(file=SourcesFile(sources=()), options=options),
    ):
        with pytest.raises(InputError, match="a cluster's (storage|database) must be named") as no:
            show()
        assert SECRET not in str(no.value)
        assert no.value.__cause__ is None


@pytest.mark.parametrize(
    ("storage", "url"),
    [
        ("s3://bucket/a:b@c?region=eu-1&endpoint_override=host:9000", FINE),
        (
            "hdfs://namenode:8020/spt@home",
            f"{FINE}?passfile=/run/pass&sslkey=/run/key&keepalives=1",
        ),
        ("/srv/spt", "sqlite:////srv/spt.db"),
    ],
)
def test_what_holds_no_secret_is_shown(storage, url):
    made = job_environment(WatchOptions(storage=storage, database_url=url), "")
    assert made["env_vars"]["SPT_DATABASE_URL"] == url


@pytest.mark.parametrize("verb", ["run", "start"])
def test_no_way_to_watch_shows_a_password(verb, no_ray, monkeypatch):
    monkeypatch.setenv("SPT_DATABASE_URL", f"postgresql://spt:{SECRET}/1@127.0.0.1:1/spt")
    with pytest.raises(InputError, match="named without a password") as raised:
        main([verb])
    assert SECRET not in str(raised.value)


def watch_until_configured(tmp_path, ledger):
    """Run until the sources are in the ledger, and end as by `kill`."""

    def end():
        deadline = time.monotonic() + 60
        while not ledger.sources() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=end)
    killer.start()
    try:
        assert main(["run", "--sources", str(tmp_path / "watch.toml")]) == 0
    finally:
        killer.join()
    return {entry.actor for entry in ledger.audit() if entry.event == "source.configured"}


def test_without_principals_the_user_configures_what_is_watched(tmp_path, ledger):
    assert watch_until_configured(tmp_path, ledger) == {actor()}


def test_once_there_are_principals_one_of_them_configures_what_is_watched(
    tmp_path, ledger, monkeypatch
):
    key = ledger.add_principal("rita", ["reviewer"], actor="test")
    call = ["run", "--sources", str(tmp_path / "watch.toml")]
    with pytest.raises(ForbiddenError, match="SPT_API_KEY is not set"):
        main(call)
    monkeypatch.setenv("SPT_API_KEY", "b2xnYQ.wrong")
    with pytest.raises(ForbiddenError, match="must be one of those of a principal"):
        main(call)
    assert ledger.sources() == []
    monkeypatch.setenv("SPT_API_KEY", key)
    assert watch_until_configured(tmp_path, ledger) == {"rita"}


def test_a_cluster_s_watcher_is_started_by_a_principal_too(tmp_path, ledger, no_ray):
    ledger.add_principal("rita", ["reviewer"], actor="test")
    with pytest.raises(ForbiddenError, match="SPT_API_KEY is not set"):
        main(["start", "--sources", str(tmp_path / "watch.toml")])


def verified(capsys, *words):
    code = main(["audit", "verify", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


def test_a_sound_audit_log_has_a_head_that_is_found_again_later(ledger, capsys):
    for number in range(3):
        ledger.note("test", {"number": number}, actor="olga")
    code, found = verified(capsys)
    head = ledger.audit_head()
    assert (code, found["is_sound"], found["num_entries"]) == (0, True, 3)
    assert (found["seq"], found["hash"], found["head"]) == (*head, f"{head.seq}:{head.hash}")
    ledger.note("test", {"number": 4}, actor="olga")
    assert verified(capsys, "--earlier", found["head"])[0] == 0
    assert main(["audit", "verify"]) == 0
    assert f"4 entries; keep its head elsewhere: 4:{ledger.audit_head().hash}" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("UPDATE spt_audit SET body = '{}' WHERE seq = 2", "entry 2 does not match its hash"),
        ("DELETE FROM spt_audit WHERE seq = 3", "entry 3 is missing of 3"),
    ],
)
def test_a_damaged_audit_log_is_told_in_one_sentence(ledger, capsys, damage, sentence):
    for number in range(3):
        ledger.note("test", {"number": number}, actor="olga")
    head = verified(capsys)[1]["head"]
    with ledger._database.write() as connection:
        for name in ("update", "delete", "replace"):
            connection.execute(sa.text(f"DROP TRIGGER spt_audit_{name}"))
        connection.execute(sa.text(damage))
    code, found = verified(capsys, "--earlier", head)
    assert (code, found["is_sound"], sentence in found["trouble"]) == (1, False, True)
    assert main(["audit", "verify", "--earlier", head]) == 1
    assert capsys.readouterr().out.strip() == found["trouble"]


def test_an_earlier_head_is_one_that_was_printed(ledger):
    for text in ("7", "7:abc", f"x:{'0' * 64}", ""):
        with pytest.raises(InputError, match="--earlier must be SEQ:HASH"):
            main(["audit", "verify", "--earlier", text])


def test_status_ends_with_1_for_what_the_cluster_s_watcher_complains_of(
    ledger, no_ray, monkeypatch, capsys
):
    says = {"phase": "leads with epoch 7", "troubles": {}}
    monkeypatch.setattr("cluster.watcher.status", lambda: says)
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["troubles"] == []
    says["troubles"] = {"step": {"since": 1.0, "what": "judge_candidates: [/b] no file"}}
    assert main(["status", "--json"]) == 1
    (trouble,) = json.loads(capsys.readouterr().out)["troubles"]
    assert trouble == "the cluster's watcher: judge_candidates: [/b] no file"


def test_status_ends_with_1_when_the_cluster_cannot_be_asked(ledger, no_ray, monkeypatch, capsys):
    def away():
        raise ConnectionError("nobody there")

    monkeypatch.setattr("cluster.watcher.status", away)
    assert main(["status", "--json"]) == 1
    (trouble,) = json.loads(capsys.readouterr().out)["troubles"]
    assert trouble == "the cluster's watcher: it cannot be asked: nobody there"
