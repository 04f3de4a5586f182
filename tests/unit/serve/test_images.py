"""Images over HTTP: base64 in JSON or the image as the body, and everything odd that is sent."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest

import industries.technology
from serve.api import document
from serve.model_server import IMAGE_TYPES, HotRoute, ModelServer
from spt_core.images import MAX_BYTES, png
from spt_core.model import default_policy
from spt_core.signature import Signature
from spt_core.task import FAMILIES, Head, example_record, find
from tests.kept_exports import kept_export
from tests.odd_images import ANSWERED, REFUSED
from tests.tiny_models import image_task, tiny_image, tiny_image_artifact
from tests.unit.serve.asgi import Response, ask

pytestmark = pytest.mark.slow


def words(judgement: Any) -> dict[str, Any]:
    """What a task could say of a judgement."""
    (first, *_) = judgement.scores
    return {"judgement": {"label": first.label, "probability": first.probability}}


def served(head: Head, respond: Any, folder: str) -> ModelServer:
    """A replica with a model of random weights."""
    task = image_task(head, respond)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(industries.technology, "TASKS", (task,))
        export = kept_export(tiny_image_artifact(task, folder))
        server = ModelServer(task.path)
        config = {
            "ref": f"{task.path}/default@1",
            "exported": export.uri,
            "files": dict(export.files),
            "policy": default_policy(export).to_json(),
        }
        asyncio.run(server.reconfigure(config))
        assert server.served()["error"] == ""
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> ModelServer:
    return served("single_label", words, tmp_path_factory.mktemp("served").as_uri())


def post(server: ModelServer, body: Any, kind: str = "application/json") -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return asyncio.run(ask(HotRoute(server), content, content_type=kind))


def record(seed: int) -> dict[str, str]:
    return {"image": base64.b64encode(tiny_image(seed)).decode()}


def test_an_image_is_answered_in_base64_and_as_the_body_alike(server: ModelServer) -> None:
    expected = post(server, record(1))
    assert expected.status == 200
    for kind in (*IMAGE_TYPES, "image/png; charset=binary", "IMAGE/PNG"):
        assert post(server, tiny_image(1), kind).content == expected.content


def test_several_images_are_answered_in_order(server: ModelServer) -> None:
    records = [record(seed) for seed in range(4)]
    answers = post(server, {"records": records}).content["answers"]
    assert answers == [post(server, one).content for one in records]


def test_a_type_that_many_clients_send_for_jpeg_is_taken(server: ModelServer) -> None:
    assert post(server, tiny_image(0), "image/jpg").status == 200


@pytest.mark.parametrize(
    ("body", "kind", "status", "fact"),
    [
        (b"no image", "image/png", 422, "it is text"),
        (tiny_image(0)[:-50], "image/png", 422, "whole PNG"),
        (b"", "image/jpeg", 422, "it is empty"),
        ({"image": "%%"}, "application/json", 422, "base64"),
        ({"image": ""}, "application/json", 422, "it is empty"),
        ({"records": [record(0), {"image": 3}]}, "application/json", 422, "record 1: "),
        (tiny_image(0), "application/json", 400, "JSON"),
        (b"a" * 30_000_000, "image/png", 413, "28,000,000 bytes"),
        (b"a" * (MAX_BYTES + 10), "image/png", 422, "20,000,000 bytes"),
    ],
)
def test_what_is_no_image_gets_a_problem_document(
    server: ModelServer, body: Any, kind: str, status: int, fact: str
) -> None:
    response = post(server, body, kind)
    assert response.status == status
    assert response.headers["content-type"] == "application/problem+json"
    assert fact in response.content["detail"]


@pytest.mark.parametrize("name", REFUSED)
def test_odd_files_get_one_sentence_as_the_body_and_in_base64(
    server: ModelServer, name: str
) -> None:
    content, fact = REFUSED[name]
    text = {"image": base64.b64encode(content).decode()}
    for response in (post(server, content, "image/png"), post(server, text)):
        assert response.status == 422
        assert response.headers["content-type"] == "application/problem+json"
        assert fact in response.content["detail"]
        assert ", however: " in response.content["detail"]


@pytest.mark.parametrize("name", ANSWERED)
def test_odd_images_are_answered_and_another_kind_with_a_warning(
    server: ModelServer, name: str
) -> None:
    content, is_warned = ANSWERED[name]
    text = {"image": base64.b64encode(content).decode()}
    first, second = post(server, content, "image/png"), post(server, text)
    assert first.status == second.status == 200
    assert first.content == second.content
    if is_warned:
        assert first.headers["x-input-cautions"] == "outside=image"


def test_a_decision_says_that_an_image_is_unlike_training_s(tmp_path: Any) -> None:
    def decided(judgement: Any) -> dict[str, Any]:
        return {"judgement": {"action": judgement.action, "outside": list(judgement.outside)}}

    server = served("binary", decided, tmp_path.as_uri())
    usual = post(server, record(0))
    assert usual.content["judgement"]["outside"] == []
    assert "x-input-cautions" not in usual.headers
    deep, _ = ANSWERED["another depth"]
    other = post(server, deep, "image/png")
    assert other.content["judgement"]["outside"] == ["image"]
    assert other.headers["x-input-cautions"] == "outside=image"


def test_an_image_unlike_training_s_is_told_in_a_header(server: ModelServer) -> None:
    assert "x-input-cautions" not in post(server, record(0)).headers
    color = np.zeros((40, 40, 3), np.uint8)
    color[:, :, 2] = 220
    assert post(server, png(color), "image/png").headers["x-input-cautions"] == "outside=image"


def test_the_document_shows_both_ways_and_a_limit_that_holds_an_image() -> None:
    task = find("manufacturing/visual_inspection")
    signature = Signature(fields=task.fields)
    model = {
        "ref": "a@1",
        "task": task.path,
        "route": "/v1/a",
        "title": task.title,
        "description": task.description,
        "input": signature.json_schema(),
        "example": dict(example_record(task, signature)),
        "answer": {name: dict(schema) for name, schema in task.answer.items()},
    }
    operation = document([model])["paths"]["/v1/a"]["post"]
    content = operation["requestBody"]["content"]
    assert set(content) == {"application/json", *IMAGE_TYPES}
    assert content["application/json"]["example"] == task.example
    assert content["image/png"]["schema"]["format"] == "binary"
    too_large = operation["responses"]["413"]["description"]
    assert "28,000,000 bytes" in too_large
    assert "100,000,000 pixels" in too_large
    (parameter,) = operation["parameters"]
    assert (parameter["name"], parameter["schema"]["type"]) == ("overlay", "boolean")
    answer, _ = operation["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
    assert "overlay" in answer["properties"]
    assert "overlay" not in answer["required"]
    assert FAMILIES["image"].max_body_bytes >= MAX_BYTES * 4 / 3
