"""Where a bench that measures its own memory puts its result: protocol.py would load torch."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def finish(name: str, result: Mapping[str, Any]) -> None:
    """Print the result and keep it as JSON."""
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}"
    text = json.dumps({**result, "machine": machine}, indent=1, default=float)
    folder = Path("bench_results")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(text)
    print(text)  # noqa: T201
