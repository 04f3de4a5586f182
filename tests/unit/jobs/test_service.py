"""Which service a command may change, and what it says where there is none."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster import state
from cluster.settings import load_settings
from cluster.state import LocalCluster, database_digest, process_of, record
from jobs import deploy
from jobs.service import asked, elsewhere, require_service
from spt_core.errors import InputError, MachineError
from spt_core.registry import Registry
from tests.unit.test_rollout import FRAUD, POLICY, add

PORT = 18_392


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A storage whose registry the running service of the port follows."""
    for name in ("RAY_ADDRESS", "SPT_STORAGE", "SPT_DATABASE_URL", "SPT_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(state, "_folder_of", lambda port: tmp_path / "private")
    monkeypatch.setenv("SPT_HTTP_PORT", str(PORT))
    folder = tmp_path / "storage"
    settings = load_settings(storage=str(folder))
    running = LocalCluster(
        kind="run",
        address="127.0.0.1:1",
        dashboard="",
        process=process_of(os.getpid()),
        folder="",
        storage=settings.storage,
        database=database_digest(settings.database_url),
    )
    record(PORT, running)
    return folder


def test_a_running_service_is_changed_by_who_has_its_registry_alone(
    storage: Path, tmp_path: Path
) -> None:
    require_service(load_settings(storage=str(storage)))
    with pytest.raises(InputError, match=f"127.0.0.1:{PORT} follows that of file:.*storage; name"):
        require_service(load_settings(storage=str(tmp_path / "other")))


def test_a_cluster_that_never_serves_registers_and_says_who_takes_it(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPT_SERVICE", "elsewhere")
    with pytest.raises(InputError, match="SPT_SERVICE=elsewhere.; run this command there"):
        deploy.main([FRAUD, "--storage", str(storage)])
    monkeypatch.setenv("SPT_SERVICE", "there")
    with pytest.raises(InputError, match="must be here or elsewhere, however: 'there'"):
        load_settings(storage=str(storage))


def test_the_line_that_deploys_names_model_version_and_variant(tmp_path: Path) -> None:
    registry = Registry(f"sqlite:///{tmp_path}/spt.db")
    first, other = add(registry, tmp_path, 1), add(registry, tmp_path, 2)
    edge = registry.add_variant(first, "edge", other.exported, POLICY, {}, created_by="me")
    assert elsewhere(first) == f"python -m jobs.deploy {FRAUD} --version 1"
    assert elsewhere(edge) == f"python -m jobs.deploy {FRAUD} --version 1 --variant edge"


class Refuses(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(b'{"detail": "\'month\' is missing"}')

    def log_message(self, format: str, *args: object) -> None: ...


def test_a_service_that_does_not_answer_its_own_record_is_one_sentence(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add(Registry(f"sqlite:///{tmp_path}/spt.db"), tmp_path, 1)
    monkeypatch.setattr("jobs.service.example_record", lambda task, signature: task.example)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("SPT_HTTP_PORT", str(server.server_port))
        settings = load_settings(storage=str(storage))
        server.status = 422  # type: ignore[attr-defined]
        with pytest.raises(MachineError, match=r"however: it said 422 .*: .*'month' is missing"):
            asked(settings, version)
        server.status = 403  # type: ignore[attr-defined]
        assert asked(settings, version)["answer"] == {"refused": "'month' is missing"}
        server.shutdown()
    with pytest.raises(MachineError, match="must answer a record of .*, however: .*refused"):
        asked(settings, version)
