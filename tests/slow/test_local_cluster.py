"""One machine's cluster from `up` to `down`: a second terminal changes what the first serves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cluster.settings import HEAD_PORTS, SERVICE_PORTS
from cluster.state import FOLDER_PREFIX, recorded
from spt_core.artifacts import as_uri
from spt_core.model import default_policy
from spt_core.registry import Registry
from spt_core.task import find
from tests.bench.bench_open_loop import Sent, arrivals, load
from tests.live_service import ROOT, free_port_block
from tests.tiny_models import FRAUD, RISK, tiny_export

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
EXAMPLE = json.dumps(dict(find(FRAUD).example)).encode()
RATE = 30.0
LONGEST_S = 600.0


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Terminal:
    """Commands of one shell: the port and the storage, and no address of any Ray."""

    def __init__(self, storage: Path) -> None:
        self.port, self.storage = free_port_block(), storage
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SPT_"))}
        self.environment = {
            **kept,
            "SPT_HTTP_PORT": str(self.port),
            "SPT_STORAGE": str(storage),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/{FRAUD}"

    def run(self, module: str, *words: str, **variables: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", module, *words],
            cwd=ROOT,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def deploy(self, *words: str) -> dict[str, Any]:
        ended = self.run("jobs.deploy", FRAUD, *words, "--json")
        assert ended.code == 0, ended.err
        return json.loads(ended.out.splitlines()[-1])

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("cluster", "status", "--json").out)

    def answers(self) -> str:
        """The version that answers."""
        request = urllib.request.Request(self.url, EXAMPLE, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.headers["x-model-version"]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fraud detection @1 and @2; @3 lacks the end of its file."""
    folder = tmp_path_factory.mktemp("storage")
    registry = Registry(f"sqlite:///{folder}/spt.db")
    exports = [tiny_export(find(FRAUD), as_uri(folder), seed=seed) for seed in (0, 1, 2)]
    for export in exports:
        registry.add(export, default_policy(export), {}, created_by="test")
    model = Path(exports[-1].uri.removeprefix("file://")) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-100])
    return folder


@pytest.fixture(scope="module")
def terminal(storage: Path) -> Iterator[Terminal]:
    """A shell beside a cluster that is up."""
    one = Terminal(storage)
    started = one.run("cluster", "up", "--cpus", "2")
    assert started.code == 0, started.err
    try:
        yield one
    finally:
        one.run("cluster", "down", "--now")


@contextlib.contextmanager
def asked_all_the_time(url: str) -> Generator[Future[list[Sent]]]:
    """Open-loop load for the block; the future holds what became of it."""
    stopped, due = threading.Event(), arrivals(RATE, LONGEST_S, seed=0)

    def ask() -> list[Sent]:
        return asyncio.run(load(url, EXAMPLE, due, stopped=stopped))

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(ask)
        try:
            yield future
        finally:
            stopped.set()


def edited_policy(storage: Path, folder: Path) -> str:
    policy = Registry(f"sqlite:///{storage}/spt.db").get(f"{FRAUD}@2").policy
    changed = dataclasses.replace(policy, review_threshold=0.01, decline_threshold=0.02, version="")
    path = folder / "policy.json"
    path.write_text(json.dumps(changed.to_json()))
    return str(path)


def folders_of(pid: int) -> list[Path]:
    """Ray's temporary folders that the process owns."""
    owned = Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*/owner.json")
    return [file.parent for file in owned if json.loads(file.read_text())["pid"] == pid]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_versions_and_policies_change_from_another_terminal_without_a_lost_request(
    terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.deploy("--version", "1", "--replicas", "1..2")
    with asked_all_the_time(terminal.url) as load_of_the_block:
        terminal.deploy("--version", "2")
        terminal.deploy("--version", "2", "--policy", edited_policy(terminal.storage, tmp_path))
        terminal.deploy("--rollback")
    sent = load_of_the_block.result()
    with capsys.disabled():
        print(f"\n{len(sent):,} requests: {Counter(one.outcome for one in sent)}")  # noqa: T201
    assert {one.outcome for one in sent} == {"ok"}
    assert {one.version for one in sent} == {f"{FRAUD}/default@{n}" for n in (1, 2, 4)}
    assert terminal.answers() == f"{FRAUD}/default@2"


def test_status_shows_models_nodes_and_every_port_on_this_machine_alone(terminal: Terminal) -> None:
    content = terminal.status()
    assert (content["state"], content["troubles"]) == ("runs", [])
    (model,) = content["models"]
    assert (model["ref"], model["state"]) == (f"{FRAUD}/default@2", "RUNNING")
    (node,) = content["nodes"]
    assert node["resources"]["CPU"] == 2
    held = {one["name"]: one["port"] for one in content["ports"]}
    ours = {**SERVICE_PORTS, **HEAD_PORTS}
    shown = {name: port for name, port in held.items() if name in ours}
    assert shown == {name: terminal.port + ours[name] for name in shown}
    assert {"HTTP", "Ray", "dashboard", "dashboard agent", "metrics"} <= shown.keys()
    assert [one for one in content["ports"] if one["is_open"]] == []
    assert listens(terminal.port + HEAD_PORTS["dashboard"])


@pytest.mark.parametrize(
    ("words", "variables", "sentence"),
    [
        (("--version", "77"), {}, "has no version 77"),
        (("--version", "3"), {}, "every replica must take"),
        (("--version", "2", "--replicas", "900..999"), {}, "replicas must find a place"),
        (("--version", "2"), {"SPT_STORAGE": "elsewhere"}, "a service follows one registry"),
        (("--version", "2"), {"SPT_DATABASE_URL": "postgresql+psycopg://x@127.0.0.1:1/x"}, ""),
    ],
)
def test_what_cannot_be_deployed_is_said_and_the_running_version_answers_on(
    terminal: Terminal, words: tuple[str, ...], variables: dict[str, str], sentence: str
) -> None:
    ended = terminal.run("jobs.deploy", FRAUD, *words, **variables)
    assert ended.code == 2, ended.err
    last = ended.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert sentence in last
    assert terminal.answers() == f"{FRAUD}/default@2"


def test_a_job_joins_what_is_up_and_registers_for_a_service_elsewhere(terminal: Terminal) -> None:
    words = (RISK, "--recipe", "smoke", "--json")
    ended = terminal.run("jobs.pipeline", *words, SPT_SERVICE="elsewhere")
    assert ended.code == 0, ended.err
    result = json.loads(ended.out.splitlines()[-1])
    assert result["deploy"] == f"python -m jobs.deploy {RISK} --version 1"
    assert "url" not in result
    routes = [model["route"] for model in terminal.status()["models"]]
    assert routes == [f"/v1/{FRAUD}"]


def test_down_ends_all_of_it_and_leaves_nothing(terminal: Terminal) -> None:
    state = recorded(terminal.port)
    assert state is not None
    assert Path(state.folder).exists()
    ended = terminal.run("cluster", "down")
    assert ended.code == 0, ended.err
    assert not Path(state.folder).exists()
    assert state.process.end != ""
    ports = [terminal.port + offset for offset in {**SERVICE_PORTS, **HEAD_PORTS}.values()]
    assert [port for port in ports if listens(port)] == []
    assert terminal.status()["state"] == "nothing"


def test_a_service_in_the_foreground_is_changed_from_another_terminal_too(
    storage: Path,
) -> None:
    first = Terminal(storage)
    line = [sys.executable, "-m", "jobs.deploy", FRAUD, "--version", "2", "--json"]
    with subprocess.Popen(line, cwd=ROOT, env=first.environment, stdout=subprocess.PIPE) as served:
        assert served.stdout is not None
        assert json.loads(served.stdout.readline())["version"] == f"{FRAUD}/default@2"
        assert len(folders_of(served.pid)) == 1
        with asked_all_the_time(first.url) as load_of_the_block:
            first.deploy("--version", "1")
        sent = load_of_the_block.result()
        served.send_signal(signal.SIGINT)
        assert served.wait(timeout=120) == 0
    assert {one.outcome for one in sent} == {"ok"}
    assert {one.version for one in sent} == {f"{FRAUD}/default@{n}" for n in (1, 2)}
    assert folders_of(served.pid) == []
