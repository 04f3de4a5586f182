"""Files for a Prometheus and a Grafana of your own: python -m cluster.monitoring FOLDER

The rules and the dashboard are those of kuberay/monitoring, the only copy. Prometheus finds a
cluster's nodes by the file that Ray's dashboard keeps, or asks the addresses that --target names
(`make run` prints its own).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from spt_core.errors import InputError, SptError

SOURCE = Path(__file__).parent.parent / "kuberay" / "monitoring"
DISCOVERY = "/tmp/ray/prom_metrics_service_discovery.json"
SCRAPE_INTERVAL = "15s"
_NEXT = """\
prometheus --config.file={folder}/prometheus.yml
grafana server --homepath ... with GF_PATHS_PROVISIONING={folder}/grafana"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, and say how to start what reads them."""
    args = _parser().parse_args(arguments)
    folder = Path(args.folder).absolute()
    write(folder, args.target, args.prometheus)
    sys.stdout.write(_NEXT.format(folder=folder) + "\n")
    return 0


def write(folder: Path, targets: Sequence[str], prometheus: str) -> None:
    """Configurations that load: Prometheus' with its rules, Grafana's with its dashboards."""
    if not SOURCE.is_dir():
        raise InputError(f"the rules are in kuberay/monitoring, however: there is no {SOURCE}")
    dashboards = folder / "grafana" / "dashboards"
    dashboards.mkdir(parents=True, exist_ok=True)
    for path in sorted((SOURCE / "grafana").glob("*.json")):
        shutil.copy(path, dashboards)
    targets_of_job: dict[str, Any] = (
        {"static_configs": [{"targets": list(targets)}]}
        if targets
        else {"file_sd_configs": [{"files": [DISCOVERY]}]}
    )
    _put(
        folder / "prometheus.yml",
        {
            "global": {
                "scrape_interval": SCRAPE_INTERVAL,
                "evaluation_interval": SCRAPE_INTERVAL,
            },
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "ray", **targets_of_job}],
        },
    )
    manifest = yaml.safe_load((SOURCE / "alerts.yaml").read_text())
    _put(folder / "rules.yml", {"groups": manifest["spec"]["groups"]})
    source = {"name": "Prometheus", "type": "prometheus", "url": prometheus, "isDefault": True}
    _put(
        folder / "grafana" / "datasources" / "spt.yml",
        {"apiVersion": 1, "datasources": [{**source, "access": "proxy"}]},
    )
    provider = {"name": "spt", "type": "file", "options": {"path": str(dashboards)}}
    _put(
        folder / "grafana" / "dashboards" / "spt.yml",
        {"apiVersion": 1, "providers": [provider]},
    )


def _put(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cluster.monitoring",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--target", metavar="HOST:PORT", action="append", default=[])
    parser.add_argument("--prometheus", metavar="URL", default="http://127.0.0.1:9090")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SptError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
