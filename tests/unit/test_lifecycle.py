"""Runs that start side by side on one machine."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ray import serve

from cluster import lifecycle
from cluster.settings import load_settings

NUM_RUNS = 8


def test_runs_that_start_at_once_share_one_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_private_folder", lambda port: tmp_path)
    settings = load_settings(storage=str(tmp_path / "storage"))
    at_once, draw = threading.Barrier(NUM_RUNS, timeout=10), secrets.token_hex

    def drawn(size: int) -> str:
        at_once.wait()  # every run has seen that there is no token, and none has written one
        return draw(size)

    monkeypatch.setattr("secrets.token_hex", drawn)

    def token(_: int) -> str:
        return Path(lifecycle.embedded_environment(settings)["RAY_AUTH_TOKEN_PATH"]).read_text()

    with ThreadPoolExecutor(NUM_RUNS) as pool:
        tokens = set(pool.map(token, range(NUM_RUNS)))
    (only,) = tokens
    assert len(only) == 64
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_serve_is_not_waited_for_where_its_ray_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    released, stopped = threading.Event(), threading.Event()

    def shutdown() -> None:
        released.wait()
        stopped.set()

    monkeypatch.setattr(serve, "shutdown", shutdown)
    monkeypatch.setattr(lifecycle, "_is_ended", lambda: True)
    lifecycle.stop_serve()
    assert not stopped.is_set()
    released.set()


def test_a_serve_that_does_not_stop_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("the controller does not answer")

    monkeypatch.setattr(serve, "shutdown", fail)
    monkeypatch.setattr(lifecycle, "_is_ended", lambda: False)
    with pytest.raises(RuntimeError, match="does not answer"):
        lifecycle.stop_serve()
