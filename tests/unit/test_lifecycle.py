"""Runs that start side by side on one machine."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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
