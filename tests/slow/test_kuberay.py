"""A Ray with exactly the manifest's variables takes the manifest's configuration of Serve."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.authentication_test_utils import (
    authentication_env_guard,
    reset_auth_token_state,
    set_auth_mode,
    set_env_auth_token,
)

from cluster.lifecycle import haproxies
from cluster.local import head_node
from spt_core.artifacts import ExportedModel
from spt_core.continuous.ledger import Ledger
from spt_core.model import default_policy
from spt_core.registry import Registry
from spt_core.task import example_record, find
from tests.tiny_models import FRAUD
from tests.unit.kuberay.manifests import clusters, literals, only

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]
PRODUCTION = "overlays/production"
WITHIN_S = 180


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def database(export: ExportedModel, tmp_path: Path) -> str:
    """A registry that says: version 1 serves. Nobody has served it yet."""
    url = f"sqlite:///{tmp_path}/spt.db"
    registry = Registry(url)
    version = registry.add(export, default_policy(export), {}, created_by="test")
    registry.set_alias(version.name, "champion", 1, expected=None, actor="test")
    deployment = registry.deploy(version.name, 1, expected_epoch=0, actor="test")
    registry.mark(deployment, "live")
    return url


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Ray puts a node's id below it, and a socket's path ends at 97 characters."""
    with tempfile.TemporaryDirectory(prefix="k") as folder:
        yield Path(folder)
        for pid in haproxies(Path(folder)):  # in a pod they end with it
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def variables(database: str, tmp_path: Path, short_folder: Path) -> dict[str, str]:
    """What the manifest, its settings, KubeRay and the image give the serving head, and no more.

    HAProxy's files and ports are a pod's own; here they are kept from other services'.
    """
    head = clusters(PRODUCTION)["RayService/spt"]["headGroupSpec"]["template"]["spec"]
    return {
        **literals(head["containers"][0]),
        **dict.fromkeys(only(PRODUCTION, "ConfigMap")["data"], ""),
        "SPT_STORAGE": str(tmp_path),
        "SPT_DATABASE_URL": database,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(ROOT / "cluster" / "haproxy"),
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
        "RAY_USAGE_STATS_ENABLED": "0",
        **haproxy_aside(short_folder),
    }


def haproxy_aside(folder: Path) -> dict[str, str]:
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
    }


@pytest.fixture
def dashboard(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The dashboard of a head with the manifest's variables; asked with its token from here."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with authentication_env_guard():  # this process' Ray has read the variables already
        set_auth_mode(variables["RAY_AUTH_MODE"])
        set_env_auth_token(variables["RAY_AUTH_TOKEN"])
        reset_auth_token_state()
        with head_node(variables) as head:
            yield head.dashboard
    reset_auth_token_state()


def asked(url: str, content: Any = None, *, method: str = "GET", token: str = "") -> Any:
    body = None if content is None else json.dumps(content).encode()
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            text = response.read()
    except urllib.error.HTTPError as error:
        error.add_note(error.read().decode(errors="replace")[-3000:])
        raise
    return json.loads(text) if text else None


def answered(url: str, record: Any, key: str) -> Any:
    """The answer, or None."""
    try:
        return asked(url, record, method="POST", token=key)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def without_an_answer_s(
    url: str, record: Any, key: str, states: Callable[[], dict[str, str]]
) -> float:
    """How long the model did not answer until it runs, and everything else does too."""
    start = last = time.monotonic()
    lost_s = 0.0
    while True:
        has_answer = answered(url, record, key) is not None
        now = time.monotonic()
        lost_s += 0.0 if has_answer else now - last
        last = now
        if has_answer and set(states().values()) == {"RUNNING"} and len(states()) == 2:
            return lost_s
        assert now - start < WITHIN_S, states()
        time.sleep(0.1)


def test_a_registered_model_answers_after_kuberay_has_applied_its_configuration(
    dashboard: str,
    variables: dict[str, str],
    export: ExportedModel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    token, port = variables["RAY_AUTH_TOKEN"], free_port()
    ledger = Ledger(variables["SPT_DATABASE_URL"])
    key = ledger.add_principal("shop", ["client"], actor="test")
    content = yaml.safe_load(only(PRODUCTION, "RayService")["spec"]["serveConfigV2"])
    content["http_options"] = {"host": "127.0.0.1", "port": port}
    applications = f"{dashboard}/api/serve/applications/"
    record = example_record(find(FRAUD), export.artifact.signature)
    service = f"http://127.0.0.1:{port}"

    def states() -> dict[str, str]:
        running = asked(applications, token=token)["applications"]
        return {name: one["status"] for name, one in running.items()}

    with pytest.raises(urllib.error.HTTPError, match="401"):
        asked(applications)
    # Twice, as an operator does that was restarted: the model goes, and comes back.
    for name in ("start", "operator restarted"):
        asked(applications, content, method="PUT", token=token)
        lost_s = without_an_answer_s(f"{service}/v1/{FRAUD}", record, key, states)
        with capsys.disabled():
            print(f"\n{name}: {lost_s:.1f} s without an answer")  # noqa: T201  # for the README
    assert states().keys() == {"api", FRAUD.replace("/", "-")}
    with pytest.raises(urllib.error.HTTPError, match="401"):
        asked(f"{service}/v1/{FRAUD}", record, method="POST")
    answer = asked(f"{service}/v1/{FRAUD}", record, method="POST", token=key)
    assert 0 <= answer["fraud_probability"] <= 1
    assert asked(f"{service}/healthz") == {"status": "ok", "models": [f"{FRAUD}/default@1"]}
