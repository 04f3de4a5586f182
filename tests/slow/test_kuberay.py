"""A Ray with exactly the variables of the manifest's serving head takes the manifest's configuration."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.local import head_node
from spt_core.artifacts import ExportedModel
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
def variables(database: str, tmp_path: Path) -> dict[str, str]:
    """What the manifest, its settings, KubeRay and the image give the serving head, and no more.

    Two differ where several clusters share a machine: HAProxy's files and its port of statistics.
    """
    head = clusters(PRODUCTION)["RayService/spt"]["headGroupSpec"]["template"]["spec"]
    return {
        **literals(head["containers"][0]),
        **dict.fromkeys(only(PRODUCTION, "ConfigMap")["data"], ""),
        "SPT_STORAGE": str(tmp_path),
        "SPT_DATABASE_URL": database,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
        "RAY_USAGE_STATS_ENABLED": "0",
        **haproxy_aside(tmp_path),
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
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, variables[name])
    with head_node(variables) as head:
        yield head.dashboard


def asked(url: str, content: Any = None, *, method: str = "GET", token: str = "") -> Any:
    body = None if content is None else json.dumps(content).encode()
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        text = response.read()
    return json.loads(text) if text else None


def until_it_answers(url: str, record: Any) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            return asked(url, record, method="POST")
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            assert time.monotonic() < deadline, error
            time.sleep(0.5)


def test_a_registered_model_answers_after_kuberay_has_applied_its_configuration(
    dashboard: str, variables: dict[str, str], export: ExportedModel
) -> None:
    token, port = variables["RAY_AUTH_TOKEN"], free_port()
    content = yaml.safe_load(only(PRODUCTION, "RayService")["spec"]["serveConfigV2"])
    content["http_options"] = {"host": "127.0.0.1", "port": port}
    applications = f"{dashboard}/api/serve/applications/"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        asked(applications)
    record = example_record(find(FRAUD), export.artifact.signature)
    model = f"http://127.0.0.1:{port}/v1/{FRAUD}"
    for _ in range(2):  # as an operator does that was restarted: the models go, and come back
        asked(applications, content, method="PUT", token=token)
        answer = until_it_answers(model, record)
        assert 0 <= answer["fraud_probability"] <= 1
    assert asked(f"http://127.0.0.1:{port}/-/healthz".replace("/-/healthz", "/healthz")) == {
        "status": "ok",
        "models": [f"{FRAUD}/default@1"],
    }
    running = asked(applications, token=token)["applications"]
    assert {name: one["status"] for name, one in running.items()} == {
        "api": "RUNNING",
        FRAUD.replace("/", "-"): "RUNNING",
    }
