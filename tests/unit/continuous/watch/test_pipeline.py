"""The pipeline at work on a site of the test: items, triggers, jobs, leading, and its end."""

import asyncio
import dataclasses
from pathlib import Path

import pytest
import sqlalchemy as sa
from aiohttp import web

from spt_core.continuous import ContinuousTrainingPipeline, WatchOptions
from spt_core.continuous.feeds.json_api import NVD
from spt_core.continuous.ledger import Item, Ledger, SourceResult, fence_of
from spt_core.continuous.poll import Poller
from spt_core.continuous.registration import source_row
from spt_core.errors import ConflictError, InputError
from spt_core.task import IndustryType
from tests.watching import (
    BUCKET,
    FINANCE,
    MODEL,
    RULES,
    NotedJobs,
    Site,
    ask_again,
    explained,
    options,
    pipeline,
    rss,
    running,
    until,
)

pytestmark = pytest.mark.slow  # whole passes, with servers on loopback and parser processes


def all_asked(ledger):
    rows = ledger.sources()
    return rows and all(row.checked_at for row in rows)


def at_site(work):
    """Run the test's coroutine with a site that is up."""

    async def run():
        async with Site().up() as site:
            return await work(site)

    return asyncio.run(run())


def test_the_specifications_snippet_watches(tmp_path, monkeypatch, ledger):
    monkeypatch.chdir(tmp_path)

    async def work(site):
        site.bodies["news"] = rss("Capital rules")
        pipeline = ContinuousTrainingPipeline(options=options(tmp_path))
        pipeline.add_monitoring_source(
            {
                "name": "SEC_Updates",
                "url": f"http://127.0.0.1:{site.port}/news",
                "type": "rss",
                "industry": IndustryType.FINANCIAL_SERVICES,
            }
        )
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pipeline.start_monitoring(), 3)
        assert pipeline.status()["phase"] == "stopped"

    at_site(work)
    (item,) = ledger.items()
    assert (item.source_id, item.bucket) == ("sec_updates", BUCKET)
    assert not ledger.leader().is_alive


def test_without_options_everything_is_below_the_working_folder():
    made = ContinuousTrainingPipeline()
    assert made.sources == ()
    assert WatchOptions().database == f"sqlite:///{Path.cwd()}/spt_storage/spt.db"
    with pytest.raises(InputError, match="there must be a source to watch"):
        asyncio.run(made.start_monitoring())
    with pytest.raises(InputError, match="needs a database"):
        _ = WatchOptions(storage="s3://bucket/spt").database


def test_publications_are_scored_ingested_and_begin_one_retraining(tmp_path, ledger):
    jobs = NotedJobs()

    async def work(site):
        site.bodies |= {
            "a": rss("Capital 1", "Capital 2", "Weather"),
            "b": rss("capital", name="b"),
        }
        watching = pipeline([site.source("a"), site.source("b")], tmp_path, jobs=jobs)
        async with running(watching):
            await until(lambda: len(ledger.items()) == 4)
            assert jobs.submitted == []
            site.bodies["b"] = rss("capital", "Capital 4", name="b")
            ask_again(ledger)
            await until(lambda: jobs.submitted)
            await until(lambda: ledger.retrains()[0].state == "SUBMITTED")
            ask_again(ledger)
            num_asked = len(site.asked)
            await until(lambda: len(site.asked) >= num_asked + 2)
            return watching

    watching = at_site(work)
    (begun,) = ledger.retrains()
    ((name, payload),) = jobs.submitted
    assert name == begun.submission_id == f"retrain-{BUCKET}-1-a1-{begun.manifest_sha[:12]}"
    assert (payload["retrain_id"], begun.risk_tier) == (begun.retrain_id, "high")
    assert begun.reason.startswith("threshold reached: 4 of 4 publications")
    scores = {item.title: (item.score, item.bucket) for item in ledger.items()}
    assert scores["Weather"] == (0.0, "")
    assert scores["Capital 4"] == (2.0, BUCKET)
    taken = ledger.items(trigger_id=begun.retrain_id)
    assert len(taken) == 4
    assert explained(taken[0])["reasons"] == [
        {"what": "keyword", "name": "capital", "where": "title", "adds": 2.0}
    ]
    assert explained(taken[0])["model"] == MODEL
    counted = watching.meters.values
    assert counted["spt_watch_items"]["new"] == 5
    assert counted["spt_watch_polls"]["not_modified"] >= 1
    ledger.verify_audit()


def test_a_revision_counts_again(tmp_path, ledger):
    async def work(site):
        site.bodies["a"] = rss("Capital")
        async with running(pipeline([site.source("a")], tmp_path)):
            await until(ledger.items)
            site.bodies["a"] = rss("Capital").replace(
                b"<category>", b"<description>x</description><category>"
            )
            ask_again(ledger)
            await until(lambda: len(ledger.items()) == 2)

    at_site(work)
    assert [item.rev for item in ledger.items()] == [1, 2]
    assert [item.rev for item in ledger.pending(BUCKET)] == [2]


def test_a_walk_through_pages_that_is_cut_off_is_made_up_for(tmp_path, ledger):
    """What was read is known then, and older pages are asked all the same."""
    now = {"total": 2, "status": 500}

    def answer(request):
        start, total = int(request.query.get("startIndex", "0")), now["total"]
        if start >= 4 and now["status"] != 200:
            return web.Response(status=now["status"])
        found = [{"cve": {"id": f"CVE-{n}"}} for n in range(total)][::-1][start : start + 2]
        return web.json_response({"totalResults": total, "vulnerabilities": found})

    async def asked_again(condition):
        ask_again(ledger)
        await until(condition)

    async def work(site):
        site.others["api"] = answer
        source = site.source("api", kind="json_api", json=NVD)
        async with running(pipeline([source], tmp_path)):
            await until(lambda: len(ledger.items()) == 2)
            now["total"] = 12
            await asked_again(lambda: ledger.sources()[0].state == "DEGRADED")
            assert len(ledger.items()) == 6
            now["total"] = 14  # newer ones come meanwhile
            await asked_again(lambda: len(ledger.items()) == 8)
            assert ledger.sources()[0].state == "DEGRADED"
            now["status"] = 200
            await asked_again(lambda: ledger.sources()[0].state == "OK")
            num_asked = len(site.asked)
            now["total"] = 15
            await asked_again(lambda: len(ledger.items()) == 15)
            assert len(site.asked) <= num_asked + 3

    at_site(work)
    assert {item.title for item in ledger.items()} == {f"CVE-{n}" for n in range(15)}


def test_a_revision_that_goes_back_after_a_long_answer_is_kept(tmp_path, ledger, monkeypatch):
    monkeypatch.setattr("spt_core.continuous.leading.REMEMBERED_ITEMS", 3)

    async def work(site):
        short, changed = rss("Capital"), rss("Capital", "2", "3", "4")
        site.bodies["a"] = short
        async with running(pipeline([site.source("a")], tmp_path)):
            await until(ledger.items)
            site.bodies["a"] = changed.replace(b"<category>Rule", b"<category>Draft", 1)
            ask_again(ledger)
            await until(lambda: len(ledger.items()) == 5)
            site.bodies["a"] = short
            ask_again(ledger)
            await until(lambda: len(ledger.items()) == 6)

    at_site(work)
    assert [item.rev for item in ledger.items() if item.title == "Capital"] == [1, 2, 3]


def test_a_host_that_hangs_keeps_no_other_waiting(tmp_path, ledger):
    async def hang(_):
        await asyncio.sleep(60)

    async def work(site):
        async with Site().up() as other:
            hanging = [site.source(f"a{n}") for n in range(40)]
            site.others |= {source.id: hang for source in hanging}
            other.bodies["z"] = rss("Capital")
            policy = dataclasses.replace(options("").policy, host_at_a_time=2, deadline_s=5.0)
            async with running(pipeline([*hanging, other.source("z")], tmp_path, policy=policy)):
                await until(ledger.items, seconds=4.0)
            assert len(site.asked) == 2

    at_site(work)


def test_one_who_stands_by_with_other_sources_changes_nothing(tmp_path, ledger):
    async def work(site):
        site.bodies |= {"a": rss("Capital"), "b": rss("Capital", name="b")}
        first = pipeline([site.source("a")], tmp_path)
        async with running(first):
            await until(ledger.items)
            second = pipeline([site.source("b")], tmp_path)
            async with running(second):
                await until(lambda: second.status()["phase"].startswith("stands by"))
                (source,) = ledger.sources()
                assert (source.source_id, source.state) == ("a", "OK")
                first.stop()
                await until(lambda: len(ledger.items()) == 2)
        assert {s.source_id: s.state for s in ledger.sources()} == {"a": "PAUSED", "b": "OK"}

    at_site(work)


def test_a_second_watcher_stands_by_and_takes_over(tmp_path, ledger):
    async def work(site):
        site.bodies["a"] = rss("Capital")
        first = pipeline([site.source("a")], tmp_path, lease_ttl_s=1.0)
        second = pipeline([site.source("a")], tmp_path, lease_ttl_s=1.0)
        async with running(second):
            async with running(first):
                phases = lambda: sorted(p.status()["phase"].split()[0] for p in (first, second))  # noqa: E731
                await until(lambda: phases() == ["leads", "stands"])
                leader, other = sorted((first, second), key=lambda p: p.status()["phase"])
                assert "holds the lease 'watcher'" in other.status()["phase"]
                if leader is second:
                    second.stop()
                    await until(lambda: first.status()["phase"] == "leads with epoch 2")
                    return
            await until(lambda: second.status()["phase"] == "leads with epoch 2")

    at_site(work)
    assert ledger.leader().epoch == 2


def steal(ledger):
    with ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE spt_lease SET owner = 'other:1:1', epoch = epoch + 1")
        connection.exec_driver_sql("UPDATE spt_lease SET expires_s = 0")


def test_a_leader_who_lost_the_lease_writes_nothing_and_leads_anew(tmp_path, ledger):
    async def work(site):
        site.bodies["a"] = rss("Capital 1")
        watching = pipeline([site.source("a")], tmp_path)
        async with running(watching):
            await until(ledger.items)
            await asyncio.to_thread(steal, ledger)
            site.bodies["a"] = rss("Capital 1", "Capital 2")
            await asyncio.to_thread(ask_again, ledger)
            await until(lambda: len(ledger.items()) == 2)
            return watching.status()

    assert at_site(work)["epoch"] == 3


def test_a_job_system_that_is_away_is_told_and_tried_again(tmp_path, ledger):
    jobs = NotedJobs()
    jobs.error = "No available agent to submit job"

    async def work(site):
        site.bodies["a"] = rss(*(f"Capital {n}" for n in range(4)))
        watching = pipeline([site.source("a")], tmp_path, jobs=jobs)
        async with running(watching):
            told = await until(lambda: watching.status()["troubles"].get("jobs"))
            assert "No available agent" in told["what"]
            jobs.error = ""
            await until(lambda: jobs.submitted)
            await until(lambda: "jobs" not in watching.status()["troubles"])

    at_site(work)
    assert [r.state for r in ledger.retrains()] == ["SUBMITTED"]


def test_steps_are_called_with_the_fence_and_one_that_fails_is_told(tmp_path, ledger):
    seen = []

    def gate(store, fence):
        seen.append((store.now_s() > 0, fence.name))

    def roll_out(store, fence):
        raise KeyError("no such model")

    async def work(site):
        site.bodies["a"] = rss("Capital")
        watching = pipeline([site.source("a")], tmp_path, steps=(roll_out, gate))
        async with running(watching):
            await until(lambda: len(seen) > 2)
            return watching.status()

    assert at_site(work)["troubles"]["step"]["what"] == "roll_out: KeyError: 'no such model'"
    assert set(seen) == {(True, "watcher")}


def test_what_waits_too_long_begins_a_retraining_without_anything_new(tmp_path, ledger):
    rules = dataclasses.replace(RULES, max_wait_days=1 / 86_400)

    async def work(site):
        site.bodies["a"] = rss("Capital")
        async with running(pipeline([site.source("a")], tmp_path, rules=[rules])):
            await until(ledger.retrains)

    at_site(work)
    assert ledger.retrains()[0].reason.startswith("time limit reached: 1 of 4")


def test_sources_that_are_dropped_are_paused_and_come_back(tmp_path, ledger):
    async def work(site):
        site.bodies |= {name: rss("Capital", name=name) for name in "ab"}
        for names, state in (("ab", "OK"), ("a", "PAUSED"), ("ab", "OK")):
            async with running(pipeline([site.source(name) for name in names], tmp_path)):
                await until(lambda wanted=state: state_of("b") == wanted)

    def state_of(name):
        return next((row.state for row in ledger.sources() if row.source_id == name), None)

    at_site(work)


def test_a_change_of_what_is_watched_for_is_in_the_audit_log(tmp_path, ledger):
    async def work(site):
        for rules in (RULES, RULES, dataclasses.replace(RULES, trigger_threshold=5)):
            made = pipeline([site.source("a")], tmp_path, rules=[rules], actor="olga")
            async with running(made):
                await until(lambda made=made: made.status()["phase"].startswith("leads"))

    at_site(work)
    entries = [entry for entry in ledger.audit() if entry.event == "bucket.configured"]
    assert [(e.actor, e.body["body"]["monitoring"]["trigger_threshold"]) for e in entries] == [
        ("olga", 4),
        ("olga", 5),
    ]


def test_a_source_that_breaks_us_does_not_stop_the_others(tmp_path, ledger, monkeypatch):
    whole = Poller.poll

    async def poll(self, row, source, now, weekly):
        if source.id == "bad":
            raise ZeroDivisionError("a bug")
        return await whole(self, row, source, now, weekly)

    monkeypatch.setattr(Poller, "poll", poll)

    async def work(site):
        site.bodies["a"] = rss("Capital")
        async with running(pipeline([site.source("bad"), site.source("a")], tmp_path)):
            await until(lambda: all_asked(ledger))

    at_site(work)
    bad = {row.source_id: row for row in ledger.sources()}["bad"]
    assert bad.trouble == "our own fault: ZeroDivisionError: a bug"
    assert len(ledger.items()) == 1


def test_an_answer_that_cannot_be_kept_does_not_stop_the_others(tmp_path, ledger, monkeypatch):
    ingest = Ledger.ingest

    def refuse(self, fence, results, decide):
        if any(item.title == "poison" for result in results for item in result.items):
            raise InputError("an item must be clean, however: it is not")
        return ingest(self, fence, results, decide)

    monkeypatch.setattr(Ledger, "ingest", refuse)

    async def work(site):
        site.bodies |= {"a": rss("Capital"), "bad": rss("poison", name="b")}
        made = pipeline([site.source("bad"), site.source("a")], tmp_path, batch_wait_s=0.5)
        async with running(made):
            await until(lambda: all_asked(ledger))
            return made.status()

    assert "bad: an item must be clean" in at_site(work)["troubles"]["ingest"]["what"]
    bad = {row.source_id: row for row in ledger.sources()}["bad"]
    assert (bad.etag, bad.body_sha) == ("", "")
    assert bad.trouble.startswith("its items could not be kept: an item must be clean")
    assert [item.title for item in ledger.items()] == ["Capital"]


def test_sources_cannot_be_added_while_it_runs(tmp_path):
    async def work(site):
        made = pipeline([site.source("a")], tmp_path)
        async with running(made):
            await until(lambda: made.status()["phase"].startswith("leads"))
            with pytest.raises(ConflictError, match="before monitoring starts"):
                made.add_monitoring_source(site.source("b"))
            with pytest.raises(ConflictError, match="runs once at a time"):
                await made.start_monitoring()

    at_site(work)


def test_only_what_is_not_known_is_scored(ledger):
    row = source_row(Site(port=80).source("a"))
    ledger.upsert_sources([row], actor="olga")
    items = tuple(Item(source_id="a", item_key=str(n), content_sha="1") for n in range(900))
    with ledger.lead() as lease:
        ledger.ingest(fence_of(lease), [SourceResult(source=row, items=items)], lambda _: None)
    changed = dataclasses.replace(items[5], content_sha="2")
    new = Item(source_id="a", item_key="new", content_sha="1")
    (left,) = ledger.fresh([SourceResult(source=row, items=(*items[:5], changed, new))])
    assert left.items == (changed, new)


def test_a_flood_does_not_hide_what_others_publish(ledger):
    rows = [source_row(Site(port=80).source(name)) for name in "ab"]
    ledger.upsert_sources(rows, actor="olga")
    of_a, of_b = (
        [
            Item(source_id=name, item_key=str(n), content_sha="1", bucket=BUCKET, detected_at=n + 1)
            for n in range(number)
        ]
        for name, number in (("a", 1005), ("b", 1))
    )
    with ledger.lead() as lease:
        answers = [
            SourceResult(source=row, items=tuple(items))
            for row, items in zip(rows, (of_a, of_b), strict=True)
        ]
        ledger.ingest(fence_of(lease), answers, lambda _: None)
    waiting = ledger.pending(BUCKET)
    assert [item.source_id for item in waiting].count("a") == 1000
    assert max(int(item.item_key) for item in waiting) == 999
    assert "b" in {item.source_id for item in waiting}


def test_the_weekly_rate_leaves_out_the_first_answer(ledger, tmp_path):
    row = source_row(Site(port=80).source("a"))
    ledger.upsert_sources([row], actor="olga")
    now = ledger.now_s()
    with ledger.lead() as lease:
        for n, days in enumerate((14, 14, 14, 10, 3, 1)):
            item = Item(
                source_id="a", item_key=str(n), content_sha="1", detected_at=now - days * 86_400
            )
            ledger.ingest(
                fence_of(lease), [SourceResult(source=row, items=(item,))], lambda _: None
            )
    assert ledger.weekly() == {"a": 2.0}
    with ledger._database.write() as connection:
        connection.execute(sa.text("UPDATE spt_item SET detected_at = :now"), {"now": now})
    assert ledger.weekly() == {}


def test_the_industries_of_the_sources_decide_what_is_watched_for():
    made = ContinuousTrainingPipeline({FINANCE.value: {"keywords": ["capital"]}})
    assert made.monitoring == ()
    made.add_monitoring_source({"name": "A", "url": "https://a.example/", "industry": "technology"})
    assert [one.industry for one in made.monitoring] == ["technology"]
