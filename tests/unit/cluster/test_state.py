"""What is recorded of a Ray of this machine, and how a process is told from a later one."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import state
from cluster.settings import load_settings
from cluster.state import LocalCluster, Process, process_of, record, recorded, remove_ended
from spt_core.errors import ConflictError, InputError

PORT = 18_391


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The private folder of every port."""
    monkeypatch.setattr(state, "_folder_of", lambda port: tmp_path / "private")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("SPT_HTTP_PORT", str(PORT))
    return tmp_path / "private"


@pytest.fixture
def ended() -> Process:
    """A process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = process_of(child.pid)
    child.communicate(b"\n")
    assert child.returncode is not None
    return process


def cluster(process: Process, kind: state.Kind = "cluster") -> LocalCluster:
    return LocalCluster(
        kind=kind, address="127.0.0.1:1", dashboard="", process=process, folder="/nowhere"
    )


def here() -> Process:
    return process_of(os.getpid())


def test_what_was_recorded_is_read_back_by_its_owner_alone(folder: Path) -> None:
    assert recorded(PORT) is None
    written = dataclasses.replace(cluster(here()), nodes=(here(),))
    record(PORT, written)
    assert recorded(PORT) == written
    assert (folder / "cluster.json").stat().st_mode & 0o077 == 0
    folder.chmod(0o755)
    assert recorded(PORT) is None  # another user might have made it


def test_a_process_is_known_by_its_start_and_boot(ended: Process) -> None:
    assert here().end == ""
    assert ended.end == f"process {ended.pid} has ended"
    assert "another one by now" in dataclasses.replace(here(), started=1).end
    assert "started again since" in dataclasses.replace(here(), boot="another").end


@pytest.mark.parametrize("kind", ["cluster", "run"])
def test_jobs_join_what_runs_and_may_name_no_storage(kind: state.Kind) -> None:
    record(PORT, cluster(here(), kind))
    settings = load_settings()
    assert settings.ray_address == "127.0.0.1:1"
    assert not settings.is_named


def test_a_node_of_another_machines_cluster_is_not_joined() -> None:
    record(PORT, cluster(here(), "node"))
    assert load_settings().ray_address is None


def test_ray_address_wins_over_what_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    record(PORT, cluster(here()))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    settings = load_settings(storage="/data")
    assert (settings.ray_address, settings.is_named) == ("10.0.0.1:6379", True)


def test_a_killed_head_is_said_and_a_killed_run_is_forgotten(ended: Process) -> None:
    record(PORT, cluster(ended))
    with pytest.raises(InputError, match=r"has ended; `python -m cluster down` clears"):
        load_settings()
    record(PORT, cluster(ended, "run"))
    assert load_settings().ray_address is None


def test_a_file_that_says_nothing_is_no_cluster(folder: Path) -> None:
    record(PORT, cluster(here()))
    for text in ("{", "[]", '{"kind": "cluster"}'):
        (folder / "cluster.json").write_text(text)
        with pytest.raises(ConflictError, match="cannot be read"):
            recorded(PORT)


def test_only_folders_of_ended_owners_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Process
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept, gone, nobodys = (state.new_folder() for _ in range(3))
    state.owned_by(gone, ended)
    (nobodys / "owner.json").write_text("")
    assert remove_ended() == [gone]
    assert kept.exists()
    assert nobodys.exists()
    old = nobodys.stat().st_mtime - 2 * 86_400
    os.utime(nobodys, (old, old))
    assert remove_ended() == [nobodys]
    assert json.loads((kept / "owner.json").read_text())["pid"] == os.getpid()
