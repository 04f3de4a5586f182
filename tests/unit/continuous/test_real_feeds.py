"""Real pages of public bodies and other parsers' fixtures, where SPT_DATA_HOME has them."""

import collections
import gzip
import json
import re
import tarfile
from pathlib import Path

import pytest

from spt_core.continuous.feeds.documents import documents, parse_unknown
from spt_core.continuous.feeds.kinds import ON_DISK, parse
from spt_core.continuous.feeds.pool import ParserPool
from spt_core.continuous.feeds.rss import parse_strict
from spt_core.continuous.feeds.values import Parsed, Poll
from tests.bench.bench_feed_documents import complaint, count_by_feedparser
from tests.feed_documents import fixtures

DOCUMENTS = "regulations-gov/regulations_dot_gov_v4_documents_updated_within"


@pytest.fixture(scope="module")
def pool():
    with ParserPool(size=1) as made:
        yield made


@pytest.fixture
def regulatory(data_home):
    folder = Path(data_home) / "feeds" / "regulatory"
    if not folder.is_dir():
        pytest.skip("SPT_DATA_HOME has no feeds/regulatory")
    return folder


def distinct(body, tag):
    """The different entries in the raw bytes."""
    return set(re.findall(rf"(?s)<{tag}[ >].*?</{tag}>".encode(), body))


def test_every_filing_of_edgar_has_one_key_of_its_own_on_every_page(regulatory):
    known = collections.defaultdict(set)
    for path in sorted((regulatory / "sec-edgar").glob("*.xml.gz")):
        body = gzip.decompress(path.read_bytes())
        parsed = parse_strict(body, identity="guid+link")
        assert (parsed.state, len(parsed.items), parsed.markers) == ("OK", 100, 100)
        assert len({item.key for item in parsed.items}) == len(distinct(body, "entry"))
        for item in parsed.items:
            known[item.key].add(item.content_sha)
    assert len(known) > 1500
    assert {len(shas) for shas in known.values()} == {1}  # pages overlap; no key means two things


def test_pacer_gives_what_its_expected_parse_has_and_nothing_else(regulatory):
    num_expected = 0
    with tarfile.open(regulatory / "us-courts-pacer-rss.tar.gz") as archive:
        bodies = {m.name: archive.extractfile(m).read() for m in archive.getmembers() if m.isreg()}
    for name in sorted(name for name in bodies if name.endswith(".xml")):
        parsed = parse(bodies[name], "", ON_DISK, Poll(url=ON_DISK.url))
        assert (parsed.state, len(parsed.items)) == ("OK", parsed.markers)
        assert len({item.key for item in parsed.items}) == len(distinct(bodies[name], "item"))
        expected = {
            (case["docket_number"], " ".join(part.split()))
            for case in json.loads(bodies[name.replace(".xml", ".json")])
            for entry in case["docket_entries"]
            for part in entry["short_description"].split(" AND ")  # entries of one time are joined
        }
        assert {docket_entry(item) for item in parsed.items} - {UNREAD} == expected, name
        num_expected += len(expected)
    assert num_expected > 800


def docket_entry(item):
    """The docket number, without judges' initials, and the event of an entry."""
    number = re.match(r"(\d+:)?\d\d-(?:[a-z~]+-)?\d+", item.title)[0]
    event = re.search(r"\[(.*)\]", item.text, re.DOTALL)[1]
    return number, " ".join(event.split())


# The parser that made the expectation skips this docket number, "5:18-~gr-00001".
UNREAD = ("5:18-~gr-00001", "Order on Motion / Application / Petition for Miscellaneous Relief")


@pytest.mark.parametrize(
    ("place", "kind", "count"),
    [
        ("federal-register/federal_register.json", "json_api", 5),
        ("federal-register/regulations_docs.json", "json_api", 25),
        ("federal-register/congress_bills.json", "json_api", 3),
        ("fda/ucm308307_res_enforcement.jsonl.gz", "json_api", 72),
        (f"{DOCUMENTS}_0.json.gz", "json_api", 229),
        (f"{DOCUMENTS}_1.json.gz", "json_api", 244),
        (f"{DOCUMENTS}_2.json.gz", "json_api", 250),
        (f"{DOCUMENTS}_3.json.gz", "json_api", 155),
    ],
)
def test_api_answers_give_every_entry_once(regulatory, pool, place, kind, count):
    ((_, body),) = documents(regulatory / place)
    parsed = parse_unknown(body, pool)
    assert (parsed.state, parsed.kind, len(parsed.items)) == ("OK", kind, count)
    assert len({item.key for item in parsed.items}) == count


def test_the_others_say_what_they_are_and_none_is_silently_empty(regulatory, pool):
    for name, body in documents(regulatory):
        parsed = body if isinstance(body, Parsed) else parse_unknown(body, pool)
        assert parsed.items or parsed.state == "DEGRADED", name
        if "spl/" in name or "2016-04-15" in name:
            assert "XML but no feed" in parsed.reason
        if name.endswith("comments_1.json.gz"):
            assert "Invalid filter field name" in parsed.reason


def test_a_sample_of_the_fixtures_loses_nothing_silently(data_home, pool):
    folder = Path(data_home) / "feeds" / "robustness"
    if not folder.is_dir():
        pytest.skip("SPT_DATA_HOME has no feeds/robustness")
    wrong = {}
    for document in list(fixtures(folder))[::23]:
        parsed = parse_unknown(document.body, pool)
        known = document.expected is not None or parsed.state == "DEGRADED"
        count = None if known else count_by_feedparser(document.body)
        wrong[document.name] = complaint(document, parsed, count)
    assert not {name: what for name, what in wrong.items() if what}
    assert len(wrong) > 140
