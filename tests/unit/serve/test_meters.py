"""What becomes of requests in the sums that a replica hands to Prometheus."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from serve import meters as module
from serve.meters import MAX_VALUES, MAX_VERSIONS, METRICS, Histogram, Meters
from serve.model_server import HotRoute, ModelServer
from spt_core.task import find
from tests.tiny_models import FRAUD
from tests.unit.serve.asgi import ask


class Sink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], int] = {}
        self.histograms: dict[tuple[str, ...], list[int]] = {}

    def count(self, name: str, number: int, labels: Mapping[str, str]) -> None:
        assert set(labels) == set(METRICS[name].labels)
        key = (name, *labels.values())
        self.counts[key] = self.counts.get(key, 0) + number

    def histogram(self, name: str, value: Histogram, labels: Mapping[str, str]) -> None:
        assert set(labels) == set(METRICS[name].labels)
        self.histograms[name, *labels.values()] = list(value.counts)


def counted(*requests: Mapping[str, Any], ref: str = f"{FRAUD}/default@1") -> Sink:
    sink = Sink()

    async def add() -> None:
        meters = Meters(FRAUD, sink)
        for one in requests:
            meters.add(ref, one.get("status", 200), **usual(one))
        meters.flush()

    asyncio.run(add())
    return sink


def usual(one: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: one.get(name, ()) for name in ("answers", "cautions")}
    return {"receive_s": 0.0003, "answer_s": one.get("s", 0.002), **given}


def test_requests_are_counted_by_task_version_status_and_stage() -> None:
    sink = counted({}, {}, {"status": 422}, {"s": 9.0})
    version = f"{FRAUD}/default@1"
    assert sink.counts["spt_requests", FRAUD, version, "200"] == 3
    assert sink.counts["spt_requests", FRAUD, version, "422"] == 1
    bounds = METRICS["spt_request_seconds"].bounds
    answer = sink.histograms["spt_request_seconds", FRAUD, version, "answer"]
    assert answer[bounds.index(0.0025)] == 3
    assert answer[-1] == 1  # beyond all bounds
    receive = sink.histograms["spt_request_seconds", FRAUD, version, "receive"]
    assert receive[bounds.index(0.0005)] == 4


def test_kinds_of_cautions_are_counted_by_version() -> None:
    sink = counted({"cautions": ["missing", "outside"]}, {"cautions": ["outside"]}, {})
    by_kind = {key[1:]: n for key, n in sink.counts.items() if key[0] == "spt_input_cautions"}
    version = f"{FRAUD}/default@1"
    assert by_kind == {(version, "missing"): 1, (version, "outside"): 2}


def test_scores_and_recommendations_are_those_of_the_answers() -> None:
    answers = (
        {"fraud_probability": 0.97, "confidence": 0.97, "recommendation": "decline"},
        {"fraud_probability": 0.03, "confidence": 0.97, "recommendation": "approve"},
    )
    sink = counted({"answers": answers}, {"answers": [{"confidence": 0.5, "action": "hold"}]})
    version = f"{FRAUD}/default@1"
    scores = sink.histograms["spt_scores", FRAUD, version]
    assert (scores[0], scores[9], scores[19]) == (1, 1, 1)
    said = {key[-1]: n for key, n in sink.counts.items() if key[0] == "spt_recommendations"}
    assert said == {"decline": 1, "approve": 1, "hold": 1}


def test_words_are_few_and_sentences_are_none() -> None:
    texts = [f"word {chr(97 + n)}" for n in range(20)] + ["Lower the heat by 3.5 degrees; then ..."]
    sink = counted({"answers": [{"recommendation": text} for text in texts]})
    said = {key[-1]: n for key, n in sink.counts.items() if key[0] == "spt_recommendations"}
    assert len(said) == MAX_VALUES + 1
    assert said["other"] == 21 - MAX_VALUES


def test_old_versions_are_forgotten() -> None:
    async def add() -> Meters:
        made = Meters(FRAUD, Sink())
        for number in range(20):
            made.add(f"{FRAUD}/default@{number}", 200, receive_s=0.0, answer_s=0.0)
        return made

    assert len(asyncio.run(add())._versions) == MAX_VERSIONS


def test_what_was_handed_over_is_not_counted_again() -> None:
    sink = Sink()

    async def add() -> None:
        meters = Meters(FRAUD, sink)
        meters.add("a@1", 200, receive_s=0.0, answer_s=0.0)
        meters.flush()
        meters.flush()

    asyncio.run(add())
    assert sink.counts["spt_requests", FRAUD, "a@1", "200"] == 1


def test_a_replica_counts_answers_refusals_and_faults(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_S", 0.0)
    sink = Sink()
    server.meters = Meters(FRAUD, sink)
    record = json.dumps(dict(find(FRAUD).example)).encode()

    async def requests() -> None:
        for body in (record, b"{", record):
            await ask(HotRoute(server), body)
        await ask(HotRoute(server), b"", method="GET")
        await asyncio.sleep(0.01)

    asyncio.run(requests())
    version = f"{FRAUD}/default@1"
    assert sink.counts["spt_requests", FRAUD, version, "200"] == 2
    assert sink.counts["spt_requests", FRAUD, version, "400"] == 1
    assert sink.counts["spt_requests", FRAUD, "none", "405"] == 1
    assert sum(sink.histograms["spt_scores", FRAUD, version]) == 2


def test_counting_a_request_takes_microseconds() -> None:
    answers = ({"fraud_probability": 0.97, "confidence": 0.97, "recommendation": "decline"},)

    async def add() -> float:
        meters = Meters(FRAUD, Sink())
        start_s = time.process_time()
        for _ in range(2000):
            meters.add("a@1", 200, receive_s=0.0001, answer_s=0.002, answers=answers)
        return (time.process_time() - start_s) / 2000

    assert asyncio.run(add()) < 50e-6  # 2 on an idle core
