"""The watcher as a detached actor: killed with -9 it comes back, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from ray.job_submission import JobSubmissionClient

from cluster.local import Head, head_node
from spt_core.continuous.ledger import Ledger
from tests.watching import Site, ask_again, rss

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
# A job that notes that it ran, in place of jobs.retrain.
START = """
import sys
from cluster.lifecycle import ray_session
from cluster.settings import load_settings
from cluster.watcher import WatchPlan, start
from spt_core.continuous.sources import load_sources
from tests.watching import options
sources, storage, ran = sys.argv[1:]
made = options(storage, database_url=f"sqlite:///{storage}/spt.db", drive_s=0.5)
note = ("/bin/sh", "-c", f'echo "$@" >> {ran}; sleep 600', "retrain")
with ray_session(load_settings()):
    print(start(WatchPlan(file=load_sources(sources), options=made, command=note)))
"""


class Cluster(NamedTuple):
    """A head node, and the variables of what belongs to it."""

    head: Head
    environment: dict[str, str]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SPT_")}
    with head_node(environment) as head:
        yield Cluster(head, {**environment, "RAY_ADDRESS": head.address})


class ForgetfulFeeds:
    """Feeds that never repeat what was acknowledged by its ETag: whatever is lost stays lost."""

    def __init__(self) -> None:
        self.published = {"a": 0, "b": 0}
        self.site = Site()
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        for name in self.published:
            self.site.others[name] = lambda request, name=name: self._answer(name, request)

    def __enter__(self) -> ForgetfulFeeds:
        self._thread.start()
        assert self._up.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)

    def _answer(self, name: str, request: web.BaseRequest) -> web.Response:
        known = int(request.headers.get("If-None-Match", '"0"').strip('"'))
        number = self.published[name]
        headers = {"ETag": f'"{number}"'}
        if known == number:
            return web.Response(status=304, headers=headers)
        titles = [f"Capital {n}" for n in range(known, number)]
        return web.Response(body=rss(*titles, name=name), headers=headers)

    def _run(self) -> None:
        async def serve() -> None:
            async with self.site.up():
                self._up.set()
                await self._end.wait()

        self._loop.run_until_complete(serve())
        self._loop.close()


def until(condition: Callable[[], Any], *, seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(0.2)
    return found


def watch(cluster: Cluster, *words: str) -> dict[str, Any]:
    """What a command of jobs.watch prints as JSON."""
    command = [sys.executable, "-m", "jobs.watch", *words, "--json"]
    ran = subprocess.run(
        command, env=cluster.environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.stdout, ran.stderr
    return json.loads(ran.stdout)


def test_a_killed_watcher_comes_back_and_submits_one_job(cluster: Cluster, tmp_path: Path) -> None:
    ledger, ran = Ledger(f"sqlite:///{tmp_path}/spt.db"), tmp_path / "ran"
    storage = ("--storage", str(tmp_path))
    with ForgetfulFeeds() as feeds:
        file = tmp_path / "sources.toml"
        file.write_text(sources_file(feeds.site.port))
        feeds.published |= {"a": 3, "b": 1}
        assert started(cluster, file, tmp_path, ran)
        until(lambda: len(ledger.items()) == 4)
        first = watch(cluster, "status", *storage)["watcher"]
        assert first["phase"].startswith("leads with epoch")

        os.kill(first["pid"], signal.SIGKILL)
        feeds.published |= {"a": 5, "b": 4}
        ask_again(ledger)
        until(lambda: len(ledger.items()) == 9)
        again = watch(cluster, "status", *storage)["watcher"]
        assert again["pid"] != first["pid"]
        assert again["was_restarted"]
        assert again["epoch"] > first["epoch"]

        (begun,) = until(lambda: [r for r in ledger.retrains() if r.state == "SUBMITTED"])
        until(ran.exists)
        os.kill(again["pid"], signal.SIGKILL)  # whatever it was doing after that submission
        until(lambda: ledger.leader().epoch > again["epoch"] and ledger.leader().is_alive)
        feeds.published["a"] = 6
        ask_again(ledger)
        until(lambda: len(ledger.items()) == 10)
        until(lambda: "ray_spt_watch_polls_total" in metrics(cluster))
    assert ran.read_text().split()[:2] == ["--submission-id", begun.submission_id]
    assert len(ran.read_text().splitlines()) == 1
    jobs = JobSubmissionClient(cluster.head.dashboard).list_jobs()
    assert [j.submission_id for j in jobs if j.submission_id] == [begun.submission_id]
    titles = sorted((item.source_id, item.title, item.rev) for item in ledger.items())
    assert titles == sorted(
        [("a", f"Capital {n}", 1) for n in range(6)] + [("b", f"Capital {n}", 1) for n in range(4)]
    )
    ledger.verify_audit()
    assert watch(cluster, "stop", *storage) == {"stopped": True}
    assert not ledger.leader().is_alive
    assert watch(cluster, "status", *storage)["watcher"] is None


def sources_file(port: int) -> str:
    sources = "".join(
        f'[[source]]\nid = "{name}"\nname = "{name}"\nindustry = "financial_services"\n'
        f'kind = "rss"\nurl = "http://127.0.0.1:{port}/{name}"\n'
        for name in "ab"
    )
    return (
        sources + '[monitoring.financial_services]\nkeywords = ["capital"]\ntrigger_threshold=6\n'
    )


def started(cluster: Cluster, file: Path, storage: Path, ran: Path) -> bool:
    """Whether the actor could be started."""
    ran_ = subprocess.run(
        [sys.executable, "-c", START, str(file), str(storage), str(ran)],
        env={**cluster.environment, "SPT_STORAGE": str(storage)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran_.returncode:
        print(ran_.stderr[-2000:])  # noqa: T201  shown when the test fails
    return ran_.returncode == 0


def metrics(cluster: Cluster) -> str:
    with urllib.request.urlopen(cluster.head.metrics, timeout=10) as response:
        return response.read().decode()
