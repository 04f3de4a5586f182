"""Reviews over HTTP: who may, on which candidate, and what each refusal says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.api import Api, build
from serve.reviews import Books
from spt_core.continuous.ledger import Ledger, Retrain, fence_of
from spt_core.continuous.verdicts import drive_verdicts
from spt_core.registry import Registry
from tests.publications import BUCKET, MODEL, begun, item, trained, version

pytestmark = pytest.mark.slow  # a ledger with a finished retraining for each


class World:
    """A candidate that waits for a person, a reviewer, and somebody who is none."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder}/spt.db"
        self.ledger, self.registry = Ledger(url), Registry(url)
        for seed in (1, 2, 3):
            version(self.registry, seed)
        self.registry.set_alias(MODEL, "champion", 1, expected=None, actor="olga")
        roles = {"rita": "reviewer", "otto": "operator", "carl": "reviewer"}
        self.keys = {
            name: self.ledger.add_principal(name, [role], actor="olga")
            for name, role in roles.items()
        }
        self.ledger.configured(BUCKET, {"gate": {}}, actor="carl")
        self.folder = folder
        self.fence: Any = None

    def begin(self) -> Retrain:
        made = begun(self.ledger, self.fence, item("1", "It is effective May 1, 2099."))
        candidate = self.registry.get(f"{MODEL}@2")
        made = trained(self.ledger, self.fence, made, self.folder, candidate)
        drive_verdicts(self.ledger, self.fence, self.registry, now_s=1.8e9)
        return self.ledger.retrain(made.retrain_id)

    def call(
        self, method: str, path: str, name: str | None = "rita", **options: Any
    ) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if name is not None:
            headers["authorization"] = f"Bearer {self.keys.get(name, name)}"
        app = build(Api(), lambda: Books(self.ledger, self.registry))

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://spt") as client:
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(ask())

    def decide(self, made: Retrain, name: str = "rita", **options: Any) -> httpx.Response:
        headers = options.pop("headers", {"if-match": f'"{made.candidate_sha}"'})
        body = {"decision": "approve", "reason": "I have looked at it", **options.pop("body", {})}
        path = f"/v1/reviews/{made.retrain_id}/decision"
        return self.call("POST", path, name, headers=headers, json=body, **options)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.ledger.lead("leader:1:1", ttl_s=1e6) as lease:
        made.fence = fence_of(lease)
        yield made


def test_a_reviewer_finds_reads_and_approves(world: World) -> None:
    made = world.begin()
    (line,) = world.call("GET", "/v1/reviews").json()["reviews"]
    assert line["retrain_id"] == made.retrain_id
    shown = world.call("GET", f"/v1/reviews/{made.retrain_id}")
    assert shown.headers["etag"] == f'"{made.candidate_sha}"'
    page = shown.json()
    assert page["publications"][0]["title"] == "Advisory 1"
    assert page["effective_dates"][0]["date"] == "2099-05-01"
    assert page["evaluation"]["sets"][0]["candidate"]["high"] == 0.84
    assert page["verdict"]["state"] == "NEEDS_REVIEW"
    assert page["lineage"] == [{"uri": "file:///artifacts/2"}]
    assert page["cannot_approve"] == {"carl": ["edited its configuration"]}
    decided = world.decide(made, body={"not_before": "2099-05-01"})
    assert decided.json()["state"] == "PROMOTED"
    assert world.ledger.outbox()[0].not_before > 4e9
    assert world.decide(made, body={"not_before": "2099-05-01"}).json()["decided_before"]


@pytest.mark.parametrize("shown", [None, "rita", "cml0YQ.wrong", "%%%.x", "cml0YQ"])
def test_nobody_reads_or_writes_without_a_credential(world: World, shown: str | None) -> None:
    world.keys.pop("rita")
    made = world.begin()
    for response in (
        world.call("GET", "/v1/reviews", shown),
        world.call("GET", f"/v1/reviews/{made.retrain_id}", shown),
        world.call("POST", f"/v1/reviews/{made.retrain_id}/decision", shown, json={}),
    ):
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert response.headers["content-type"] == "application/problem+json"
    assert world.ledger.retrain(made.retrain_id).state == "NEEDS_REVIEW"


@pytest.mark.parametrize(
    ("name", "fact"), [("otto", "the role 'reviewer'"), ("carl", "edited its configuration")]
)
def test_who_has_no_right_is_told_why(world: World, name: str, fact: str) -> None:
    made = world.begin()
    refused = world.decide(made, name)
    assert (refused.status_code, fact in refused.json()["detail"]) == (403, True)


def test_a_decision_is_for_the_candidate_that_was_seen(world: World) -> None:
    made = world.begin()
    assert world.decide(made, headers={}).status_code == 428
    assert world.decide(made, headers={"if-match": "*"}).status_code == 428
    assert world.decide(made, headers={"if-match": '"0f"'}).status_code == 412
    world.ledger.try_again(made.retrain_id, "labels were edited", actor="otto")
    replaced = world.decide(made)
    assert (replaced.status_code, "decide again" in replaced.json()["detail"]) == (412, True)


def test_what_was_decided_cannot_be_decided_otherwise(world: World) -> None:
    made = world.begin()
    assert world.decide(made, body={"decision": "reject"}).json()["state"] == "REJECTED"
    assert world.decide(made).status_code == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"decision": "maybe"}, 422),
        ({"reason": " "}, 422),
        ({"reason": None}, 422),
        ({"not_before": "soon"}, 422),
        ({"not_before": 7}, 422),
        ({"force": True}, 422),
    ],
)
def test_a_decision_that_is_none_is_refused(
    world: World, body: dict[str, Any], status: int
) -> None:
    made = world.begin()
    assert world.decide(made, body=body).status_code == status
    assert world.ledger.retrain(made.retrain_id).state == "NEEDS_REVIEW"


def test_what_does_not_exist_is_not_found_and_states_are_checked(world: World) -> None:
    assert world.call("GET", "/v1/reviews/nothing-1").status_code == 404
    assert world.call("GET", "/v1/reviews?state=LOST").status_code == 422
    assert world.call("GET", "/v1/reviews?state=REJECTED").json() == {"reviews": []}
    path = "/v1/reviews/nothing-1/decision"
    assert world.call("POST", path, content=b"{").status_code == 400
    assert world.call("POST", path, content=b" " * 30_000).status_code == 413


@pytest.mark.parametrize(
    ("name", "status", "most"), [(None, 401, 0), ("x.y", 401, 0), ("rita", 413, 3)]
)
def test_a_body_is_read_of_a_principal_only_and_no_more_than_a_decision_has(
    world: World, name: str | None, status: int, most: int
) -> None:
    sent: list[int] = []

    async def parts() -> AsyncIterator[bytes]:
        for number in range(50):
            sent.append(number)
            yield b" " * 10_000

    refused = world.call("POST", "/v1/reviews/nothing-1/decision", name, content=parts())
    assert (refused.status_code, len(sent)) == (status, most)
    assert refused.headers["content-type"] == "application/problem+json"


def test_without_a_database_the_service_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from serve.reviews import open_books

    for name in ("SPT_DATABASE_URL", "SPT_SERVICE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    open_books.cache_clear()

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=build(Api()))
        async with httpx.AsyncClient(transport=transport, base_url="http://spt") as client:
            return await client.get("/v1/reviews", headers={"authorization": "Bearer a.b"})

    response = asyncio.run(ask())
    assert (response.status_code, "SPT_DATABASE_URL" in response.json()["detail"]) == (503, True)
