"""A service that is changed while it is asked: python -m tests.bench.bench_rollover [--minutes 10]

A service of `jobs.deploy` in a process of its own answers an open loop (bench_open_loop.py) at a
steady rate. Every minute a second terminal changes it, as an operator would, with `jobs.deploy`: it
promotes the other version, scales up and down, promotes a version with another policy, and rolls
back. Printed are the requests by outcome and version, latencies, what each change took, and the
memory (PSS) of a replica, HAProxy and controller, in the first and in the last fifth of the time.
Leaves with 1 where a request failed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from spt_core.artifacts import as_uri
from spt_core.model import default_policy
from spt_core.registry import Registry
from spt_core.task import find
from tests.bench.results import finish
from tests.live_service import ROOT, free_port_block
from tests.tiny_models import FRAUD, tiny_export

START_TIMEOUT_S = 180.0
SAMPLE_S = 5.0
KINDS = {"ModelServer": "replica", "ServeController": "controller", "haproxy": "HAProxy"}


def main() -> int:
    """Serve, load, change, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(f"sqlite:///{folder}/spt.db")
        for seed in range(2):
            export = tiny_export(find(FRAUD), as_uri(Path(folder)), seed=seed)
            registry.add(export, default_policy(export), {}, created_by="bench")
        edited = _edited_policy(registry, Path(folder))
        port = free_port_block()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SPT_"))}
        environment = {**kept, "SPT_HTTP_PORT": str(port), "SPT_STORAGE": folder}
        service = subprocess.Popen(
            [sys.executable, "-m", "jobs.deploy", FRAUD], cwd=ROOT, env=environment
        )
        try:
            _wait_until_it_answers(port, service)
            result = changed_under_load(given, port, edited, environment)
        finally:
            service.terminate()
            service.wait()
    finish("rollover", result)
    return int(bool(result["load"]["failures"]) or not all(c["ok"] for c in result["changes"]))


def changed_under_load(
    given: argparse.Namespace, port: int, edited: Path, environment: Mapping[str, str]
) -> dict[str, Any]:
    """What became of the requests and of the memory while the service was changed."""
    seconds, url = given.minutes * 60.0, f"http://127.0.0.1:{port}/v1/{FRAUD}"
    line = [sys.executable, "-m", "tests.bench.bench_open_loop", url]
    load = subprocess.Popen(
        [*line, "--rate", str(given.rate), "--seconds", str(seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    plan: Sequence[tuple[str, ...]] = (
        ("--version", "1"),
        ("--replicas", "2"),
        ("--version", "2"),
        ("--replicas", "1"),
        ("--policy", str(edited)),
        ("--rollback",),
    )
    began, samples, changes = time.monotonic(), list[tuple[float, dict[str, float]]](), []
    due = 60.0
    while load.poll() is None:
        now = time.monotonic() - began
        if now >= due and due < seconds:
            words = plan[len(changes) % len(plan)]
            changes.append(_change(words, environment))
            due += 60.0
        samples.append((now, _memory_mb(port)))
        time.sleep(SAMPLE_S)
    assert load.stdout is not None
    return {
        "rate": given.rate,
        "minutes": given.minutes,
        "load": json.loads(load.stdout.read()),
        "changes": changes,
        "memory_mb": _first_and_last(samples, seconds),
    }


def _change(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "jobs.deploy", FRAUD, *words],
        cwd=ROOT,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    shown = " ".join(Path(word).name for word in words)
    seconds, is_ok = round(time.monotonic() - started, 1), ended.returncode == 0
    return {"change": shown, "seconds": seconds, "ok": is_ok, "said": ended.stderr[-300:]}


def _memory_mb(port: int) -> dict[str, float]:
    """Mean memory (PSS) of this service's processes of each kind."""
    sizes: dict[str, list[float]] = {kind: [] for kind in KINDS.values()}
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            is_ours = process.environ().get("SPT_HTTP_PORT") == str(port)
            kind = next((kind for text, kind in KINDS.items() if text in words), None)
            if kind is not None and is_ours:
                sizes[kind].append(process.memory_full_info().pss / 1e6)
        except psutil.Error:  # it has just ended
            continue
    return {kind: statistics.fmean(own) for kind, own in sizes.items() if own}


def _first_and_last(
    samples: Sequence[tuple[float, Mapping[str, float]]], seconds: float
) -> dict[str, list[float]]:
    """Medians of the first and of the last fifth."""
    first = [memory for now, memory in samples if now < seconds / 5]
    last = [memory for now, memory in samples if now > seconds * 4 / 5]
    return {
        kind: [
            round(statistics.median(one[kind] for one in part if kind in one), 1)
            for part in (first, last)
        ]
        for kind in KINDS.values()
    }


def _edited_policy(registry: Registry, folder: Path) -> Path:
    """A file with version 2's policy whose thresholds are others."""
    content = registry.versions(FRAUD)[-1].policy.to_json()
    for name in ("review_threshold", "decline_threshold"):
        content[name] = min(content[name] + 0.01, 1.0)
    path = folder / "policy.json"
    path.write_text(json.dumps({"policy": content}))
    return path


def _wait_until_it_answers(port: int, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert service.poll() is None, "the service has ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
                if FRAUD in answer.read().decode():
                    return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError("the service does not answer")


if __name__ == "__main__":
    sys.exit(main())
