"""Our HTTP path beside FastAPI + uvicorn with the same model: python -m tests.bench.bench_http

Both answer with the same Answerer, the same model files and the same bytes, attributions included.
The client is one process for both (wrk where installed, else a small one of asyncio streams).
Repetitions alternate; what counts is the median of same-round ratios, as other work on the machine
comes and goes. Prints a table to standard error and one JSON line to standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from spt_core.artifacts import as_uri
from spt_core.continuous.ledger import Ledger
from spt_core.model import SpecializedModel, default_policy
from spt_core.registry import ModelVersion, Registry
from spt_core.task import find
from tests.live_service import ROOT, LiveService
from tests.tiny_models import FRAUD, tiny_export

CLIENTS = 32
REFERENCE_PORT = 18_490
P50_TARGET, RATE_TARGET = 1.3, 1.0
_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}


class Round(NamedTuple):
    """One measurement: median latency at one client, requests a second at CLIENTS clients."""

    p50_us: float
    per_second: float


def main() -> None:
    """Measure, print, and leave with 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="per measurement")
    parser.add_argument("--storage", help="a storage root whose champion is served (default: tiny)")
    parser.add_argument("--authentication", action="store_true", help="ours wants a key")
    parser.add_argument("--reference", help=argparse.SUPPRESS)  # the reference server itself
    parser.add_argument("--client", nargs=5, help=argparse.SUPPRESS)  # the client itself
    args = parser.parse_args()
    if args.reference is not None:
        serve_reference(args.reference)
        return
    if args.client is not None:
        url, body, key, clients, seconds = args.client
        ended = asyncio.run(load(url, body, key, int(clients), int(seconds)))
        sys.stdout.write(json.dumps(ended))
        return
    with tempfile.TemporaryDirectory() as folder:
        storage = args.storage or folder
        if args.storage is None:
            _add_tiny(folder)
        content = compare(storage, args.repetitions, args.seconds, args.authentication)
    sys.stdout.write(json.dumps(content) + "\n")
    sys.exit(content["p50_ratio"] > P50_TARGET or content["rate_ratio"] < RATE_TARGET)


def compare(
    storage: str, repetitions: int, seconds: int, has_authentication: bool
) -> dict[str, Any]:
    """The figures of alternating repetitions; both are sent the key, ours alone asks for it."""
    version, key = _version(storage), ""
    if has_authentication:
        ledger = Ledger(f"sqlite:///{storage}/spt.db")
        name = f"bench {time.time_ns()}"
        key = ledger.add_principal(name, ["client"], actor="bench")
    body = json.dumps(dict(find(FRAUD).example))
    reference = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bench_http", "--reference", storage],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        variables = {"SPT_AUTHENTICATION": "on" if has_authentication else "off"}
        with LiveService(storage, variables=variables) as service:
            service.call("promote", version.ref, None)
            urls = {
                "spt": f"http://127.0.0.1:{service.port}/v1/{FRAUD}",
                "fastapi": f"http://127.0.0.1:{REFERENCE_PORT}/v1/{FRAUD}",
            }
            _same_answers(urls, body, key)
            for url in urls.values():  # warm
                measure(url, body, key, 8, 1)
            rounds: list[dict[str, Round]] = []
            for number in range(repetitions):
                names = list(urls) if number % 2 else list(reversed(urls))
                rounds.append({name: _round(urls[name], body, key, seconds) for name in names})
                sys.stderr.write(f"{rounds[-1]}\n")
    finally:
        reference.terminate()
        reference.wait()
    return {**_figures(rounds, version), "authentication": has_authentication}


def measure(url: str, body: str, key: str, clients: int, seconds: int) -> tuple[float, float]:
    """(median latency in us, requests a second) of a client in a process of its own."""
    if shutil.which("wrk"):
        return _wrk(url, body, key, clients, seconds)
    command = [sys.executable, "-m", "tests.bench.bench_http", "--client", url, body, key]
    ended = subprocess.run(
        [*command, str(clients), str(seconds)], cwd=ROOT, capture_output=True, check=True
    )
    p50_us, per_second = json.loads(ended.stdout)
    return p50_us, per_second


async def load(url: str, body: str, key: str, clients: int, seconds: int) -> tuple[float, float]:
    """The small client: keep-alive connections that ask one after the other."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, port = host.split(":")
    request = (
        f"POST /{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection(name, int(port))
        while (start := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = re.search(rb"(?i)content-length: (\d+)", head)
            assert length is not None
            await reader.readexactly(int(length[1]))
            latencies.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    return statistics.median(latencies) * 1e6, len(latencies) / seconds


def serve_reference(storage: str) -> None:
    """FastAPI as its documentation shows it, on uvicorn with one worker."""
    version = _version(storage)
    answerer = SpecializedModel(version.exported, policy=version.policy).open()
    app = FastAPI()

    @app.post(f"/v1/{FRAUD}")
    async def answer(request: Request) -> Response:
        headers = {"x-model-version": version.ref}
        return JSONResponse(answerer.answer(await request.json()), headers=headers)

    uvicorn.run(app, host="127.0.0.1", port=REFERENCE_PORT, log_level="error", access_log=False)


def _wrk(url: str, body: str, key: str, clients: int, seconds: int) -> tuple[float, float]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f'wrk.method = "POST"\nwrk.body = {json.dumps(body)}\n')
        script.write('wrk.headers["content-type"] = "application/json"\n')
        script.write(f'wrk.headers["authorization"] = "Bearer {key}"\n')
        script.flush()
        options = ["-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", script.name]
        ended = subprocess.run(["wrk", *options, url], capture_output=True, text=True, check=True)
    output = ended.stdout
    assert "Non-2xx" not in output, output
    assert "Socket errors" not in output, output
    p50 = re.search(r"\n\s+50%\s+([\d.]+)(us|ms|s)", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert p50 is not None, output
    assert rate is not None, output
    return float(p50[1]) * _UNITS_US[p50[2]], float(rate[1])


def _round(url: str, body: str, key: str, seconds: int) -> Round:
    return Round(
        measure(url, body, key, 1, seconds)[0], measure(url, body, key, CLIENTS, seconds)[1]
    )


def _same_answers(urls: dict[str, str], body: str, key: str) -> None:
    """Wait for both servers, and see that they say the same."""
    answers: dict[str, bytes] = {}
    for name, url in urls.items():
        deadline = time.monotonic() + 60
        while name not in answers:
            try:
                request = urllib.request.Request(url, body.encode())
                request.add_header("authorization", f"Bearer {key}")
                with urllib.request.urlopen(request, timeout=10) as response:
                    on_hot_path = "-" not in response.headers.get("x-request-id", "")
                    if name == "fastapi" or on_hot_path:
                        answers[name] = response.read()
            except OSError:
                pass
            assert time.monotonic() < deadline, f"{name} does not answer"
            time.sleep(0.2)
    assert answers["spt"] == answers["fastapi"], answers


def _figures(rounds: Sequence[dict[str, Round]], version: ModelVersion) -> dict[str, Any]:
    p50 = [r["spt"].p50_us / r["fastapi"].p50_us for r in rounds]
    rate = [r["spt"].per_second / r["fastapi"].per_second for r in rounds]
    by_name = {
        name: {
            "p50_us": round(statistics.median(r[name].p50_us for r in rounds)),
            "requests_per_s": round(statistics.median(r[name].per_second for r in rounds)),
        }
        for name in ("spt", "fastapi")
    }
    return {
        "p50_ratio": round(statistics.median(p50), 3),
        "p50_ratio_spread": [round(min(p50), 3), round(max(p50), 3)],
        "rate_ratio": round(statistics.median(rate), 3),
        "rate_ratio_spread": [round(min(rate), 3), round(max(rate), 3)],
        **by_name,
        "clients": CLIENTS,
        "repetitions": len(rounds),
        "client": "wrk" if shutil.which("wrk") else "asyncio streams",
        "model": version.exported.uri,
        "size_bytes": version.exported.size_bytes,
        "num_features": len(version.exported.artifact.signature.columns),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "load_average": os.getloadavg(),
    }


def _version(storage: str) -> ModelVersion:
    registry = Registry(f"sqlite:///{storage}/spt.db")
    return registry.versions(FRAUD)[-1]


def _add_tiny(folder: str) -> None:
    task = find(FRAUD)
    export = tiny_export(task, as_uri(folder))
    Registry(f"sqlite:///{folder}/spt.db").add(
        export, default_policy(export), {}, created_by="bench"
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match[1] if match else platform.processor()


if __name__ == "__main__":
    main()
