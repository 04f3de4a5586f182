"""Every route x every credential, what is open and why, and what wrong keys cost."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from serve import middleware
from serve.access import (
    MAX_NOTED,
    OPEN,
    WANTED,
    WRONG_AT_ONCE,
    Buckets,
    Gate,
    Keyring,
    model_of,
    wanted_of,
)
from serve.api import Api, build, document
from serve.middleware import HotPath
from spt_core.access import EVERY_TASK, ROLES, Key, Role, digest, id_of, new_key
from spt_core.errors import ForbiddenError
from spt_core.task import all_tasks

ROOT = Path(__file__).parents[3]
NOW_S = 1_000_000.0
TASKS = sorted(all_tasks())


def key(
    text: str,
    *roles: Role,
    tasks: Sequence[str] = (EVERY_TASK,),
    requests_per_s: float | None = None,
    expires_s: float | None = None,
    revoked_s: float | None = None,
) -> Key:
    return Key(
        key_id=id_of(digest(text)),
        principal="shop",
        digest=digest(text),
        roles=roles,
        tasks=tuple(tasks),
        requests_per_s=requests_per_s,
        created_s=0.0,
        expires_s=expires_s,
        revoked_s=revoked_s,
    )


class Book:
    """A ledger's part of it, in memory."""

    def __init__(self, *keys: Key) -> None:
        self.held, self.noted = list(keys), []

    def api_keys(self) -> list[Key]:
        return self.held

    def note_all(self, event: str, bodies: Sequence[Any], *, actor: str) -> None:
        self.noted += [(event, actor, body) for body in bodies]


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def gate_of(*keys: Key) -> tuple[Gate, Book, Keyring, Clock]:
    book, clock = Book(*keys), Clock()
    keyring = Keyring(lambda: book)
    keyring.refresh()
    return Gate(keyring, clock=clock, monotonic=clock), book, keyring, clock


def status_of(gate: Gate, method: str, path: str, shown: str | None, address: str = "a") -> int:
    authorization = b"" if shown is None else f"Bearer {shown}".encode()
    refusal = gate.check(method, path, authorization=authorization, address=address, request_id="r")
    return 0 if refusal is None else refusal.status


def routes() -> Iterator[tuple[str, str]]:
    """Each method and path that anything answers, from what answers it."""
    for route in build(Api()).routes:
        assert isinstance(route, APIRoute)
        path = re.sub(r"\{\w+\}", "technology.security_analysis-1", route.path)
        yield from ((method, path) for method in sorted(route.methods))
    for path in TASKS:
        yield from (("POST", f"/v1/{path}"), ("POST", f"/v1/{path}/cards"))
    yield from (("GET", "/-/healthz"), ("GET", "/-/routes"))  # of each replica, by Serve


ROUTES = sorted(set(routes()))
CLOSED = [route for route in ROUTES if route[1] not in OPEN]
WORDS = {name: new_key() for name in ("right", "expired", "revoked", "roleless", "elsewhere")}
KEYS = (
    key(WORDS["right"], *ROLES),
    key(WORDS["expired"], *ROLES, expires_s=NOW_S - 1),
    key(WORDS["revoked"], *ROLES, revoked_s=NOW_S - 1),
    key(WORDS["roleless"]),
    key(WORDS["elsewhere"], "client", tasks=["another_industry"]),
)


def through(app: Any, method: str, path: str, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://spt") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(ask())


def no_books() -> Any:
    raise ForbiddenError("a database is not needed here")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> HotPath:
    """The API behind the gate, as in its replica."""
    monkeypatch.setattr(middleware, "gate", lambda: gate_of(*KEYS)[0])
    return HotPath(build(Api(), no_books))


@pytest.mark.parametrize(
    ("scheme", "word", "status"),
    [
        ("", "", 401),
        ("Bearer", "wrong", 401),
        ("Bearer", "", 401),
        ("Basic", "right", 401),
        ("Bearer", "expired", 401),
        ("Bearer", "revoked", 401),
        ("Bearer", "roleless", 403),
    ],
)
def test_no_route_answers_without_a_key_for_it(
    monkeypatch: pytest.MonkeyPatch, scheme: str, word: str, status: int
) -> None:
    monkeypatch.setattr(middleware, "gate", lambda: gate_of(*KEYS)[0])
    api = build(Api(), no_books)
    credential = f"{scheme} {WORDS.get(word, word)}"
    for method, path in CLOSED:
        headers = {"authorization": credential} if scheme else {}
        response = through(
            HotPath(api), method, path, **headers
        )  # none has slowed this address yet
        assert response.status_code == response.json()["status"] == status, path
        assert response.headers["content-type"] == "application/problem+json"
        assert ("www-authenticate" in response.headers) == (status == 401)
        assert response.headers["x-request-id"]


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_a_right_key_reaches_every_route(method: str, path: str) -> None:
    gate, book, keyring, _ = gate_of(*KEYS)
    assert status_of(gate, method, path, WORDS["right"]) == 0
    keyring.refresh()
    assert book.noted == []


@pytest.mark.parametrize("path", TASKS)
def test_a_key_is_for_its_tasks(path: str) -> None:
    industry, name = path.split("/")
    narrow, broad = new_key(), new_key()
    gate, _, _, _ = gate_of(
        *KEYS,
        key(narrow, "client", tasks=[f"{path}/cards"]),
        key(broad, "client", tasks=[industry]),
    )
    assert status_of(gate, "POST", f"/v1/{path}", WORDS["elsewhere"]) == 403
    assert status_of(gate, "POST", f"/v1/{path}", narrow) == 403
    assert status_of(gate, "POST", f"/v1/{path}/cards", narrow) == 0
    assert status_of(gate, "POST", f"/v1/{path}/cards2", narrow) == 403
    assert status_of(gate, "POST", f"/v1/{path}", broad) == 0
    assert status_of(gate, "POST", f"/v1/{industry}_x/{name}", broad) == 403


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_its_routes_alone(role: Role) -> None:
    text = new_key()
    gate, _, _, _ = gate_of(key(text, role))
    for method, path in CLOSED:
        expected = 0 if role in wanted_of(method, path) else 403
        assert status_of(gate, method, path, text, address=path) == expected, (method, path)


def test_every_route_of_the_document_is_one_that_somebody_may_ask() -> None:
    model = {"route": f"/v1/{TASKS[0]}", "task": TASKS[0], "input": {}, "answer": {}}
    facts = {"ref": "r", "title": "t", "description": "d", "example": {}}
    for path, methods in document([{**model, **facts}])["paths"].items():
        for method in methods:
            assert path in OPEN or wanted_of(method.upper(), path), (method, path)


def test_a_path_that_nobody_has_listed_does_not_exist() -> None:
    gate, _, _, _ = gate_of(*KEYS)
    for path in ("/", "/v1", "/v1/secret", "/metrics", "/healthz/", "/HEALTHZ", "/-/config"):
        assert status_of(gate, "GET", path, WORDS["right"]) == 404
        assert status_of(gate, "GET", path, None, address=path) == 401


def test_what_is_open_is_in_the_readme_with_its_reason() -> None:
    text = (ROOT / "README.md").read_text()
    assert all(f"`{path}`" in text for path in OPEN)
    answered = {path for _, path in ROUTES}
    assert {*OPEN, *WANTED} <= answered


def test_refusals_are_noted_without_the_key() -> None:
    gate, book, keyring, _ = gate_of(*KEYS)
    status_of(gate, "POST", f"/v1/{TASKS[0]}", WORDS["elsewhere"], address="10.1.2.3")
    status_of(gate, "GET", "/v1/models", "spt_wrong")
    keyring.refresh()
    (event, actor, first), (_, _, second) = book.noted
    assert (event, actor) == ("access.refused", "service")
    assert first["who"] == "shop"
    assert first["address"] == "10.1.2.3"
    assert first["why"] == "task"
    assert (second["who"], second["why"], second["status"]) == ("nobody", "wrong", 401)
    assert WORDS["elsewhere"] not in repr(book.noted)
    assert "spt_wrong" not in repr(book.noted)


def test_a_flood_of_wrong_keys_is_told_to_wait_and_leaves_a_few_lines() -> None:
    gate, book, keyring, clock = gate_of(*KEYS)
    answers = [status_of(gate, "GET", "/v1/models", f"spt_{n}") for n in range(1000)]
    assert answers.count(401) == WRONG_AT_ONCE
    assert answers.count(429) == 1000 - WRONG_AT_ONCE
    assert status_of(gate, "GET", "/v1/models", WORDS["right"]) == 0  # from there, too
    clock.now_s += 1.5
    assert status_of(gate, "GET", "/v1/models", "spt_x") == 401
    for number in range(100):
        status_of(gate, "GET", "/v1/models", "spt_y", address=f"10.0.0.{number}")
    keyring.refresh()
    assert len(book.noted) == MAX_NOTED + 1
    assert book.noted[-1][2]["num_more"] == 1101 - MAX_NOTED
    keyring.refresh()
    assert len(book.noted) == MAX_NOTED + 1


def test_a_key_has_its_own_rate() -> None:
    slow, fast = new_key(), new_key()
    gate, _, _, clock = gate_of(key(slow, "client", requests_per_s=2.0), key(fast, "client"))
    path = f"/v1/{TASKS[0]}"
    assert [status_of(gate, "POST", path, slow) for _ in range(4)] == [0, 0, 429, 429]
    assert {status_of(gate, "POST", path, fast) for _ in range(100)} == {0}
    clock.now_s += 0.5
    assert [status_of(gate, "POST", path, slow) for _ in range(2)] == [0, 429]
    refusal = gate.check(
        "POST", path, authorization=f"Bearer {slow}".encode(), address="a", request_id="r"
    )
    assert refusal is not None
    assert dict(refusal.headers) == {b"retry-after": b"1"}


def test_buckets_forget_the_oldest() -> None:
    buckets = Buckets(max_names=3)
    for name in ("a", "b", "c", "d"):
        assert buckets.wait_s(name, rate=1.0, burst=1.0, now_s=0.0) == 0
    assert buckets.wait_s("d", rate=1.0, burst=1.0, now_s=0.0) == 1.0
    assert buckets.wait_s("a", rate=1.0, burst=1.0, now_s=0.0) == 0


def test_a_revoked_key_ends_with_the_next_refresh_and_a_new_one_begins() -> None:
    gate, book, keyring, _ = gate_of(*KEYS)
    new = new_key()
    assert status_of(gate, "GET", "/v1/models", new) == 401
    book.held = [key(new, "client"), key(WORDS["right"], *ROLES, revoked_s=NOW_S - 1)]
    keyring.refresh()
    assert status_of(gate, "GET", "/v1/models", new) == 0
    assert status_of(gate, "GET", "/v1/models", WORDS["right"]) == 401


def test_until_the_keys_were_read_nothing_passes() -> None:
    gate = Gate(Keyring(no_books))
    assert status_of(gate, "GET", "/v1/models", WORDS["right"]) == 503
    assert status_of(gate, "GET", "/healthz", None) == 0


def test_while_the_database_is_away_the_last_keys_hold(caplog: pytest.LogCaptureFixture) -> None:
    gate, _, keyring, clock = gate_of(*KEYS)
    keyring._book = None
    keyring._open_book = no_books
    with pytest.raises(ForbiddenError):
        keyring.refresh()
    clock.now_s += 3600
    assert status_of(gate, "GET", "/v1/models", WORDS["right"]) == 0


@pytest.mark.parametrize("shown", ["right", "nothing of ours"])
def test_a_check_takes_microseconds(shown: str) -> None:
    gate, _, _, _ = gate_of(*KEYS, *(key(new_key(), "client") for _ in range(1000)))
    text, path = WORDS.get(shown, shown), f"/v1/{TASKS[0]}"
    start_s = time.process_time()
    for _ in range(2000):
        status_of(gate, "POST", path, text)
    assert (time.process_time() - start_s) / 2000 < 100e-6  # 5 on an idle core


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/a/b", "a/b"),
        ("/v1/a/b/c/", "a/b/c"),
        ("/v1/a", None),
        ("/v1/reviews/a/decision", None),
        ("/v2/a/b", None),
        ("/healthz", None),
    ],
)
def test_models_are_told_from_other_paths(path: str, model: str | None) -> None:
    assert model_of(path) == model
