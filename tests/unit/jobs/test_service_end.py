"""A service that a person, systemd or Kubernetes ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from cluster.settings import load_settings
from jobs.console import Screen
from jobs.service import serve_until_interrupted


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {sent: signal.getsignal(sent) for sent in (signal.SIGINT, signal.SIGTERM)}
    yield
    for sent, handler in before.items():
        signal.signal(sent, handler)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_stops_it_in_good_order(
    sent: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def rays_own(number: int, frame: Any) -> None:
        raise AssertionError("Ray's handler would end the process at once")

    monkeypatch.setattr(ray, "nodes", list)
    signal.signal(sent, rays_own)
    threading.Timer(0.3, os.kill, (os.getpid(), sent)).start()
    serve_until_interrupted(Screen(as_json=False), load_settings(storage="/tmp"))
    assert capsys.readouterr().err.strip().endswith("stopping")
