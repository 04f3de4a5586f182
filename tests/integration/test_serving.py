"""The running service: answers, promotions without a failed request, refusals, limits, metrics."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from spt_core.artifacts import ExportedModel, as_uri
from spt_core.model import default_policy
from spt_core.registry import Registry
from spt_core.task import find
from tests.live_service import ROOT, LiveService
from tests.tiny_models import FRAUD, RISK, tiny_export

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROUTE = f"/v1/{FRAUD}"
EXAMPLE = dict(find(FRAUD).example)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fraud detection @1, @2 (a new model), @3 (@1 with a new policy), @4 (corrupt); risk @1."""
    folder = tmp_path_factory.mktemp("storage")
    registry = Registry(f"sqlite:///{folder}/spt.db")
    fraud, risk = find(FRAUD), find(RISK)
    exports = [tiny_export(fraud, as_uri(folder), seed=seed) for seed in (0, 1, 2)]
    policy = default_policy(exports[0])
    all_declined = dataclasses.replace(
        policy, review_threshold=0.0, decline_threshold=0.0, version=""
    )
    registry.add(exports[0], policy, {}, created_by="test")
    registry.add(exports[1], policy, {}, created_by="test")
    registry.add(exports[0], all_declined, {}, created_by="test")
    registry.add(exports[2], policy, {}, created_by="test")
    _corrupt(exports[2])
    other = tiny_export(risk, as_uri(folder))
    registry.add(other, default_policy(other), {}, created_by="test")
    return folder


@pytest.fixture(scope="module")
def service(storage: Path) -> Iterator[LiveService]:
    """Fraud detection @1 and risk assessment @1, live."""
    with LiveService(str(storage)) as live:
        live.call("promote", f"{FRAUD}@1", None)
        live.call("promote", f"{RISK}@1", None)
        _until_on_the_hot_path(live, ROUTE, EXAMPLE)
        yield live


@pytest.fixture
def at_first(service: LiveService) -> LiveService:
    service.call("promote", f"{FRAUD}@1", None)
    return service


def _corrupt(export: ExportedModel) -> None:
    path = Path(export.uri.removeprefix("file://")) / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0\0")


def _until_on_the_hot_path(live: LiveService, route: str, record: Any) -> str:
    """The hot path's request id; until HAProxy sees a new replica, Serve's own proxy answers."""
    deadline = time.monotonic() + 20
    while "-" in (found := live.ask(route, record).headers["x-request-id"]):
        assert time.monotonic() < deadline, "the hot path is not active"
        time.sleep(0.2)
    return found


class Load(threading.Thread):
    """Asks on and on; keeps every answer's status, version and action."""

    def __init__(self, service: LiveService) -> None:
        super().__init__()
        self.service, self.seen, self.failed = service, [], []
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                response = self.service.ask(ROUTE, EXAMPLE)
            except OSError as error:
                self.failed.append(repr(error))
                continue
            if response.status != 200:
                self.failed.append(response)
                continue
            version = response.headers["x-model-version"].rpartition("@")[2]
            self.seen.append((int(version), json.loads(response.body)["recommendation"]))

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.3)
        self.stopped.set()
        self.join()


@pytest.mark.parametrize("path", [FRAUD, RISK])
def test_both_tasks_answer_as_their_documents_say(service: LiveService, path: str) -> None:
    document = json.loads(service.ask("/openapi.json").body)
    operation = document["paths"][f"/v1/{path}"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    response = service.ask(f"/v1/{path}", example)
    assert response.status == 200
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"][0]
    jsonschema.validate(json.loads(response.body), schema)
    assert re.fullmatch(rf"{path}/default@\d", response.headers["x-model-version"])


def test_health_and_models_name_what_is_deployed(at_first: LiveService) -> None:
    refs = [f"{FRAUD}/default@1", f"{RISK}/default@1"]
    assert json.loads(at_first.ask("/healthz").body)["models"] == refs
    models = json.loads(at_first.ask("/v1/models").body)["models"]
    assert [model["ref"] for model in models] == refs


def test_every_socket_listens_on_loopback_only(service: LiveService) -> None:
    tree = {service.session}
    parents = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,sid="], capture_output=True, text=True, check=True
    ).stdout
    for _ in range(6):
        for line in parents.splitlines():
            pid, parent, _session = map(int, line.split())
            if parent in tree:
                tree.add(pid)
    sockets = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    ours = [
        line
        for line in sockets.splitlines()
        if {int(p) for p in re.findall(r"pid=(\d+)", line)} & tree
    ]
    assert len(ours) > 5
    assert any("haproxy" in line for line in ours)
    assert all("127.0.0.1" in line.split()[3] for line in ours), ours


def test_a_promotion_fails_no_request(at_first: LiveService) -> None:
    with Load(at_first) as load:
        for number in (2, 1, 2):
            at_first.call("promote", f"{FRAUD}@{number}", None)
    assert load.failed == []
    assert {version for version, _ in load.seen} == {1, 2}
    assert load.seen[-1][0] == 2


def test_a_new_policy_changes_answers_without_a_failed_request(at_first: LiveService) -> None:
    before = at_first.ask(ROUTE, EXAMPLE)
    with Load(at_first) as load:
        at_first.call("promote", f"{FRAUD}@3", None)
    assert load.failed == []
    assert load.seen[-1] == (3, "decline")
    assert json.loads(before.body)["recommendation"] != "decline"
    answers = [
        json.loads(r.body)["fraud_probability"] for r in (before, at_first.ask(ROUTE, EXAMPLE))
    ]
    assert answers[0] == answers[1]


def test_corrupt_files_are_refused_and_the_old_version_serves_on(
    at_first: LiveService, storage: Path
) -> None:
    with Load(at_first) as load, pytest.raises(RuntimeError, match="must match its manifest"):
        at_first.call("promote", f"{FRAUD}@4", None)
    assert load.failed == []
    assert {version for version, _ in load.seen} == {1}
    registry = Registry(f"sqlite:///{storage}/spt.db")
    assert registry.aliases(FRAUD)["champion"] == 1
    assert "must match" in next(d for d in registry.deployments() if FRAUD in d.name).error
    assert f"{FRAUD}/default@1" in at_first.ask("/healthz").body.decode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"amount": NaN}', 400),
        (b"", 400),
        (b"[1]", 422),
        (b'{"a":' * 900 + b"1" + b"}" * 900, 422),
        (b'{"records": [' + b"{}," * 99_999 + b"{}]}", 413),
        (b'{"x": "' + b"y" * 3_000_000 + b'"}', 413),
    ],
)
def test_bad_bodies_are_problems_over_http(service: LiveService, body: bytes, status: int) -> None:
    response = service.ask(ROUTE, raw=body)
    assert response.status == status
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", ROUTE, 405),
        ("POST", f"{ROUTE}/below", 404),
        ("POST", f"{ROUTE}x", 404),
        ("GET", "/", 404),
        ("DELETE", "/healthz", 405),
    ],
)
def test_wrong_routes_and_methods_are_problems(
    service: LiveService, method: str, path: str, status: int
) -> None:
    response = service.ask(path, method=method)
    assert response.status == status
    assert response.headers["content-type"] == "application/problem+json"


def test_the_hot_path_is_active_and_keeps_a_given_request_id(service: LiveService) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.port}{ROUTE}",
        json.dumps(EXAMPLE).encode(),
        {"x-request-id": "from-the-client"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.headers["x-request-id"] == "from-the-client"
    assert re.fullmatch("[0-9a-f]{32}", _until_on_the_hot_path(service, ROUTE, EXAMPLE))


def test_serves_metrics_count_hot_requests(service: LiveService) -> None:
    url = f"http://127.0.0.1:{service.call('metrics_port')}/metrics"

    def counted() -> float:
        with urllib.request.urlopen(url, timeout=10) as response:
            lines = response.read().decode().splitlines()
        name = "ray_serve_num_http_requests_total{"
        found = [line for line in lines if line.startswith(name) and f'route="{ROUTE}"' in line]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    before = counted()
    for _ in range(20):
        service.ask(ROUTE, EXAMPLE)
    deadline = time.monotonic() + 40
    while counted() < before + 20:
        assert time.monotonic() < deadline, (before, counted())
        time.sleep(1)


@pytest.mark.parametrize("offset", [0, 1])
def test_a_taken_port_is_told_in_one_sentence_and_the_service_lives(
    service: LiveService, storage: Path, offset: int
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "jobs.deploy", FRAUD, "--version", "1", "--storage", str(storage)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "SPT_HTTP_PORT": str(service.port + offset)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: the service's ports must be free, however: in use")
    assert ended.stderr.count("\n") == 1
    assert service.ask("/healthz").status == 200
    assert service.ask(ROUTE, EXAMPLE).status == 200
