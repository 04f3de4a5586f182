"""Reviews over HTTP, for people who approve or reject candidates; off the hot route.

GET /v1/reviews, GET /v1/reviews/{id} -> ETag: the candidate; POST /v1/reviews/{id}/decision with
If-Match: the candidate. Each with the bearer token of a principal; errors are problem documents.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, get_args

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from cluster.settings import service_database_url
from serve.access import REVIEWS
from serve.problems import Problem
from spt_core.continuous.ledger import Decision, Ledger, Principal, RetrainState
from spt_core.continuous.review import authenticated, hold_until, listed, page, require_role
from spt_core.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    NotFoundError,
    UnavailableError,
)
from spt_core.registry import Registry
from spt_core.validation import validated

MAX_BODY_BYTES = 20_000
_CHALLENGE = {"www-authenticate": 'Bearer realm="reviews"'}
T = TypeVar("T")


class Books(NamedTuple):
    """What reviews are read from and written to."""

    ledger: Ledger
    registry: Registry


@functools.cache
def open_books() -> Books:
    """The ledger and the registry of the database that the environment names, opened once."""
    url = service_database_url()
    if url is None:
        raise Problem(
            503, "reviews need SPT_DATABASE_URL in the environment of the service, however: none"
        )
    return Books(Ledger(url), Registry(url))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AskedDecision:
    """The body of a decision; `not_before` is the date from which it is rolled out."""

    decision: Decision
    reason: str
    not_before: str | None = None


class Unauthorized(Problem):
    """Nobody has proven who he is."""

    def __init__(self, detail: str) -> None:
        super().__init__(401, detail)


def add_reviews(app: FastAPI, open_books: Callable[[], Books]) -> None:
    """Add the routes; the database is opened with the first request."""

    @app.get("/v1/reviews")
    async def reviews(request: Request, state: str = "NEEDS_REVIEW") -> JSONResponse:
        """The candidates that wait for a person, or the retrainings in another state."""

        def find(books: Books, _: Principal) -> list[dict[str, Any]]:
            return listed(books.ledger, _state(state))

        return JSONResponse({"reviews": await _asked(request, open_books, find)})

    @app.get("/v1/reviews/{retrain_id}")
    async def review(request: Request, retrain_id: str) -> JSONResponse:
        """Publications, verdict, figures, changed answers and lineage of one candidate."""

        def find(books: Books, _: Principal) -> dict[str, Any]:
            return page(books.ledger, books.registry, retrain_id)

        content = await _asked(request, open_books, find)
        return JSONResponse(content, headers={"etag": f'"{content["candidate_sha"]}"'})

    @app.post("/v1/reviews/{retrain_id}/decision")
    async def decide(request: Request, retrain_id: str) -> JSONResponse:
        """Approve or reject the candidate that If-Match names."""
        principal = await _asked(request, open_books, lambda _, principal: principal)
        body = await _read(request)  # of those who have a right to send one

        def write(books: Books) -> dict[str, Any]:
            return _decide(books, principal, retrain_id, request.headers.get("if-match"), body)

        return JSONResponse(await asyncio.to_thread(_called, open_books, write))


async def _asked(
    request: Request, open_books: Callable[[], Books], call: Callable[[Books, Principal], T]
) -> T:
    """What a call by an authenticated principal returns; errors as problems."""
    kind, _, shown = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not shown.strip():
        raise Unauthorized("a review needs Authorization: Bearer with a principal's credential")

    def work(books: Books) -> T:
        try:
            principal = authenticated(books.ledger, shown.strip())
        except ForbiddenError as error:
            raise Unauthorized(str(error)) from error
        return call(books, principal)

    return await asyncio.to_thread(_called, open_books, work)


async def _read(request: Request) -> bytes:
    """The body, of which no more is read than a decision may have."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise Problem(
                413, f"a decision may have {MAX_BODY_BYTES:,} bytes, however: it has more"
            )
    return bytes(body)


def _called(open_books: Callable[[], Books], work: Callable[[Books], T]) -> T:
    books = open_books()
    try:
        return work(books)
    except UnavailableError as error:
        raise Problem(503, str(error)) from error
    except NotFoundError as error:
        raise Problem(404, str(error)) from error
    except ForbiddenError as error:
        body = {"by": "http", "path": REVIEWS, "status": 403, "why": str(error)}
        books.ledger.note("access.refused", body, actor="service")
        raise Problem(403, str(error)) from error
    except InputError as error:
        raise Problem(422, str(error)) from error
    except ConflictError as error:
        raise Problem(409, str(error)) from error


def _decide(
    books: Books, principal: Principal, retrain_id: str, if_match: str | None, body: bytes
) -> dict[str, Any]:
    asked = _asked_decision(body)
    candidate = (if_match or "").strip().removeprefix("W/").strip('"')
    if not candidate or candidate == "*":
        raise Problem(428, "a decision must name its candidate in If-Match, however: it does not")
    retrain = books.ledger.retrain(retrain_id)
    require_role(principal, "reviewer", retrain.bucket)
    present = retrain.candidate_sha
    if candidate != present:
        raise Problem(
            412,
            f"a decision must be on the present candidate, however: that is {present or 'none'}, "
            f"not {candidate}; look at it and decide again",
        )
    moved = books.ledger.decide(
        retrain_id,
        candidate,
        asked.decision,
        reviewer=principal,
        reason=asked.reason,
        not_before=hold_until(asked.not_before),
    )
    state = books.ledger.retrain(retrain_id).state
    return {"retrain_id": retrain_id, "state": state, "decided_before": not moved}


def _asked_decision(body: bytes) -> AskedDecision:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body must be JSON, however: {error}") from error
    return validated(AskedDecision, content, "the body")


def _state(name: str) -> RetrainState:
    for state in get_args(RetrainState):
        if name == state:
            return state
    raise Problem(422, f"a state is one of {', '.join(get_args(RetrainState))}, however: {name!r}")


def challenge(problem: Problem) -> Mapping[str, str]:
    """The header that tells a client how to say who he is."""
    return _CHALLENGE if isinstance(problem, Unauthorized) else {}
