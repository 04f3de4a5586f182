"""What a model's route answers to good and bad requests."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import pytest

from serve import model_server
from serve.model_server import HotRoute, ModelServer
from serve.problems import Problem
from spt_core.task import MAX_BODY_BYTES, find
from tests.tiny_models import FRAUD
from tests.unit.serve.asgi import Response, ask

EXAMPLE = dict(find(FRAUD).example)


def post(server: ModelServer, content: Any, **options: Any) -> Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return asyncio.run(ask(HotRoute(server), body, **options))


def with_text(field: str, text: str) -> bytes:
    return json.dumps(EXAMPLE | {field: "@"}).replace('"@"', text).encode()


def refused(response: Response, status: int) -> str:
    assert response.status == status, response
    assert response.headers["content-type"] == "application/problem+json"
    assert response.content.keys() == {"type", "title", "status", "detail"}
    assert response.content["status"] == status
    assert len(response.content["detail"]) < 400
    return response.content["detail"]


def test_a_record_is_answered_as_the_task_says(server: ModelServer) -> None:
    response = post(server, EXAMPLE)
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-model-version"] == f"{FRAUD}/default@1"
    assert response.content.keys() == find(FRAUD).answer.keys()


def test_records_are_answered_in_order_and_as_single_ones_are(server: ModelServer) -> None:
    records = [EXAMPLE | {"amount": amount} for amount in range(1, 41)]
    answers = post(server, {"records": records}).content["answers"]
    alone = [post(server, record).content for record in records]
    found = [a["fraud_probability"] for a in answers]
    assert found == pytest.approx([a["fraud_probability"] for a in alone], abs=2e-6)


def test_windows_may_be_nested_dotted_null_or_absent(server: ModelServer) -> None:
    nested = post(server, EXAMPLE | {"account": {"count_1d": 3}})
    dotted = post(server, EXAMPLE | {"account.count_1d": 3})
    assert nested.content == dotted.content
    null = post(server, EXAMPLE | {"account.count_1d": None})
    assert null.content == post(server, EXAMPLE).content


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"amount": None}, "'amount' is required, however: it is null"),
        ({"amuont": 3}, "'amuont' is none of them; the nearest is 'amount'"),
        ({"amount": -1}, "at least 0, however: -1"),
        ({"amount": 1e39}, "at most"),
        ({"amount": "twelve"}, "a number, however: 'twelve'"),
        ({"amount": True}, "a number, however: true"),
        ({"amount": [1]}, "a number, however: a list"),
        ({"time": "yesterday"}, "ISO 8601"),
        ({"time": 1e300}, "seconds since 1970"),
        ({"merchant": ["fuel"]}, "a text, a number or true/false"),
        ({"amount": {"value": 3}}, "comes twice|required"),
        ({"account.count_1d": 1, "account": {"count_1d": 2}}, "comes twice"),
        ({"": 1}, "'' is none of them"),
        ({"сумма": 1}, "'сумма' is none of them"),
    ],
)
def test_a_bad_field_is_named_with_its_rule(
    server: ModelServer, change: dict[str, Any], fact: str
) -> None:
    assert re.search(fact, refused(post(server, EXAMPLE | change), 422))


def test_a_missing_field_is_named(server: ModelServer) -> None:
    record = {k: v for k, v in EXAMPLE.items() if k != "merchant"}
    assert "'merchant' is required, however: it is missing" in refused(post(server, record), 422)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 400, "1.", "'a'"])
def test_a_number_that_json_or_a_double_does_not_have_is_no_json(
    server: ModelServer, text: str
) -> None:
    assert "must be JSON" in refused(post(server, with_text("amount", text)), 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"{",
        b"amount=3",
        b"{1: 2}",
        b"\xff\xfe{\x00}\x00",
        '{"amount": 1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"amount": 1}',
        b'{"amount": "\\ud800"}',
        b"\x1f\x8b\x08\x00zipped",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_json_is_refused(server: ModelServer, body: bytes) -> None:
    assert "must be JSON" in refused(post(server, body), 400)


@pytest.mark.parametrize("body", [[], [EXAMPLE], 3, "text", None, True])
def test_json_that_is_no_object_is_refused(server: ModelServer, body: Any) -> None:
    assert "no JSON object" in refused(post(server, body), 422)


@pytest.mark.parametrize("depth", [10, 500, 1020])
def test_deep_nesting_is_refused(server: ModelServer, depth: int) -> None:
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    assert "nest" in refused(post(server, deep), 422)
    lists = with_text("amount", "[" * depth + "]" * depth)
    assert "a number, however: a list" in refused(post(server, lists), 422)


def test_a_wide_and_deep_record_costs_no_time(server: ModelServer) -> None:
    leaves = b",".join(b'"k%d":1' % i for i in range(80_000))
    body = b'{"a":' * 7 + b"{" + leaves + b"}" + b"}" * 7
    start = time.monotonic()
    refused(post(server, body), 422)
    assert time.monotonic() - start < 2.0


def test_of_duplicate_keys_the_last_counts(server: ModelServer) -> None:
    body = json.dumps(EXAMPLE).replace("{", '{"amount": 1, ', 1).encode()
    assert post(server, body).content == post(server, EXAMPLE).content


def test_unicode_categories_are_unseen_ones(server: ModelServer) -> None:
    unseen = post(server, EXAMPLE | {"merchant": "köfte 🌯"})
    assert unseen.status == 200
    factors = {f["field"]: f["value"] for f in unseen.content["risk_factors"]}
    assert factors.get("merchant", "köfte 🌯") == "köfte 🌯"
    sentence = "merchant is 'köfte 🌯', which no training row had: it counts as missing."
    assert sentence in unseen.content["warnings"]


@pytest.mark.parametrize("records", [{}, "x", [1], [[]], None])
def test_records_must_be_a_list_of_objects(server: ModelServer, records: Any) -> None:
    assert '"records" must be' in refused(post(server, {"records": records}), 422)


def test_no_records_are_refused(server: ModelServer) -> None:
    assert "1 to 1000 records" in refused(post(server, {"records": []}), 422)


def test_a_bad_record_is_named_by_its_number(server: ModelServer) -> None:
    detail = refused(post(server, {"records": [EXAMPLE, {"amount": "x"}]}), 422)
    assert detail.startswith("record 1: ")


def test_a_hundred_thousand_records_are_too_many(server: ModelServer) -> None:
    detail = refused(post(server, {"records": [{}] * 100_000}), 413)
    assert "there are 100,000" in detail
    assert "jobs.predict" in detail


def test_a_body_over_the_limit_is_refused(server: ModelServer) -> None:
    body = json.dumps(EXAMPLE | {"merchant": "x" * MAX_BODY_BYTES}).encode()
    assert "1,000,000 bytes" in refused(post(server, body), 413)


def test_one_late_body_ends_no_other_request_and_no_cancellation_from_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_server, "BODY_TIMEOUT_S", 0.2)
    waiting = model_server.Waiting()

    async def after(seconds: float) -> bytes:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(seconds)
            return {"type": "http.request", "body": b"{}"}

        return await waiting.body(receive, 100)

    async def together() -> list[Any]:
        tasks = [asyncio.create_task(after(seconds)) for seconds in (9.0, 0.05, 9.0)]
        await asyncio.sleep(0.01)
        tasks[2].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    late, whole, cancelled = asyncio.run(together())
    assert isinstance(late, Problem)
    assert late.status == 408
    assert whole == b"{}"
    assert isinstance(cancelled, asyncio.CancelledError)


def test_a_body_that_does_not_arrive_is_not_waited_for(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_server, "BODY_TIMEOUT_S", 0.05)

    async def slow() -> dict[str, Any]:
        await asyncio.sleep(5)
        return {}

    async def request() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await HotRoute(server)({"type": "http", "method": "POST", "path": "/"}, slow, send)
        return sent

    assert asyncio.run(request())[0]["status"] == 408


@pytest.mark.parametrize(
    "kind", ["text/xml", "multipart/form-data; boundary=x", "image/png", "application/msgpack"]
)
def test_a_content_type_that_the_route_does_not_speak_is_refused(
    server: ModelServer, kind: str
) -> None:
    detail = refused(post(server, EXAMPLE, content_type=kind), 415)
    assert detail.startswith("this route takes application/json, however: ")


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON; charset=UTF-8", "application/x-www-form-urlencoded"],
)
def test_json_and_what_clients_say_unasked_is_taken(server: ModelServer, kind: str) -> None:
    assert post(server, EXAMPLE, content_type=kind).status == 200


def test_another_charset_and_a_compressed_body_are_refused(server: ModelServer) -> None:
    latin = post(server, EXAMPLE, content_type="application/json; charset=latin-1")
    assert "must be UTF-8" in refused(latin, 415)
    zipped = asyncio.run(
        ask(HotRoute(server), b"\x1f\x8b\x08", headers=((b"content-encoding", b"gzip"),))
    )
    assert "sent as it is, however: it is encoded ('gzip')" in refused(zipped, 415)


@pytest.mark.parametrize("body", [b"", b'{"amount": 1'])
def test_a_client_that_hangs_up_is_no_request(
    server: ModelServer, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    messages = [{"type": "http.disconnect"}]
    if body:
        messages.insert(0, {"type": "http.request", "body": body, "more_body": True})
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    with caplog.at_level("DEBUG", "ray.serve"):
        asyncio.run(HotRoute(server)(scope, receive, send))
    assert sent == []
    ours = [record for record in caplog.records if record.name == "ray.serve"]
    assert [record.getMessage() for record in ours] == ["the client hung up: POST /"]
    assert server.windows() == {}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(server: ModelServer, method: str) -> None:
    response = post(server, b"", method=method)
    assert "asked with POST" in refused(response, 405)
    assert response.headers["allow"] == "POST"


def test_a_path_below_a_model_does_not_exist(server: ModelServer) -> None:
    assert "'/x' lies below it" in refused(post(server, EXAMPLE, below="/x"), 404)
    assert post(server, EXAMPLE, below="/").status == 200


def test_without_a_version_the_route_says_so() -> None:
    assert "no version" in refused(post(ModelServer(FRAUD), EXAMPLE), 503)


def test_a_fault_of_ours_is_a_problem_document_without_details(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("secret")

    assert server.current is not None
    monkeypatch.setattr(server.current.answerer, "answer_with_cautions", fail)
    assert "secret" not in refused(post(server, EXAMPLE), 500)
    assert "secret" in caplog.text
