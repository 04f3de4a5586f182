"""The API application, and errors of Serve as problem documents."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import jsonschema
import pytest

from serve.api import Api, build
from serve.problems import problems_only
from spt_core.artifacts import ExportedModel
from spt_core.errors import InputError
from spt_core.model import default_policy
from spt_core.registry import Registry
from spt_core.rollout import Target, render
from tests.tiny_models import FRAUD


@pytest.fixture
def api(export: ExportedModel, tmp_path: Any) -> Api:
    registry = Registry(f"sqlite:///{tmp_path}/spt.db")
    version = registry.add(export, default_policy(export), {}, created_by="test")
    made = Api()
    asyncio.run(
        made.reconfigure(
            render([Target(version, 1)])["applications"][-1]["deployments"][0]["user_config"]
        )
    )
    return made


def call(api: Api, path: str, method: str = "GET") -> httpx.Response:
    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(app=build(api))
        async with httpx.AsyncClient(transport=transport, base_url="http://spt") as client:
            return await client.request(method, path)

    return asyncio.run(request())


def test_health_names_the_versions(api: Api) -> None:
    expected = {"status": "ok", "models": [f"{FRAUD}/default@1"]}
    assert call(api, "/healthz").json() == expected


def test_the_document_has_the_models_real_input(api: Api) -> None:
    document = call(api, "/openapi.json").json()
    operation = document["paths"][f"/v1/{FRAUD}"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    schema = content["schema"]["anyOf"][0]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(content["example"], schema)
    assert schema["properties"]["amount"]["minimum"] == 0.0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content["example"] | {"extra": 1}, schema)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("POST", "/healthz", 405)]
)
def test_unknown_routes_are_problems_that_list_the_models(
    api: Api, method: str, path: str, status: int
) -> None:
    response = call(api, path, method)
    assert response.status_code == response.json()["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert f"/v1/{FRAUD}" in response.json()["detail"]


def test_a_plain_text_error_becomes_a_problem() -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def respond() -> None:
        rewrite = problems_only(send)
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"4"), (b"a", b"b")]
        await rewrite({"type": "http.response.start", "status": 503, "headers": headers})
        await rewrite({"type": "http.response.body", "body": b"fu", "more_body": True})
        await rewrite({"type": "http.response.body", "body": b"ll"})

    asyncio.run(respond())
    assert (b"a", b"b") in sent[0]["headers"]
    assert b'"detail":"full"' in sent[1]["body"]


def test_a_configuration_that_lists_no_models_has_the_registrys_applied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    url, asked = f"sqlite:///{tmp_path}/spt.db", []

    def apply(registry: Registry, *, num_replicas: int, otherwise: Any) -> list[str]:
        asked.append((registry.serving(), num_replicas))
        return []

    monkeypatch.setenv("SPT_DATABASE_URL", url)
    monkeypatch.delenv("SPT_SERVICE_DATABASE_URL", raising=False)
    monkeypatch.setattr("spt_core.rollout.reapply", apply)
    api = Api()
    api.models = [{"ref": "before"}]
    asyncio.run(api.reconfigure({"reapply": {"num_replicas": 2}}))
    assert asked == [([], 2)]
    assert api.models == [{"ref": "before"}]  # until what was applied says otherwise


def test_a_service_without_a_database_does_not_start_as_an_empty_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SPT_DATABASE_URL", "SPT_SERVICE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="must have SPT_DATABASE_URL"):
        asyncio.run(Api().reconfigure({"reapply": {"num_replicas": 2}}))


@pytest.mark.parametrize(
    "config", [{}, {"reaply": {}}, {"reapply": {"replicas": 2}}, {"models": [], "model": []}]
)
def test_a_configuration_with_unknown_keys_is_refused(config: dict[str, Any]) -> None:
    api = Api()
    api.models = [{"ref": "before"}]
    with pytest.raises(InputError, match="the configuration of the API must be"):
        asyncio.run(api.reconfigure(config))
    assert api.models == [{"ref": "before"}]
