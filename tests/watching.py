"""A site of feeds that a test changes, a job system that only notes, and a pipeline on both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from spt_core.continuous import ContinuousTrainingPipeline, WatchOptions
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.fetch.fetcher import FetchPolicy
from spt_core.continuous.fetch.guard import Guard
from spt_core.continuous.ledger import Ledger
from spt_core.continuous.monitoring import Monitoring
from spt_core.continuous.sources import SourcesFile
from spt_core.task import IndustryType

FINANCE = IndustryType.FINANCIAL_SERVICES
MODEL = "financial_services/regulatory_compliance/default"
BUCKET = "financial_services.regulatory_compliance"
RULES = Monitoring(model=MODEL, keywords=("capital",), trigger_threshold=4, max_source_share=0.5)


def rss(*titles: str, name: str = "a") -> bytes:
    """A feed of publications with these titles."""
    items = "".join(
        f"<item><title>{title}</title><link>https://{name}.example/{n}</link>"
        f"<guid>{name}-{title}</guid><category>Rule</category></item>"
        for n, title in enumerate(titles)
    )
    return f'<?xml version="1.0"?><rss version="2.0"><channel>{items}</channel></rss>'.encode()


class Site:
    """Answers by path; `bodies` may be changed, and an answer that is known is a 304."""

    def __init__(self, port: int = 0) -> None:
        self.bodies: dict[str, bytes] = {}
        self.others: dict[str, Callable[[web.BaseRequest], Any]] = {}
        self.asked: list[str] = []
        self.port = port

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[Site]:
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    def source(self, name: str, **values: Any) -> Source:
        url = f"http://127.0.0.1:{self.port}/{name}"
        return Source(
            **{"id": name, "name": name, "industry": FINANCE, "kind": "rss", "url": url, **values}
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        name = request.path.strip("/")
        self.asked.append(name)
        if name in self.others:
            made = self.others[name](request)
            return await made if asyncio.iscoroutine(made) else made
        if name not in self.bodies:
            return web.Response(status=404)
        etag = f'"{hash(self.bodies[name])}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(body=self.bodies[name], headers={"ETag": etag})


class NotedJobs:
    """Takes jobs, and says of each what the test wants."""

    def __init__(self) -> None:
        self.submitted: list[tuple[str, dict[str, Any]]] = []
        self.says: Any = "RUNNING"
        self.error = ""

    def submit(self, submission_id: str, payload: dict[str, Any]) -> None:
        if self.error:
            raise RuntimeError(self.error)
        if any(submission_id == known for known, _ in self.submitted):
            raise RuntimeError(f"Job with submission_id {submission_id} already exists")
        self.submitted.append((submission_id, payload))

    def cause(self, submission_id: str) -> str:
        return ""

    def status(self, submission_id: str) -> Any:
        known = any(submission_id == one for one, _ in self.submitted)
        return self.says if known else None


def options(folder: Any, **values: Any) -> WatchOptions:
    """Options of a pipeline in a hurry."""
    guard = Guard(allow_networks=("127.0.0.1/32",))
    policy = FetchPolicy(
        guard=guard, host_pause_s=0.0, host_at_a_time=20, max_connections=8, deadline_s=1.0
    )
    return WatchOptions(
        **{
            "storage": str(folder),
            "policy": policy,
            "tick_s": 0.02,
            "batch_wait_s": 0.02,
            "drive_s": 0.05,
            "evaluate_s": 0.1,
            "lease_ttl_s": 3.0,
            **values,
        }
    )


def pipeline(
    sources: list[Source], folder: Any, *, jobs: Any = None, rules: Any = (RULES,), **values: Any
) -> ContinuousTrainingPipeline:
    made = {k: values.pop(k) for k in ("steps", "clock") if k in values}
    return ContinuousTrainingPipeline(
        SourcesFile(sources=tuple(sources), monitoring=tuple(rules)),
        options=options(folder, **values),
        jobs=jobs or NotedJobs(),
        **made,
    )


@contextlib.asynccontextmanager
async def running(one: ContinuousTrainingPipeline) -> AsyncIterator[None]:
    """The pipeline at work during the block; its end must be a clean one."""
    task = asyncio.create_task(one.start_monitoring())
    try:
        yield
    finally:
        one.stop()
        await asyncio.wait_for(task, 20)


async def until(condition: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    """What the condition gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        await asyncio.sleep(0.02)
    return found


def ask_again(ledger: Ledger) -> None:
    """Have every source due now, as if its time had come."""
    with ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE spt_source SET next_check = 0")


def explained(item: Any) -> dict[str, Any]:
    return json.loads(item.explanation)
