"""A service with authentication: every port, keys that come and go, what listens, what is noted."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spt_core.artifacts import as_uri
from spt_core.continuous.ledger import Ledger
from spt_core.model import default_policy
from spt_core.registry import Registry
from spt_core.task import find
from tests.live_service import LiveService
from tests.tiny_models import FRAUD, tiny_export

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]
ROUTE, EXAMPLE = f"/v1/{FRAUD}", dict(find(FRAUD).example)
WITHIN_S = 20.0
LOOPBACK = ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]")
VARIABLES = {"SPT_AUTHENTICATION": "on", "SPT_HTTP_HOST": "0.0.0.0", "SPT_LOG_FORMAT": "json"}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("storage")
    registry = Registry(f"sqlite:///{folder}/spt.db")
    export = tiny_export(find(FRAUD), as_uri(folder))
    registry.add(export, default_policy(export), {}, created_by="test")
    return folder


@pytest.fixture(scope="module")
def ledger(storage: Path) -> Ledger:
    return Ledger(f"sqlite:///{storage}/spt.db")


@pytest.fixture(scope="module")
def key(ledger: Ledger) -> str:
    return ledger.add_principal("shop", ["client"], actor="test")


@pytest.fixture(scope="module")
def service(storage: Path, key: str) -> Iterator[LiveService]:
    with LiveService(str(storage), variables=VARIABLES) as live:
        live.call("promote", f"{FRAUD}@1", None)
        until(lambda: live.ask(ROUTE, EXAMPLE, key=key).status == 200)
        yield live


def until(holds: Callable[[], bool]) -> float:
    start_s = time.monotonic()
    while not holds():
        assert time.monotonic() - start_s < WITHIN_S
        time.sleep(0.2)
    return time.monotonic() - start_s


def listeners(service: LiveService) -> dict[int, tuple[str, str]]:
    """Of the service's processes: the port with its address and who listens."""
    tree = {service.session}
    for _ in range(6):
        lines = subprocess.run(
            ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        tree |= {int(pid) for pid, parent in map(str.split, lines) if int(parent) in tree}
    sockets = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    held: dict[int, tuple[str, str]] = {}
    for line in sockets.splitlines():
        if {int(pid) for pid in re.findall(r"pid=(\d+)", line)} & tree:
            address, _, port = line.split()[3].rpartition(":")
            held[int(port)] = (address, line)
    return held


def test_no_http_port_answers_a_model_without_a_key(service: LiveService, key: str) -> None:
    held = listeners(service)
    http = [port for port in held if service.port <= port <= service.port + 90]
    assert service.port in http
    asked = 0
    for port in http:
        try:
            with_key = service.ask(ROUTE, EXAMPLE, key=key, port=port).status
        except OSError:
            continue  # HAProxy's own ports speak of HAProxy alone
        if with_key == 200:
            asked += 1
            assert service.ask(ROUTE, EXAMPLE, port=port).status == 401
            assert service.ask("/-/routes", port=port).status in (401, 404)
    assert asked >= 2  # HAProxy and a replica


def test_beyond_this_machine_listens_the_service_alone(service: LiveService) -> None:
    held = listeners(service)
    wide = {port for port, (address, _) in held.items() if address not in LOOPBACK}
    assert wide == {service.port}
    assert "haproxy" in held[service.port][1]


def test_what_is_open_answers_and_what_is_not_says_why(service: LiveService, key: str) -> None:
    assert service.ask("/healthz").status == 200
    assert service.ask("/-/healthz").status == 200
    for path in ("/v1/models", "/openapi.json", "/v1/reviews", "/nothing", ROUTE):
        refused = service.ask(path)
        assert refused.status == 401, path
        assert refused.headers["content-type"] == "application/problem+json"
    assert service.ask("/v1/models", key=key).status == 200
    assert service.ask("/v1/reviews", key=key).status == 403
    assert service.ask("/v1/another/task", {}, key=key).status == 404


def test_a_key_comes_and_goes_without_a_restart(service: LiveService, ledger: Ledger) -> None:
    new = ledger.issue_key("shop", roles=["client"], actor="test", tasks=[FRAUD])
    seconds = until(lambda: service.ask(ROUTE, EXAMPLE, key=new).status == 200)
    held = ledger.holder(new)
    assert held is not None
    ledger.revoke_key(held.key_id, actor="test")
    seconds = max(seconds, until(lambda: service.ask(ROUTE, EXAMPLE, key=new).status == 401))
    assert seconds < 8


def test_refusals_reach_the_audit_log_and_prometheus(service: LiveService, ledger: Ledger) -> None:
    service.ask(ROUTE, EXAMPLE, key="spt_wrong")

    def noted() -> bool:
        bodies = [entry.body for entry in ledger.audit() if entry.event == "access.refused"]
        return any(b.get("why") == "wrong" and b.get("path") == ROUTE for b in bodies)

    until(noted)
    assert "spt_wrong" not in json.dumps([entry.body for entry in ledger.audit()])
    url = f"http://127.0.0.1:{service.call('metrics_port')}/metrics"
    names = ("ray_spt_requests_total", "ray_spt_request_seconds_bucket", "ray_spt_scores_bucket")
    more = ("ray_spt_refused_requests_total", "ray_spt_keys_age_seconds")
    deadline = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(url, timeout=10) as response:
            text = response.read().decode()
        missing = [name for name in (*names, *more) if f"\n{name}{{" not in text]
        if not missing:
            break
        assert time.monotonic() < deadline, missing
        time.sleep(1)
    (answered, *_) = re.findall(r"ray_spt_requests_total\{[^}]*\}", text)
    assert f'task="{FRAUD}"' in answered
    assert f'version="{FRAUD}/default@1"' in text
