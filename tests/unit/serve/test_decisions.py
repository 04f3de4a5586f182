"""Decisions of factories over HTTP: the example's answer, and records that are refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from serve.model_server import HotRoute, ModelServer
from spt_core.model import default_policy
from spt_core.task import Task, find
from tests.tiny_models import tiny_export
from tests.unit.serve.asgi import Response, ask

FAILURE = find("manufacturing/failure_detection")
DELIVERY = find("manufacturing/late_delivery")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ModelServer]:
    """A replica of a student of random weights, for each task."""
    servers: dict[str, ModelServer] = {}
    for task in (FAILURE, DELIVERY):
        export = tiny_export(task, str(tmp_path_factory.mktemp(task.name)))
        servers[task.path] = ModelServer(task.path)
        config = {
            "ref": f"{task.path}/default@1",
            "exported": export.uri,
            "files": dict(export.files),
            "policy": default_policy(export).to_json(),
        }
        asyncio.run(servers[task.path].reconfigure(config))
        assert servers[task.path].served()["error"] == ""
    return servers


def post(server: ModelServer, record: Mapping[str, Any]) -> Response:
    return asyncio.run(ask(HotRoute(server), json.dumps(record).encode()))


@pytest.mark.parametrize("task", [FAILURE, DELIVERY], ids=lambda task: task.name)
def test_the_example_is_answered_as_the_task_says(
    servers: Mapping[str, ModelServer], task: Task
) -> None:
    response = post(servers[task.path], task.example)
    assert response.status == 200
    assert list(response.content) == list(task.answer)
    for name in ("contributing_readings", "contributing_factors"):
        for reason in response.content.get(name, []):
            assert reason["value"] == task.example[reason["field"]]


@pytest.mark.parametrize("task", [FAILURE, DELIVERY], ids=lambda task: task.name)
def test_a_record_without_what_may_be_missing_is_answered(
    servers: Mapping[str, ModelServer], task: Task
) -> None:
    required = {field.name for field in task.fields if field.required}
    record = {name: value for name, value in task.example.items() if name in required}
    assert len(record) == len(task.example) - 2
    assert post(servers[task.path], record).status == 200


@pytest.mark.parametrize(
    ("task", "change", "sentence"),
    [
        (FAILURE, {"torque": -3.0}, "the field 'torque' must"),
        (FAILURE, {"torque": "a lot"}, "the field 'torque' must be a"),
        (FAILURE, {"air_temperature": 28.0}, "the field 'air_temperature' must"),  # in °C
        (FAILURE, {"tool_wear": None}, "the field 'tool_wear' is required, however: it is null"),
        (FAILURE, {"TWF": 1}, "'TWF' is none of them"),
        (DELIVERY, {"scheduled_delivery": "next week"}, "the field 'scheduled_delivery' must"),
        (DELIVERY, {"lead_time_days": -1}, "the field 'lead_time_days' must"),
        (DELIVERY, {"delivered": "2025-11-20"}, "'delivered' is none of them"),
    ],
)
def test_a_record_that_cannot_be_is_a_problem_in_one_sentence(
    servers: Mapping[str, ModelServer], task: Task, change: Mapping[str, Any], sentence: str
) -> None:
    response = post(servers[task.path], {**task.example, **change})
    assert response.status == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert sentence in response.content["detail"]
