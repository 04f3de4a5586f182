"""How a replica takes versions, and keeps what it has when one is bad."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serve.model_server import HotRoute, ModelServer
from spt_core.artifacts import GRAPH, MANIFEST, ExportedModel
from spt_core.task import find
from spt_core.traffic import merged, quantile_ms, window_from_json
from tests.tiny_models import FRAUD
from tests.unit.serve.asgi import ask

ROOT = Path(__file__).parents[3]


def take(server: ModelServer, config: dict[str, Any]) -> dict[str, str]:
    asyncio.run(server.reconfigure(config))
    return server.served()


def second(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return config | {"ref": f"{FRAUD}/default@2"} | changes


def is_kept(found: dict[str, str], reason: str) -> bool:
    refs = (found["ref"], found["asked"])
    return refs == (f"{FRAUD}/default@1", f"{FRAUD}/default@2") and reason in found["error"]


def test_a_version_is_taken_with_its_policy(server: ModelServer, config: dict[str, Any]) -> None:
    policy = config["policy"] | {"review_threshold": 0.0, "decline_threshold": 0.0}
    before = server.served()
    found = take(server, second(config, policy=policy))
    assert found["ref"] == found["asked"] == f"{FRAUD}/default@2"
    assert found["error"] == ""
    assert found["policy"] != before["policy"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / GRAPH).write_bytes(b"broken"), "must match its manifest"),
        (lambda folder: (folder / GRAPH).unlink(), "must exist to be read"),
        (lambda folder: (folder / MANIFEST).unlink(), "must exist to be read"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "JSONDecodeError"),
        (lambda folder: (folder / MANIFEST).write_text("{}"), "must be a whole ExportedModel"),
    ],
)
def test_damaged_files_are_refused(
    server: ModelServer, config: dict[str, Any], copied: ExportedModel, damage: Any, reason: str
) -> None:
    damage(Path(copied.uri.removeprefix("file://")))
    assert is_kept(take(server, second(config, exported=copied.uri)), reason)


def test_files_that_were_not_registered_are_refused(
    server: ModelServer, config: dict[str, Any]
) -> None:
    files = dict.fromkeys(config["files"], "0" * 64)
    assert is_kept(take(server, second(config, files=files)), "that were registered")


def test_a_model_that_misses_its_probes_is_refused(
    server: ModelServer, config: dict[str, Any], copied: ExportedModel
) -> None:
    path = Path(copied.uri.removeprefix("file://")) / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["probes"]["probabilities"][0] += 0.01
    path.write_text(json.dumps(manifest))
    assert is_kept(take(server, second(config, exported=copied.uri)), "reproduce the probes")


def test_a_bad_policy_is_refused(server: ModelServer, config: dict[str, Any]) -> None:
    policy = config["policy"] | {"review_threshold": 2.0}
    assert is_kept(take(server, second(config, policy=policy)), "thresholds must satisfy")


def test_a_replica_without_a_version_tries_again_and_then_asks_to_be_replaced(
    config: dict[str, Any], copied: ExportedModel
) -> None:
    manifest = Path(copied.uri.removeprefix("file://")) / MANIFEST
    text = manifest.read_text()
    manifest.unlink()
    server = ModelServer(FRAUD)
    take(server, config | {"exported": copied.uri})
    asyncio.run(server.check_health())  # the first passes: the refusal is to be read back
    with pytest.raises(RuntimeError, match="must exist"):
        asyncio.run(server.check_health())
    manifest.write_text(text)
    asyncio.run(server.check_health())
    assert server.served()["ref"] == config["ref"]


@pytest.mark.slow
def test_a_replica_does_not_import_torch() -> None:
    code = "import sys, serve.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_replica_counts_what_each_version_did(
    server: ModelServer, config: dict[str, Any]
) -> None:
    route = HotRoute(server)
    good = json.dumps(dict(find(FRAUD).example)).encode()
    for body in (good, good, b"{", b"[]"):
        asyncio.run(ask(route, body))
    take(server, second(config))
    asyncio.run(ask(route, good))
    windows = server.windows()
    first, after = (merged(map(window_from_json, windows[ref])) for ref in windows)
    assert list(windows) == [f"{FRAUD}/default@1", f"{FRAUD}/default@2"]
    assert (first.num_requests, after.num_requests) == (4, 1)
    assert first.num_errors == 0  # what a client did wrong is no fault of the version
    assert 0 < quantile_ms(first.latency, 0.5) < 5000


def test_a_fault_of_the_version_counts_as_its_error(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(record: Any) -> Any:
        raise ZeroDivisionError

    assert server.current is not None
    monkeypatch.setattr(server.current.answerer, "judged", fail)
    record = dict(find(FRAUD).example)
    assert asyncio.run(ask(HotRoute(server), json.dumps(record).encode())).status == 500
    (windows,) = server.windows().values()
    assert sum(one["num_errors"] for one in windows) == 1
    probe = asyncio.run(server.probe([record]))
    assert probe["answers"] == [{"error": "ZeroDivisionError: "}]


def test_a_replica_answers_golden_records(server: ModelServer) -> None:
    probe = asyncio.run(server.probe([dict(find(FRAUD).example), {"nothing": 1}]))
    assert probe["ref"] == f"{FRAUD}/default@1"
    good, bad = probe["answers"]
    assert good["labels"][0] in ("approve", "review", "decline")
    assert server.current is not None
    (probability,) = server.current.answerer.outputs(find(FRAUD).example).ravel()
    assert good["probability"] == pytest.approx(probability, abs=1e-9)
    assert "InputError" in bad["error"]
    assert asyncio.run(ModelServer(FRAUD).probe([{}]))["ref"] == ""
