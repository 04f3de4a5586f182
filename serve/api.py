"""Everything but the hot route: models, health, reviews, and the OpenAPI document."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from cluster.settings import is_authenticated, replicas, service_database_url
from serve.model_server import IMAGE_TYPES, MAX_RECORDS, MAX_REQUEST_PIXELS
from serve.problems import PROBLEM_TYPE, Problem
from spt_core.answering import MAX_OVERLAY_PX
from spt_core.errors import InputError
from spt_core.task import find

if TYPE_CHECKING:
    from serve.reviews import Books

_log = logging.getLogger("ray.serve")
_PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "one sentence: the rule, and the fact"},
    },
}
_ERRORS = {
    "400": "the body is no JSON",
    "401": "no valid key, where authentication is on",
    "403": "a key for another task or role",
    "408": "the body did not arrive in time",
    "415": "another content type, charset or encoding than is spoken",
    "422": "a field is missing, unknown, out of range or of the wrong type",
    "429": "the key asks more often than it may; Retry-After says when it may again",
    "503": "the service is full or still loading",
}
_OVERLAY = {
    "type": "object",
    "description": "with ?overlay=true: the image, red where a place speaks for the class `of`, "
    f"blue where against it; its longer side has {MAX_OVERLAY_PX:,} px at most",
    "properties": {
        "of": {"type": "string"},
        "png": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"},
    },
}
_OVERLAY_PARAMETER = {
    "name": "overlay",
    "in": "query",
    "description": "true: the answer to one record has `overlay`, a picture of what it rests on",
    "schema": {"type": "boolean", "default": False},
}
_REVIEWS = {  # serve/reviews.py
    "/v1/reviews": {"get": "The candidates that wait for a person"},
    "/v1/reviews/{retrain_id}": {"get": "One candidate; its sha is the ETag"},
    "/v1/reviews/{retrain_id}/decision": {
        "post": "Approve or reject the candidate that If-Match names"
    },
}


class Api:
    """The class behind the Serve deployment; holds nothing but what the roll-out writer sent."""

    def __init__(self) -> None:
        self.models: list[Mapping[str, Any]] = []

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Serve's hook for an ASGI application that is built in the replica."""
        return build(self)

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Take the list of deployed models.

        A cluster's manifest cannot list them: it says `reapply`, and the list comes with what that
        applies. It raises where the registry is away: Serve then tries again.
        """
        if set(config) == {"models"}:
            self.models = list(config["models"])
        elif set(config) == {"reapply"} and set(config["reapply"]) == {"num_replicas"}:
            await asyncio.to_thread(reapply_registered, **config["reapply"])
        else:
            raise InputError(
                "the configuration of the API must be {models: [...]} or {reapply: {num_replicas: "
                f"N}}}}, however: {dict(config)!r:.200}"
            )


def reapply_registered(*, num_replicas: int) -> None:
    """Have Serve serve what the registry of this service says."""
    # Only here: a task's replica imports this module too, and has no use for the registry.
    from spt_core.registry import Registry
    from spt_core.rollout import reapply, replicas_within

    url = service_database_url()
    if url is None:
        raise InputError("a service's nodes must have SPT_DATABASE_URL, however: it is not set")
    otherwise = {task: replicas_within(*bounds) for task, bounds in replicas().items()}
    refs = reapply(Registry(url), num_replicas=num_replicas, otherwise=otherwise)
    _log.warning("the registry says that %s should serve", ", ".join(refs) or "nothing")


def build(api: Api, books: Callable[[], Books] | None = None) -> FastAPI:
    """The FastAPI application."""
    # Only here: a task's replica imports this module too, and has no use for the ledger.
    from serve.reviews import add_reviews, challenge, open_books

    app = FastAPI(title="SPT", openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        """Whether the service answers, and with which versions."""
        return {"status": "ok", "models": [model["ref"] for model in api.models]}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The deployed models with their input schemas."""
        return {"models": api.models}

    @app.get("/openapi.json")
    async def openapi() -> JSONResponse:
        """The OpenAPI document of the deployed models."""
        return JSONResponse(document(api.models))

    add_reviews(app, books or open_books)

    @app.exception_handler(Problem)
    async def refuse(_: Request, error: Problem) -> Response:
        return Response(error.body(), error.status, challenge(error), PROBLEM_TYPE.decode())

    @app.exception_handler(HTTPException)
    async def problem(request: Request, error: HTTPException) -> Response:
        routes = ", ".join(model["route"] for model in api.models) or "none"
        detail = f"{request.method} {request.url.path}: {error.detail}; deployed models: {routes}"
        body = Problem(error.status_code, detail).body()
        return Response(body, error.status_code, error.headers, PROBLEM_TYPE.decode())

    return app


def document(models: list[Mapping[str, Any]]) -> dict[str, Any]:
    """OpenAPI 3.1: each deployed model's route with its real input and answer."""
    get = {
        path: {"get": {"summary": text, "responses": {"200": {"description": "ok"}}}}
        for path, text in (
            ("/healthz", "Whether the service answers"),
            ("/v1/models", "The deployed models"),
        )
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "SPT", "version": "1"},
        "paths": {
            **{model["route"]: {"post": _operation(model)} for model in models},
            **get,
            **{path: _reviewed(methods) for path, methods in _REVIEWS.items()},
        },
        "components": {
            "schemas": {"Problem": _PROBLEM},
            "securitySchemes": {"principal": {"type": "http", "scheme": "bearer"}},
        },
    }


def _reviewed(methods: Mapping[str, str]) -> dict[str, Any]:
    secured = {"security": [{"principal": []}], "responses": {"200": {"description": "ok"}}}
    return {method: {"summary": text, **secured} for method, text in methods.items()}


def _operation(model: Mapping[str, Any]) -> dict[str, Any]:
    task = find(model["task"])
    is_image = task.subject is not None and task.subject.kind == "image"
    properties = {**model["answer"], **({"overlay": _OVERLAY} if is_image else {})}
    answer = {"type": "object", "properties": properties, "required": list(model["answer"])}
    batch = {
        "type": "object",
        "properties": {
            "records": {
                "type": "array",
                "items": model["input"],
                "minItems": 1,
                "maxItems": MAX_RECORDS,
            }
        },
        "required": ["records"],
    }
    answers = {"type": "object", "properties": {"answers": {"type": "array", "items": answer}}}
    too_large = f"over {task.facts.max_body_bytes:,} bytes or {MAX_RECORDS:,} records"
    if is_image:
        too_large += f", or {MAX_REQUEST_PIXELS:,} pixels in all images together"
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "summary": model["title"],
        "description": f"{model['description']} Answered by {model['ref']}.",
        "security": [{"principal": []}] if is_authenticated() else [],
        **({"parameters": [_OVERLAY_PARAMETER]} if is_image else {}),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [model["input"], batch]},
                    "example": model["example"],
                },
                **(dict.fromkeys(IMAGE_TYPES, binary) if is_image else {}),
            },
        },
        "responses": {
            "200": {
                "description": "one answer, or {answers: [...]} in the records' order",
                "headers": {
                    "x-model-version": {"schema": {"type": "string"}},
                    "x-input-cautions": {
                        "schema": {"type": "string"},
                        "description": "what no training row had: missing=, outside=, unseen=",
                    },
                },
                "content": {"application/json": {"schema": {"anyOf": [answer, answers]}}},
            },
            **{
                status: {
                    "description": text,
                    "content": {
                        "application/problem+json": {
                            "schema": {"$ref": "#/components/schemas/Problem"}
                        }
                    },
                }
                for status, text in {**_ERRORS, "413": too_large}.items()
            },
        },
    }
