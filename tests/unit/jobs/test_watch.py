"""`jobs.watch`: what it says of documents on disk and of sources on a server of the test."""

import asyncio
import datetime
import gzip
import io
import json
import tarfile

import pytest
from aiohttp import web

from jobs.watch import main
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.fetch.check import check_sources
from spt_core.continuous.fetch.fetcher import FetchPolicy
from spt_core.continuous.fetch.guard import Guard
from spt_core.errors import InputError, NotFoundError
from spt_core.task import IndustryType
from tests.feed_documents import NUM_ITEMS, feed
from tests.watching import Site

NOW = datetime.datetime(2026, 3, 3, tzinfo=datetime.UTC)


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_parse_prints_one_line_for_each_document_and_looks_into_archives(tmp_path, capsys):
    (tmp_path / "a.xml").write_bytes(feed())
    (tmp_path / "b.xml.gz").write_bytes(gzip.compress(b"<html><title>No</title></html>"))
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        for name, body in (("x/one.xml", feed()), ("../two.json.gz", gzip.compress(b"{}"))):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
        link = tarfile.TarInfo("link.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert main(["parse", str(tmp_path), "--json"]) == 0
    told = lines(capsys)
    assert [line["file"].removeprefix(f"{tmp_path}/") for line in told] == [
        "a.xml",
        "b.xml.gz",
        "c.tar.gz!x/one.xml",
        "c.tar.gz!../two.json.gz",
    ]
    assert [(line["kind"], line["items"], line["markers"], line["state"]) for line in told] == [
        ("rss", NUM_ITEMS, NUM_ITEMS, "OK"),
        ("html", 0, 0, "DEGRADED"),
        ("rss", NUM_ITEMS, NUM_ITEMS, "OK"),
        ("unknown", 0, 0, "DEGRADED"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.gz", b"no gzip", "no whole gzip"),
        ("a.gz", gzip.compress(feed())[:-20], "no whole gzip"),
        ("a.tar.gz", b"no archive", "damaged"),
        ("a.gz", gzip.compress(b" " * 40 * 2**20), "larger than 16 MB"),
    ],
)
def test_a_damaged_or_swollen_file_is_degraded(tmp_path, capsys, name, content, word):
    (tmp_path / name).write_bytes(content)
    assert main(["parse", str(tmp_path / name), "--json"]) == 0
    (line,) = lines(capsys)
    assert line["state"] == "DEGRADED"
    assert word in line["reason"]


def test_a_path_that_is_not_there_is_a_mistake(tmp_path):
    with pytest.raises(InputError, match="a path must be a readable file or folder"):
        main(["parse", str(tmp_path / "none.xml")])


def answers(http):
    """A server with every fault that a list of sources can have."""
    match http.path:
        case "/ok" | "/new":
            return web.Response(body=feed())
        case "/moved":
            return web.Response(status=301, headers={"Location": "/new"})
        case "/html":
            return web.Response(text="<html><title>Request limit</title></html>")
        case "/limited":
            return web.Response(status=429, headers={"Retry-After": "7200"})
        case "/inward":
            return web.Response(status=302, headers={"Location": "http://10.0.0.1/"})
        case "/empty":
            return web.Response(body=b"")
        case "/silent":
            return asyncio.sleep(30)
        case _:
            return web.Response(status=404)


def findings(*paths):
    async def handle(http):
        made = answers(http)
        return await made if asyncio.iscoroutine(made) else made

    async def run():
        runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sources = [
            Source(
                id=path,
                name="",
                industry=IndustryType.TECHNOLOGY,
                kind="rss",
                url=f"http://127.0.0.1:{runner.addresses[0][1]}/{path}",
            )
            for path in paths
        ]
        policy = FetchPolicy(
            guard=Guard(allow_networks=("127.0.0.1/32",)),
            host_at_a_time=20,
            host_pause_s=0.0,
            deadline_s=1.0,
        )
        try:
            return await check_sources(sources, policy, now=NOW, secrets={})
        finally:
            await runner.cleanup()

    return asyncio.run(run())


@pytest.mark.slow
def test_check_says_what_is_wrong_with_each_source():
    found = findings("ok", "moved", "gone", "html", "limited", "inward", "empty", "silent")
    assert [(f.id, f.verdict) for f in found] == [
        ("ok", "ok"),
        ("moved", "moved"),
        ("gone", "missing"),
        ("html", "web page"),
        ("limited", "rate limited"),
        ("inward", "refused"),
        ("empty", "degraded"),
        ("silent", "no answer"),
    ]
    told = {f.id: f"{f.reason} {f.advice} {f.next_reason}" for f in found}
    assert found[0].num_items == NUM_ITEMS
    assert "/new" in told["moved"]
    assert "'Request limit'" in told["html"]
    assert "Retry-After 2 h" in told["limited"]
    assert "10.0.0.1" in told["inward"]
    assert "within 1 s" in told["silent"]


def test_the_command_shows_a_private_address_and_ends_with_1(tmp_path, capsys):
    file = tmp_path / "watch.toml"
    file.write_text(
        '[[source]]\nid = "inside"\nname = "I"\nindustry = "technology"\nkind = "rss"\n'
        'url = "http://10.1.2.3/feed"\n'
    )
    assert main(["sources", "check", "--sources", str(file), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["sources"]
    assert finding["verdict"] == "refused"
    assert "10.1.2.3" in finding["reason"]
    assert "--allow-network" in finding["advice"]


KEYED = """\
[[source]]
id = "{0}"
name = "I"
industry = "technology"
kind = "rss"
url = "http://127.0.0.1:{1}/{0}"
secret_header = "X-Key"
"""


@pytest.mark.slow
def test_a_source_is_checked_with_its_key_which_goes_to_its_own_origin_only(
    tmp_path, capsys, monkeypatch
):
    asked = []

    def away(http):
        asked.append(("away", http.headers.get("X-Key")))
        return web.Response(status=302, headers={"Location": other.source("feed").url})

    def elsewhere(http):
        asked.append(("elsewhere", http.headers.get("X-Key")))
        return web.Response(body=feed())

    def closed(http):
        is_known = http.headers.get("X-Key") == "s3cret"
        return web.Response(body=feed()) if is_known else web.Response(status=401)

    site, other, file = Site(), Site(), tmp_path / "watch.toml"
    site.others |= {"away": away, "closed": closed}
    site.bodies["open"] = feed()
    other.others["feed"] = elsewhere

    async def check(name, secret=""):
        monkeypatch.setenv(f"SPT_SECRET_{name.upper()}", secret)
        file.write_text(KEYED.format(name, site.port))
        words = ["sources", "check", "--sources", str(file), "--json"]
        code = await asyncio.to_thread(main, [*words, "--allow-network", "127.0.0.1/32"])
        (finding,) = json.loads(capsys.readouterr().out)["sources"]
        return code, finding["verdict"], finding["advice"]

    async def run():
        async with site.up(), other.up():
            assert await check("away", "s3cret") == (0, "ok", "")
            assert asked == [("away", "s3cret"), ("elsewhere", None)]
            assert await check("closed", "s3cret") == (0, "ok", "")
            code, verdict, advice = await check("closed")
            assert (code, verdict) == (1, "failed")
            assert "X-Key, and none was sent: set SPT_SECRET_CLOSED" in advice
            code, verdict, advice = await check("closed", "wr0ng")
            assert (code, verdict) == (1, "failed")
            assert "it refuses the key in SPT_SECRET_CLOSED" in advice
            assert "wr0ng" not in advice
            code, verdict, advice = await check("open")
            assert (code, verdict) == (0, "ok")
            assert "set SPT_SECRET_OPEN" in advice

    asyncio.run(run())


def test_a_source_that_is_not_listed_is_a_mistake():
    with pytest.raises(NotFoundError, match="the nearest is 'finra_rules'"):
        main(["sources", "check", "--only", "finra_rule"])
    with pytest.raises(InputError, match="allow_networks must hold networks"):
        main(["sources", "check", "--allow-network", "home"])
