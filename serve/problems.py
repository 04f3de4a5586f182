"""Errors as RFC 9457 problem details."""

from __future__ import annotations

import http

import orjson

PROBLEM_TYPE = b"application/problem+json"


class Problem(Exception):  # noqa: N818  # the RFC's word
    """An answer that is an error: an HTTP status and one sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail

    def body(self) -> bytes:
        """The JSON document."""
        title = http.HTTPStatus(self.status).phrase
        return orjson.dumps(
            {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        )
