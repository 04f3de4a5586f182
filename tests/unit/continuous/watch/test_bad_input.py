"""Whatever is wrong with a source, a clock, a disk or a database ends in words of `status`."""

import asyncio
import json
import re

import pytest
from aiohttp import web

from jobs.watch import main
from spt_core.continuous.ledger import Ledger
from spt_core.continuous.report import report
from spt_core.errors import InputError
from spt_core.registry import database
from tests.unit.continuous.ledger.steps import Clock
from tests.watching import RULES, NotedJobs, Site, ask_again, pipeline, rss, running, until

pytestmark = pytest.mark.slow  # whole passes, with servers on loopback and parser processes

DAY_S = 86_400.0


def at_site(work):
    async def run():
        async with Site().up() as site:
            return await work(site)

    return asyncio.run(run())


def all_asked(ledger):
    rows = ledger.sources()
    return rows and all(row.checked_at for row in rows)


def told(tmp_path, capsys):
    """What `jobs.watch status` says, in its JSON and in its words."""
    main(["status", "--storage", str(tmp_path), "--json"])
    return json.loads(capsys.readouterr().out)


async def silent(_):
    await asyncio.sleep(30)


FAULTS = {
    "gone": lambda _: web.Response(status=404),
    "page": lambda _: web.Response(text="<html><title>Request limit</title></html>"),
    "moved": lambda _: web.Response(status=301, headers={"Location": "/fine"}),
    "limited": lambda _: web.Response(status=429, headers={"Retry-After": "7200"}),
    "silent": silent,
    "inward": lambda _: web.Response(status=302, headers={"Location": "http://10.0.0.1/"}),
    "empty": lambda _: web.Response(body=b""),
    "error": lambda _: web.Response(status=500),
}


def test_every_fault_of_a_source_is_told_with_advice_and_the_next_check(tmp_path, ledger, capsys):
    async def work(site):
        site.bodies["fine"] = rss("Capital")
        site.others |= FAULTS
        sources = [site.source(name) for name in ("fine", *FAULTS)]
        sources.append(site.source("private", url="http://192.168.7.7/feed"))
        async with running(pipeline(sources, tmp_path)):
            await until(lambda: all_asked(ledger))

    at_site(work)
    found = {source["id"]: source for source in told(tmp_path, capsys)["sources"]}
    wrong = {name: f"{s['trouble']}; {s['advice']}; {s['words']}" for name, s in found.items()}
    for name, words in {
        "gone": "it is missing: HTTP 404; look for its new address",
        "page": "Request limit.*the site blocks programs",
        "moved": "it says that it moved to http://127.0.0.1:[0-9]+/fine .*not trusted yet.*set its",
        "limited": "it limits how often it is asked: HTTP 429; set interval_s.*; in [23]",
        "silent": "it does not answer: no whole answer within 1 s; check the host",
        "inward": "it must not be asked: .*10.0.0.1.*only public",
        "empty": "the body is empty; look at it: python -m jobs.watch sources check --only empty",
        "error": "it answers with an error: HTTP 500; some want a contact",
        "private": "it must not be asked: .*192.168.7.7",
    }.items():
        assert re.search(words, wrong[name]), wrong[name]
        assert found[name]["words"].startswith("in ")
    assert (found["fine"]["state"], found["fine"]["trouble"]) == ("OK", "")
    assert (found["moved"]["state"], found["gone"]["state"]) == ("OK", "DEGRADED")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"url": "ftp://a.example/feed"}, "must start with http:// or https://"),
        ({"url": "http://[::1"}, "url must be one that can be asked"),
        (
            {"industry": "banking"},
            "industry must be one of 'financial_services', .*, however: 'banking'",
        ),
        ({"name": "first"}, "two sources have the id 'first'"),
        ({"type": "atom"}, "kind must be one of 'rss', 'html_list' or 'json_api', however: 'atom'"),
    ],
)
def test_a_source_that_could_never_be_watched_is_refused_when_it_is_added(source, sentence):
    whole = {"name": "A", "url": "https://a.example/", "type": "rss", "industry": "technology"}
    made = pipeline([], "unused", rules=())
    made.add_monitoring_source({**whole, "name": "first"})
    with pytest.raises(InputError, match=sentence):
        made.add_monitoring_source({**whole, **source})


def test_a_clock_that_goes_back_is_told_and_everything_is_asked_again(tmp_path, ledger, capsys):
    clock = Clock()

    async def work(site):
        site.bodies["a"] = rss("Capital 1")
        watching = pipeline([site.source("a")], tmp_path, clock=clock, lease_ttl_s=1e6)
        async with running(watching):
            await until(lambda: all_asked(ledger))
            site.bodies["a"] = rss("Capital 1", "Capital 2")
            clock.now_s -= 10 * DAY_S
            await until(lambda: len(ledger.items()) == 2)
            return watching.status()

    assert "it went back by 8640" in at_site(work)["troubles"]["clock"]["what"]
    report_ = told(tmp_path, capsys)
    assert any("the clock went back by 10 d at" in one for one in report_["troubles"])
    assert ledger.sources()[0].checked_at < 1.7e9 - 9 * DAY_S
    ledger.verify_audit()


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path, ledger, monkeypatch):
    set_up = database._set_up_sqlite

    def full(connection, record):
        set_up(connection, record)
        connection.execute("PRAGMA max_page_count = 1")  # no page more than there are

    async def work(site):
        site.bodies["a"] = rss("Capital " + "x" * 200_000)
        with monkeypatch.context() as patch:
            patch.setattr(database, "_set_up_sqlite", full)
            watching = pipeline([site.source("a")], tmp_path)
        async with running(watching):
            await until(lambda: watching.status()["phase"].startswith("leads"))
            yield_ = watching._leading._part.ledger._database
            whole = yield_._writer, yield_._reader
            with monkeypatch.context() as patch:
                patch.setattr(database, "_set_up_sqlite", full)
                small = database._sqlite(yield_._url)
                yield_._writer = small.execution_options(spt_write=True)
            await until(lambda: "full" in str(watching.status()["troubles"]))
            said = watching.status()["troubles"]["database"]["what"]
            assert ledger.items() == []
            yield_._writer, yield_._reader = whole
            await until(ledger.items)
            await until(lambda: "database" not in watching.status()["troubles"])
            return said

    assert "database or disk is full" in at_site(work)


def test_a_nearly_full_disk_is_told_by_status(tmp_path, ledger, monkeypatch):
    class Usage:
        free = 5 * 2**20

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    (trouble,) = report(ledger, database_url=f"sqlite:///{tmp_path}/spt.db")["troubles"]
    assert trouble == "the disk of the database is full or nearly so: 5 MB are free"


def test_a_database_that_is_away_for_a_while_is_waited_for(tmp_path, ledger, capsys):
    folder = tmp_path / "store"
    folder.mkdir()
    (tmp_path / "spt.db").rename(folder / "spt.db")
    store = Ledger(f"sqlite:///{folder}/spt.db")
    jobs = NotedJobs()

    async def work(site):
        site.bodies["a"] = rss("Capital 1")
        watching = pipeline([site.source("a")], folder, jobs=jobs, lease_ttl_s=1.0)
        async with running(watching):
            await until(lambda: all_asked(store))
            site.bodies["a"] = rss(*(f"Capital {n}" for n in range(1, 5)))
            ask_again(store)
            folder.rename(tmp_path / "away")
            await until(lambda: "database" in watching.status()["troubles"])
            said = watching.status()["troubles"]["database"]["what"]
            await asyncio.sleep(1.5)  # past the lease
            (tmp_path / "away").rename(folder)
            await until(lambda: jobs.submitted)
            return said

    assert "the database must be there and usable" in at_site(work)
    assert len(store.items()) == 4
    assert len(store.retrains()) == len(jobs.submitted) == 1
    store.verify_audit()


def test_status_says_that_a_database_cannot_be_read(tmp_path, capsys):
    (tmp_path / "spt.db").write_text("no database" * 1000)
    assert main(["status", "--storage", str(tmp_path), "--json"]) == 1
    (trouble,) = json.loads(capsys.readouterr().out)["troubles"]
    assert trouble.startswith("the database cannot be read: the database must be there and usable")


def test_sources_that_nobody_asks_are_told(tmp_path, ledger):
    async def work(site):
        site.bodies["a"] = rss("Capital")
        async with running(pipeline([site.source("a")], tmp_path)):
            await until(lambda: all_asked(ledger))

    at_site(work)
    with ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE spt_source SET next_check = next_check - 1e6")
    said = report(ledger, database_url=f"sqlite:///{tmp_path}/spt.db")
    assert said["troubles"][-1].startswith("1 sources should have been asked up to 11.")
    assert said["troubles"][-1].endswith("nobody watches")
    words = said["leader"]["words"]
    assert re.fullmatch(r"nobody watches for \d+ s: pid \d+ on .* ended or lost the lease", words)
    assert words in said["troubles"]


def test_an_industry_without_a_model_to_retrain_is_kept_and_told(tmp_path, ledger, capsys):
    async def work(site):
        site.bodies["a"] = rss("Safety standard")
        source = site.source("a", industry="manufacturing")
        async with running(pipeline([source], tmp_path, rules=())):
            await until(ledger.items)

    at_site(work)
    assert ledger.items()[0].bucket == ""
    assert told(tmp_path, capsys)["buckets"] == []


def test_a_flood_waits_for_a_person_and_is_released(tmp_path, ledger, monkeypatch, capsys):
    import dataclasses

    rules = dataclasses.replace(RULES, max_wait_days=1 / DAY_S)

    async def work(site):
        site.bodies |= {"a": rss(*(f"Capital {n}" for n in range(30))), "b": rss("x", name="b")}
        sources = [site.source("a"), site.source("b")]
        async with running(pipeline(sources, tmp_path, rules=[rules])):
            await until(ledger.retrains)

    at_site(work)
    (bucket,) = told(tmp_path, capsys)["buckets"]
    latest = bucket["retraining"]
    assert latest["state"] == "DETECTED"
    assert "a gave 30 of the 30 publications, more than its share of 50%" in latest["words"]
    monkeypatch.setenv("SPT_API_KEY", operator(ledger))
    call = ["release", latest["retrain_id"], "--storage", str(tmp_path), "--json"]
    assert main(call) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "QUEUED"


def operator(ledger):
    return ledger.add_principal("olga", ["operator"], actor="test")


TRIGGER = ("trigger", "financial_services/regulatory_compliance", "--reason", "a new rule")


def test_a_person_triggers_under_his_own_name(tmp_path, ledger, monkeypatch, capsys):
    async def work(site):
        site.bodies["a"] = rss("Capital")
        async with running(pipeline([site.source("a")], tmp_path)):
            await until(ledger.items)

    at_site(work)
    monkeypatch.setenv("SPT_API_KEY", operator(ledger))
    call = [*TRIGGER, "--storage", str(tmp_path), "--json"]
    with pytest.raises(
        InputError, match="must have a champion to start from, however: .* has none"
    ):
        main(call)
    monkeypatch.setattr("jobs.watching.require_champion", lambda *_: None)
    assert main(call) == 0
    begun = json.loads(capsys.readouterr().out)
    assert (begun["triggered_by"], begun["reason"]) == ("olga", "a new rule")
    assert (begun["state"], begun["risk_tier"]) == ("QUEUED", "high")
    with pytest.raises(InputError, match="needs publications that wait for it"):
        main(call)


def test_who_cannot_show_who_he_is_triggers_nothing(tmp_path, ledger, monkeypatch):
    call = [*TRIGGER, "--storage", str(tmp_path)]
    monkeypatch.delenv("SPT_API_KEY", raising=False)
    with pytest.raises(InputError, match="needs a principal's credential in SPT_API_KEY"):
        main(call)
    monkeypatch.setenv("SPT_API_KEY", "b2xnYQ.wrong")
    with pytest.raises(InputError, match="must be one of those of a principal"):
        main(call)
    shown = ledger.add_principal("rita", ["reviewer"], actor="test")
    monkeypatch.setenv("SPT_API_KEY", shown)
    with pytest.raises(InputError, match="role 'operator', however: 'rita' has reviewer"):
        main(call)
    monkeypatch.setenv("SPT_API_KEY", operator(ledger))
    with pytest.raises(InputError, match="must be watched for to be triggered"):
        main(call)
    assert ledger.retrains() == []


def test_a_verb_of_the_cluster_needs_one(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for verb in ("start", "stop"):
        with pytest.raises(InputError, match=f"{verb} needs a Ray cluster .* RAY_ADDRESS is not"):
            main([verb, "--storage", str(tmp_path)])
