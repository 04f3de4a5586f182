"""The demo's parts that need no Ray: the authority's site, the small base, the planted model."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from jobs.demo.champion import small_base
from jobs.demo.job import mislabelled
from jobs.demo.site import FEEDS, QUESTION, TOPIC, Site, first_wave, second_wave
from jobs.demo.story import MONITORING
from spt_core.artifacts import FACTS
from spt_core.continuous.feeds.documents import parse_document
from spt_core.continuous.feeds.kinds import ON_DISK
from spt_core.continuous.feeds.pool import ParserPool
from spt_core.continuous.feeds.values import Poll
from spt_core.families.text.bases import load_base
from tests.kept_exports import kept_export
from tests.publications import artifact

pytestmark = pytest.mark.slow


def get(site, feed, **headers):
    url = f"http://127.0.0.1:{site.port}/{feed}"
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10)


def test_the_site_lists_what_was_published_and_knows_what_is_known():
    with Site() as site:
        assert site.publish(first_wave()) == 24
        with get(site, FEEDS[0]) as response:
            tag, body = response.headers["ETag"], response.read()
        with pytest.raises(urllib.error.HTTPError, match="304"):
            get(site, FEEDS[0], **{"If-None-Match": tag})
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(site, "elsewhere")
        site.publish(first_wave())
        with get(site, FEEDS[0], **{"If-None-Match": tag}) as response:
            assert response.headers["ETag"] != tag
    with ParserPool(size=1) as pool:
        parsed = parse_document(body, "", ON_DISK, Poll(url="http://x.example/"), pool)
    assert (len(parsed.items), parsed.state) == (8, "OK")
    assert all(item.categories == (TOPIC,) for item in parsed.items)
    found = [f"{item.title} {item.text}" for item in parsed.items]
    assert all(any(word in text for word in MONITORING.keywords) for text in found)


def test_no_two_feeds_reach_the_threshold_without_the_third():
    cap = MONITORING.trigger_threshold * MONITORING.max_source_share
    for wave in (first_wave(), second_wave()):
        counts = [min(len(one), cap) for one in wave.values()]
        assert sum(sorted(counts)[1:]) < MONITORING.trigger_threshold <= sum(counts)
    assert QUESTION not in str(first_wave())


def test_the_small_base_is_the_same_each_time(tmp_path):
    base = small_base(str(tmp_path))
    assert small_base(str(tmp_path)).files == base.files
    assert load_base(base.uri).name == "demo"


def test_the_planted_model_names_its_classes_wrongly(tmp_path):
    model = kept_export(artifact(tmp_path, 0))
    planted = mislabelled(model)
    was, is_ = (json.loads(one.read(FACTS))["classes"] for one in (model, planted))
    assert (sorted(was), was != is_) == (sorted(is_), True)
