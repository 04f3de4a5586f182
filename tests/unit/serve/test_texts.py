"""Texts over HTTP: the same route, in a thread, and everything odd that is sent to it."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from serve.model_server import HotRoute, ModelServer
from spt_core.answering import Cautions
from spt_core.artifacts import MANIFEST, ExportedModel, as_uri, write_bytes, write_manifest
from spt_core.model import default_policy
from spt_core.task import find
from tests.tiny_models import DRUGS, FRAUD
from tests.unit.serve.asgi import Response, ask

EXAMPLE = find(DRUGS).example
TEXT = "Aspirin may increase the effect of warfarin."


@pytest.fixture
def config(text_export: ExportedModel) -> dict[str, Any]:
    return {
        "ref": f"{DRUGS}/default@1",
        "exported": text_export.uri,
        "files": dict(text_export.files),
        "policy": default_policy(text_export).to_json(),
    }


@pytest.fixture
def server(config: dict[str, Any]) -> ModelServer:
    made = ModelServer(DRUGS)
    asyncio.run(made.reconfigure(config))
    assert made.served()["error"] == ""
    return made


def post(server: ModelServer, content: Any) -> Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return asyncio.run(ask(HotRoute(server), body))


def test_a_text_is_answered_as_the_task_says(server: ModelServer) -> None:
    response = post(server, {"text": TEXT})
    assert response.status == 200
    assert list(response.content) == list(find(DRUGS).answer)
    assert [d["name"] for d in response.content["drugs_found"]] == ["Aspirin", "warfarin"]


def test_texts_are_answered_in_order_and_as_single_ones_are(server: ModelServer) -> None:
    records = [{"text": f"{TEXT} Section {number}."} for number in range(20)]
    answers = post(server, {"records": records}).content["answers"]
    assert answers == [post(server, record).content for record in records]


def test_a_text_does_not_hold_the_event_loop(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.current is not None
    used: list[bool] = []

    def answer(_: Any) -> tuple[dict[str, Any], Cautions]:
        used.append(threading.current_thread() is threading.main_thread())
        return {}, Cautions()

    monkeypatch.setattr(server.current.answerer, "answer_with_cautions", answer)
    assert post(server, {"text": TEXT}).status == 200
    assert used == [False]


@pytest.mark.parametrize(
    ("body", "status", "fact"),
    [
        ({"text": ""}, 422, "no visible character"),
        ({"text": "\u200b\u200d"}, 422, "must hold a text"),
        ({"text": None}, 422, "it is null"),
        ({"text": "x" * 100_001}, 422, "at most 100,000 characters"),
        ({"text": "x" * 1_000_000}, 413, "1,000,000 bytes"),
        (b'{"text": "\\ud83d"}', 400, "must be JSON"),
        (b'{"text": "caf\xe9"}', 400, "must be JSON"),
        ('{"text": "text"}'.encode("utf-16"), 400, "must be JSON"),
        ({"text": TEXT, "spans": [{"start": 0, "end": 99}]}, 422, "0 <= start < end <= 44"),
        ({"text": TEXT, "dose": 3}, 422, "'dose' is none of them"),
        ({}, 422, "'text' is required"),
        ({"records": [{"text": TEXT}, {"text": " "}]}, 422, "record 1: the field 'text'"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    server: ModelServer, body: Any, status: int, fact: str
) -> None:
    response = post(server, body)
    assert response.status == status
    assert fact in response.content["detail"]


@pytest.mark.parametrize("text", ["💊", "אספירין warfarin", "a\u0000spirin", "nothing known"])
def test_odd_texts_are_answered(server: ModelServer, text: str) -> None:
    assert post(server, {"text": text}).status == 200


def test_a_model_that_misses_its_probes_is_refused(
    server: ModelServer, config: dict[str, Any], text_export: ExportedModel, tmp_path: Path
) -> None:
    uri = as_uri(tmp_path)
    for name in text_export.files:
        write_bytes(f"{uri}/{name}", text_export.read(name))
    content = json.loads(json.dumps(text_export.to_json()))
    next(figures for figures in content["probes"]["probabilities"] if figures)[0] += 0.01
    write_manifest(uri, content)
    asyncio.run(server.reconfigure(config | {"ref": "new", "exported": uri}))
    assert "reproduce the probes within 0.0001" in server.served()["error"]
    assert server.served()["ref"] == f"{DRUGS}/default@1"
    (tmp_path / MANIFEST).unlink()


def test_a_model_of_another_task_is_refused(config: dict[str, Any]) -> None:
    other = ModelServer(FRAUD)
    asyncio.run(other.reconfigure(config))
    assert f"this route serves {FRAUD}" in other.served()["error"]
