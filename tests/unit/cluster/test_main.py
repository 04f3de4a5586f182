"""`python -m cluster`: what it refuses, and what `status` and `down` say, without a Ray."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import __main__ as command
from cluster import state
from cluster.settings import HEAD_PORTS, REPLICA_PORTS, SERVICE_PORTS
from cluster.state import LocalCluster, process_of, record, recorded
from cluster.status import lines
from spt_core.errors import InputError
from tests.live_service import ROOT, free_port_block

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A port of nobody, with a private folder and a temporary folder of its own."""
    number = free_port_block()
    for name in ("RAY_ADDRESS", "SPT_HTTP_HOST", "SPT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPT_HTTP_PORT", str(number))
    monkeypatch.setenv("SPT_STORAGE", str(tmp_path / "storage"))
    monkeypatch.setattr(state, "_folder_of", lambda port: tmp_path / "private")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return number


@pytest.fixture
def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A program of Ray's with the temporary folder "ray", which its head has survived."""
    monkeypatch.setattr("cluster.local._RAY", tmp_path / "package")
    script = tmp_path / "package" / "raylet.py"
    script.parent.mkdir()
    script.write_text("import time; time.sleep(60)")
    words = [sys.executable, str(script), f"--dir={tmp_path}/ray/session"]
    reader = [sys.executable, "-c", "import time; time.sleep(60)", f"{tmp_path}/ray/head.log"]
    with subprocess.Popen(words) as process, subprocess.Popen(reader) as other:
        yield process
        assert other.poll() is None  # who only reads there is left alone
        for one in (process, other):
            one.kill()


def cluster(tmp_path: Path, pid: int, started: int | None = None) -> LocalCluster:
    process = process_of(pid)
    if started is not None:
        process = state.Process(pid=pid, started=started, boot=process.boot)
    return LocalCluster(
        kind="cluster",
        address="127.0.0.1:1",
        dashboard="",
        process=process,
        folder=str(tmp_path / "ray"),
    )


def said(capsys: Captured, *words: str) -> tuple[int, dict[str, object]]:
    code = command.main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_help_teaches_the_verbs_and_imports_no_ray() -> None:
    code = (
        "import contextlib, sys; from cluster.__main__ import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "assert not {'ray', 'torch', 'pandas'} & set(sys.modules), sorted(sys.modules)"
    )
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    for words in ("python -m cluster up", "python -m cluster down", "--address 10.0.0.1:8004"):
        assert words in done.stdout


def test_every_port_that_we_hold_has_one_place() -> None:
    offsets = [*SERVICE_PORTS.values(), *HEAD_PORTS.values(), *REPLICA_PORTS]
    assert len(offsets) == len(set(offsets))
    assert max(offsets) < 100  # services are a hundred ports apart


def test_where_nothing_runs_status_says_what_starts_it(port: int, capsys: Captured) -> None:
    assert said(capsys, "status") == (1, {"port": port, "state": "nothing", "troubles": []})
    assert command.main(["status"]) == 1
    assert "`python -m cluster up` starts" in capsys.readouterr().out
    assert said(capsys, "down") == (0, {"ended": []})


def test_a_taken_port_is_named_with_what_to_set(port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + HEAD_PORTS["dashboard"]))
        sentence = rf"in use on 127\.0\.0\.1: dashboard {port + 5}; .* set SPT_HTTP_PORT"
        with pytest.raises(InputError, match=sentence):
            command.main(["up"])
    assert recorded(port) is None


def test_a_killed_head_is_told_and_what_it_left_is_ended(
    port: int, tmp_path: Path, capsys: Captured, sleeper: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "ray").mkdir()
    record(port, cluster(tmp_path, os.getpid(), started=1))
    code, content = said(capsys, "status")
    assert (code, content["state"]) == (1, "stale")
    (trouble,) = content["troubles"]
    assert trouble == (
        f"process {os.getpid()} is another one by now; 1 of its processes live on; `down` clears it"
    )
    assert said(capsys, "down") == (0, {"ended": [sleeper.pid]})
    assert sleeper.wait(timeout=10) is not None
    assert not (tmp_path / "ray").exists()
    assert recorded(port) is None


def test_a_haproxy_that_outlived_its_service_is_told_and_ended(
    port: int, tmp_path: Path, capsys: Captured
) -> None:
    folder = state.private_folder(port)
    words = ["haproxy", "-c", "import time; time.sleep(60)", "-f", f"{folder}/haproxy.cfg"]
    others = [*words[:-1], f"{tmp_path}/haproxy.cfg"]
    with (
        subprocess.Popen(words, executable=sys.executable) as left,
        subprocess.Popen(others, executable=sys.executable) as other,
    ):
        code, content = said(capsys, "status")
        assert (code, content["state"]) == (1, "nothing")
        trouble = f"HAProxy {left.pid} outlived its service; `down` ends it"
        assert content["troubles"] == [trouble]
        assert said(capsys, "down") == (0, {"ended": [left.pid]})
        assert left.wait(timeout=10) != 0
        assert other.poll() is None  # another service's
        other.kill()
    assert said(capsys, "status")[1]["troubles"] == []


def test_status_names_every_port_that_its_processes_listen_on(
    port: int, tmp_path: Path, capsys: Captured
) -> None:
    code = (
        "import socket, time\n"
        f"held = [socket.create_server(('127.0.0.1', {port} + n)) for n in (0, 8)]\n"
        "held.append(socket.create_server(('127.0.0.1', 0)))\n"
        "held.append(socket.create_server(('0.0.0.0', 0)))\n"
        "print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as node:
        assert node.stdout is not None
        node.stdout.readline()
        record(port, dataclasses.replace(cluster(tmp_path, node.pid), kind="node"))
        code, content = said(capsys, "status")
        command.main(["status"])
        text = capsys.readouterr().out
        node.kill()
    assert (code, content["state"]) == (0, "runs")
    held = content["ports"]
    assert isinstance(held, list)
    assert {one["name"] for one in held} == {"HTTP", "metrics", "given by the system"}
    assert [one["address"] for one in held if one["is_open"]] == ["0.0.0.0"]
    assert f"port 127.0.0.1:{port} HTTP (python" in text


def test_the_lines_of_status_say_versions_policies_and_what_is_free() -> None:
    content = {
        "port": 8000,
        "state": "runs",
        "troubles": ["a replica starts"],
        "kind": "cluster",
        "process": 12,
        "address": "127.0.0.1:8004",
        "dashboard": "http://127.0.0.1:8005",
        "storage": "file:///s",
        "ports": [],
        "nodes": [{"address": "127.0.0.1", "resources": {"CPU": 4.0}, "free": {"CPU": 3.65}}],
        "models": [
            {
                "route": "/v1/a/b",
                "ref": "a/b/default@3",
                "policy": "1f",
                "replicas": 2,
                "state": "RUNNING",
                "error": "",
            }
        ],
    }
    assert list(lines(content)) == [
        "port 8000:",
        "  wrong: a replica starts",
        "  a cluster: process 12, Ray at 127.0.0.1:8004",
        "  dashboard: http://127.0.0.1:8005",
        "  storage: file:///s",
        "  node 127.0.0.1: 3.65 of 4 CPUs free",
        "  /v1/a/b: a/b/default@3, policy 1f, 2 replicas, RUNNING",
    ]


def test_a_job_that_serves_is_left_to_whoever_started_it(port: int, tmp_path: Path) -> None:
    run = LocalCluster(
        kind="run", address="127.0.0.1:1", dashboard="", process=process_of(os.getpid()), folder=""
    )
    record(port, run)
    with pytest.raises(InputError, match="a job serves .process .*Ctrl-C ends it"):
        command.main(["down"])
    with pytest.raises(InputError, match="one Ray has the port"):
        command.main(["up"])
    assert recorded(port) == run


def test_a_node_must_say_where_others_reach_it(port: int) -> None:
    with pytest.raises(InputError, match="--host is not given"):
        command.main(["up", "--address", "10.0.0.1:8004"])


def test_ray_address_names_another(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(InputError, match="RAY_ADDRESS names another; unset it"):
        command.main(["up"])
