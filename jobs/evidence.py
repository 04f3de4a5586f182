"""Export the trail of a model version: python -m jobs.evidence VERSION [--out DIR]

From the publications to the deployment: data manifest, code, configuration, evaluation, approver,
times, and the audit log's head, as JSON and as a page that needs nothing else. The log is verified
first; a version that is not what was judged is refused.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.settings import load_settings
from jobs.console import Screen
from jobs.exits import run as call
from spt_core.artifacts import as_uri, write_bytes
from spt_core.continuous.evidence import collected, html
from spt_core.continuous.ledger import Ledger
from spt_core.registry import Registry


def main(arguments: Sequence[str] | None = None) -> int:
    """A version -> evidence.json and evidence.html in a folder of its own."""
    args = _parser().parse_args(arguments)
    settings = load_settings(storage=args.storage)
    ledger, registry = Ledger(settings.database_url), Registry(settings.database_url)
    content = collected(ledger, registry, args.version)
    name = content["version"].replace("/", "-").replace("@", "-")
    folder = as_uri(args.out or f"evidence-{name}")
    sha256 = written(content, folder)
    head = content["audit_head"]
    Screen(as_json=args.json).result(
        {"version": content["version"], "folder": folder, "sha256": sha256, "audit_head": head},
        f"{folder}/evidence.html\naudit head: entry {head['seq']}, {head['hash']} (keep it)",
    )
    return 0


def written(content: Mapping[str, Any], folder: str) -> str:
    """Write the page and the JSON; the sha256 of the JSON."""
    text = json.dumps(content, indent=1, sort_keys=True)
    write_bytes(f"{folder}/evidence.html", html(content).encode())
    return write_bytes(f"{folder}/evidence.json", text.encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.evidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "version", metavar="VERSION", help="INDUSTRY/TASK[/MODEL_NAME][@VERSION_OR_ALIAS]"
    )
    parser.add_argument("--out", metavar="DIR", help="default: evidence-NAME-N in this folder")
    parser.add_argument("--storage", metavar="URI", help="default: SPT_STORAGE or ./spt_storage")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    call(main)
