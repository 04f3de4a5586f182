"""The hot route: POST one record or {"records": [...]}, raw ASGI.

A model of microseconds answers on the event loop, one of milliseconds (texts) in a thread.

A deployment builds itself from configuration, takes a new version in `reconfigure` (loads and
probes it aside, then swaps one attribute), and keeps the old one when that fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, quote

import orjson

from cluster.settings import replica_runtime
from serve.meters import Meters
from serve.problems import PROBLEM_TYPE, Problem
from serve.scaling import Load
from serve.tally import Tally
from spt_core.answering import Answerer, Cautions
from spt_core.artifacts import load_exported
from spt_core.errors import CorruptArtifactError, InputError, ParityError, SptError
from spt_core.families.serving import SERVING
from spt_core.images import num_pixels_of
from spt_core.model import open_answerer
from spt_core.policy import policy_from_json
from spt_core.task import Task, find

# Of a body that is an image; the last is no registered name, but many clients send it.
IMAGE_TYPES = ("image/png", "image/jpeg", "image/tiff", "image/bmp", "image/jpg")

# What says nothing counts as JSON: no type at all, and what curl and urllib say unasked.
JSON_TYPES = ("", "application/json", "application/x-www-form-urlencoded")
MAX_RECORDS = 1000
MAX_REQUEST_PIXELS = 100_000_000  # of all images of a request, by their headers
MAX_DECODING = 4  # requests with images that are decoded at once: each may hold 200 MB meanwhile
BODY_TIMEOUT_S = 10.0
PROBE_TOLERANCE = 1e-4

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Asked = TypeVar("Asked")
Said = TypeVar("Said")

_log = logging.getLogger("ray.serve")


class ClientGoneError(Exception):
    """The client hung up before its request was whole."""


class Served(NamedTuple):
    """What answers requests now; replaced whole, so that a request sees one version.

    `inline_records` is how many records of a request the event loop answers itself.
    """

    ref: str
    answerer: Answerer
    header: tuple[bytes, bytes]
    inline_records: int


class Answered(NamedTuple):
    """The body of an answer, the answers in it, and what of the records no training row had."""

    content: bytes
    answers: Sequence[Mapping[str, Any]]
    cautions: Cautions


class ModelServer:
    """Serves one task; the class behind a Serve deployment."""

    def __init__(self, task: str) -> None:
        self._task = find(task)
        self._config: Mapping[str, Any] = {}
        self._error = ""
        self._was_checked = False
        self.current: Served | None = None
        self.tally = Tally()
        self.meters = Meters(self._task.path)
        self._load = Load()

    def __serve_build_asgi_app__(self) -> HotRoute:
        """Serve's hook for an ASGI application that is built in the replica."""
        return HotRoute(self)

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Load and probe in a thread, then swap.

        Never raises, because Serve would then replace a working replica.
        """
        self._config = config
        try:
            self.current = await asyncio.to_thread(load, self._task, config)
            self._error = ""
        except SptError as error:
            self._error = str(error)
        except Exception as error:  # noqa: BLE001  # whatever a broken file makes a library raise
            _log.exception("loading %s", config.get("ref"))
            self._error = f"{type(error).__name__}: {error}"

    def served(self) -> dict[str, str]:
        """What the roll-out writer reads back; `asked` is the reference that `error` is about."""
        current = self.current
        return {
            "ref": "" if current is None else current.ref,
            "policy": "" if current is None else current.answerer.policy.version,
            "asked": self._config.get("ref", ""),
            "error": self._error,
        }

    def windows(self) -> dict[str, list[dict[str, Any]]]:
        """What each version did lately, for the roll-out's watcher."""
        return self.tally.windows()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook, where the task has a range of replicas: how busy and how slow this one is.

        On the loop that answers requests.
        """
        return self._load.figures(self.tally.slow_ms())

    async def probe(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """The labels (or the action) that this replica gives each record, and how surely."""
        current = self.current
        if current is None:
            return {"ref": "", "answers": [{"error": self._error or "no version"}] * len(records)}
        answers = [await asyncio.to_thread(probed, current.answerer, record) for record in records]
        return {"ref": current.ref, "answers": answers}

    async def check_health(self) -> None:
        """Healthy while any version answers; without one, try to load it again.

        Serve's first check passes, so that the roll-out writer can read a refusal back.
        """
        if self.current is None and self._was_checked:
            await self.reconfigure(self._config)
            if self.current is None:
                raise RuntimeError(f"a replica must hold a version, however: {self._error}")
        self._was_checked = True


class HotRoute:
    """The ASGI application of a ModelServer."""

    def __init__(self, server: ModelServer) -> None:
        self._server, self._waiting = server, Waiting()
        self._decoding = asyncio.Semaphore(MAX_DECODING)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request, or the server's start and end."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            await self.answer(scope, receive, send)

    async def answer(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> int:
        """One request; the status that it was answered with, 499 where the client hung up."""
        headers: Headers = []
        if "spt.request_id" in scope:
            headers.append((b"x-request-id", scope["spt.request_id"]))
        ref, body, answers, kinds = "", b"", (), ()
        asked_s = began_s = time.perf_counter()
        try:
            current = self._current(scope)
            headers.append(current.header)
            body = await self._waiting.body(receive, current.answerer.task.facts.max_body_bytes)
            ref, began_s = current.ref, time.perf_counter()
            content, answers, cautions = await _answer(
                current, body, _content_type(scope), self._decoding, has_overlay=_has_overlay(scope)
            )
            status, kind = 200, b"application/json"
            if any(cautions):
                headers.append(_caution_header(cautions))
                kinds = [kind for kind, names in cautions._asdict().items() if names]
        except Problem as problem:
            status, kind, content = problem.status, PROBLEM_TYPE, problem.body()
            if status == 405:
                headers.append((b"allow", b"POST"))
            if status == 503:
                headers.append((b"retry-after", b"1"))
        except ClientGoneError:
            _log.debug("the client hung up: POST %s", scope["path"])
            return 499
        except Exception:  # noqa: BLE001  # the HTTP edge: a bug is a problem document too
            request_id = scope.get("spt.request_id", b"").decode()
            _log.exception("answering %s (request %s)", scope["path"], request_id or "unnamed")
            problem = Problem(500, "this is a fault of the service; its log says more")
            status, kind, content = 500, PROBLEM_TYPE, problem.body()
        seconds = time.perf_counter() - began_s
        if ref:
            self._server.tally.add(
                ref, is_error=status >= 500, seconds=seconds, num_bytes=len(body)
            )
        self._server.meters.add(
            ref,
            status,
            receive_s=began_s - asked_s,
            answer_s=seconds,
            answers=answers,
            cautions=kinds,
        )
        headers += [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        return status

    def _current(self, scope: Mapping[str, Any]) -> Served:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path not in ("", "/"):
            raise Problem(404, f"a model is asked at its own path, however: {path!r} lies below it")
        if scope["method"] != "POST":
            raise Problem(405, f"a model is asked with POST, however: {scope['method']}")
        current = self._server.current
        if current is None:
            raise Problem(503, "no version of this model is loaded yet; try again")
        return current


def load(task: Task, config: Mapping[str, Any]) -> Served:
    """Open an exported model and let it reproduce its probes; SptError when it does not."""
    exported = load_exported(config["exported"])
    if exported.files != config["files"]:
        raise CorruptArtifactError(
            "a replica must load the files that were registered, however: those of "
            f"{exported.uri} differ"
        )
    if exported.artifact.task != task.path:
        raise InputError(
            f"this route serves {task.path}, however: the model is of {exported.artifact.task}"
        )
    policy = policy_from_json(config["policy"])
    answerer = open_answerer(exported, policy, runtime=replica_runtime())
    gap = SERVING[task.family].probe_gap(answerer.predictor, exported.probes)
    limit = exported.probes.get("tolerance", PROBE_TOLERANCE)
    if not gap <= limit:
        raise ParityError(
            f"a replica must reproduce the probes within {limit:g}, however: it differs by "
            f"{gap:.3g}"
        )
    header = (b"x-model-version", config["ref"].encode())
    # A search for settings takes milliseconds: other requests do not wait for it.
    inline_records = task.facts.inline_records if exported.artifact.signature.goal is None else 0
    return Served(config["ref"], answerer, header, inline_records)


def probed(answerer: Answerer, record: Mapping[str, Any]) -> dict[str, Any]:
    """What an answerer says of a record; an error is an answer too, and the worst."""
    try:
        summary = answerer.head.summary(answerer.judge(record))
        return {"labels": list(summary.labels), "probability": summary.probability}
    except Exception as error:  # noqa: BLE001  # whatever a broken model makes a library raise
        return {"error": f"{type(error).__name__}: {error}"[:300]}


async def _answer(
    current: Served,
    body: bytes,
    content_type: str,
    decoding: asyncio.Semaphore,
    *,
    has_overlay: bool,
) -> Answered:
    image = _image_of(current)
    if image is not None and content_type in IMAGE_TYPES:
        return await _answer_one(current, {image: body}, decoding, has_overlay=has_overlay)
    if content_type not in JSON_TYPES:
        spoken = ", ".join(("application/json", *(IMAGE_TYPES if image is not None else ())))
        raise Problem(415, f"this route takes {spoken}, however: {content_type[:100]!r}")
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        fact = "it is empty" if not body.strip() else str(error)
        if image is not None and num_pixels_of(body):
            fact = f"it is an image, which is sent as {', '.join(IMAGE_TYPES)}"
        raise Problem(400, f"the body must be JSON, however: {fact}") from error
    if not isinstance(content, dict):
        raise Problem(
            422, 'the body must be one record or {"records": [...]}, however: it is no JSON object'
        )
    try:
        if content.keys() == {"records"}:
            if has_overlay:
                raise Problem(422, "an overlay is drawn of one record, however: a list was sent")
            answers, cautions = await _answers(current, content["records"], decoding)
            return Answered(orjson.dumps({"answers": answers}), answers, cautions)
    except InputError as error:
        raise Problem(422, str(error)) from error
    return await _answer_one(current, content, decoding, has_overlay=has_overlay)


def _image_of(current: Served) -> str | None:
    """The field that holds the image, where the model answers images."""
    subject = current.answerer.task.subject
    return subject.name if subject is not None and subject.kind == "image" else None


async def _in_thread(
    current: Served, decoding: asyncio.Semaphore, answer: Callable[[Asked], Said], asked: Asked
) -> Said:
    """What `answer` says of what is asked; of images few at once, as memory holds no more."""
    if _image_of(current) is None:
        return await asyncio.to_thread(answer, asked)
    async with decoding:
        return await asyncio.to_thread(answer, asked)


async def _answer_one(
    current: Served, record: Mapping[str, Any], decoding: asyncio.Semaphore, *, has_overlay: bool
) -> Answered:
    answerer = current.answerer
    answer_one = answerer.overlaid if has_overlay else answerer.answer_with_cautions
    try:
        if current.inline_records:
            answer, cautions = answer_one(record)
        else:
            answer, cautions = await _in_thread(current, decoding, answer_one, record)
        return Answered(orjson.dumps(answer), (answer,), cautions)
    except InputError as error:
        raise Problem(422, str(error)) from error


def _content_type(scope: Mapping[str, Any]) -> str:
    """What the body is said to be, without its parameters; empty where nothing is said."""
    value = b""
    for name, text in scope["headers"]:
        if name == b"content-type":
            value = text
        elif name == b"content-encoding" and text.strip().lower() != b"identity":
            encoding = text.decode("latin-1")[:100]
            raise Problem(
                415, f"a body must be sent as it is, however: it is encoded ({encoding!r})"
            )
    kind, _, parameters = value.lower().decode("latin-1").partition(";")
    if kind.strip() in JSON_TYPES and "charset" in parameters and "utf-8" not in parameters:
        charset = parameters.strip()[:100]
        raise Problem(415, f"a body must be UTF-8, however: it is said to be {charset!r}")
    return kind.strip()


def _has_overlay(scope: Mapping[str, Any]) -> bool:
    """Whether the query asks for a picture of what the answer rests on: `?overlay=true`."""
    query = scope.get("query_string", b"")
    given = (
        parse_qs(query.decode("latin-1"), keep_blank_values=True).get("overlay") if query else None
    )
    if given is None:
        return False
    if given not in (["true"], ["false"]):
        raise Problem(422, f"overlay must be true or false, however: {', '.join(given)[:100]!r}")
    return given == ["true"]


def _caution_header(cautions: Cautions) -> tuple[bytes, bytes]:
    """Such as `missing=ca,thal; outside=age`; names are percent-encoded, as headers are ASCII."""
    parts = [
        f"{kind}={','.join(quote(name) for name in names)}"
        for kind, names in cautions._asdict().items()
        if names
    ]
    return b"x-input-cautions", "; ".join(parts).encode()


async def _answers(
    current: Served, records: object, decoding: asyncio.Semaphore
) -> tuple[list[dict[str, Any]], Cautions]:
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise Problem(422, '"records" must be a list of JSON objects, however: it is not')
    if not 1 <= len(records) <= MAX_RECORDS:
        raise Problem(
            413 if records else 422,
            f"one request takes 1 to {MAX_RECORDS} records, however: there are {len(records):,}; "
            "score data sets with `python -m jobs.predict`",
        )
    answers = current.answerer.answers_with_cautions
    if len(records) <= current.inline_records:
        return answers(records)
    image = _image_of(current)

    def answered(records: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Cautions]:
        if image is not None:
            _refuse_pixels([record.get(image) for record in records])
        return answers(records)

    return await _in_thread(current, decoding, answered, records)


def _refuse_pixels(images: Sequence[object]) -> None:
    """Problem 413 where images have too many pixels together; few bytes may hold very many."""
    num_pixels = sum(num_pixels_of(image) for image in images)
    if num_pixels > MAX_REQUEST_PIXELS:
        raise Problem(
            413,
            f"the images of one request may have {MAX_REQUEST_PIXELS:,} pixels together, however: "
            f"they have {num_pixels:,}; score data sets with `python -m jobs.predict`",
        )


class Waiting:
    """Requests whose body is under way: each may take BODY_TIMEOUT_S, and a tenth of it more.

    One timer for all: asyncio.timeout would cost each request 5 us, a tenth of its answer.
    """

    def __init__(self) -> None:
        self._since_s: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._has_timer = False

    async def body(self, receive: Receive, max_bytes: int) -> bytes:
        """The whole body; Problem 408 where it does not arrive, 413 where it is too large."""
        task = asyncio.current_task()
        assert task is not None, "a server runs requests in tasks"
        self._since_s[task] = time.monotonic()
        if not self._has_timer:
            self._end_late()
        try:
            message = await receive()
            body: bytes = message.get("body", b"")
            while message.get("more_body", False) and len(body) <= max_bytes:
                message = await receive()
                body += message.get("body", b"")
        except asyncio.CancelledError:
            if task not in self._late or task.uncancel() > 0:  # or from outside as well
                raise
            rule = f"a body must arrive within {BODY_TIMEOUT_S:g} s"
            raise Problem(408, f"{rule}, however: this one did not") from None
        finally:
            del self._since_s[task]
            self._late.discard(task)
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        if len(body) > max_bytes:
            await _discard(message, receive)
            raise Problem(
                413,
                f"a body may have {max_bytes:,} bytes, however: this one has more; "
                "score data sets with `python -m jobs.predict`",
            )
        return body

    def _end_late(self) -> None:
        """End what has waited too long; look again as long as anything waits."""
        now_s = time.monotonic()
        for task, since_s in self._since_s.items():
            if now_s - since_s > BODY_TIMEOUT_S and task not in self._late:
                self._late.add(task)
                task.cancel()
        self._has_timer = bool(self._since_s)
        if self._has_timer:
            asyncio.get_running_loop().call_later(BODY_TIMEOUT_S / 10, self._end_late)


async def _discard(message: Message, receive: Receive) -> None:
    """Read an oversized body on, without keeping it: a client mid-upload hears no answer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while message.get("more_body", False):
                message = await receive()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
