"""Dashboards and alerts: they load, and every metric and label in them is one that the code has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from cluster import monitoring
from serve.meters import METRICS, exported_names
from spt_core.continuous.meters import COUNTS, LEVELS
from spt_core.errors import InputError

DASHBOARDS = sorted((monitoring.SOURCE / "grafana").glob("*.json"))
RAY = Path(ray.__file__).parent
# Of Ray, whose label names stand in its own source; what is in its binaries is listed here.
RAYS = {
    "ray_serve_deployment_replica_healthy": {"application", "deployment"},
    "ray_serve_num_http_requests_total": {"application"},
    "ray_serve_num_http_error_requests_total": {"application", "error_code"},
    "ray_node_mem_used": {"instance"},
    "ray_node_mem_total": {"instance"},
    "ray_running_jobs": set(),
}
IN_BINARIES = {"ray_running_jobs": RAY / "core" / "src" / "ray" / "gcs" / "gcs_server"}


def ours() -> dict[str, set[str]]:
    """Each exported name with its labels."""
    names: dict[str, set[str]] = {}
    for name, metric in METRICS.items():
        for exported in exported_names(name, metric):
            le = {"le"} if exported.endswith("_bucket") else set()
            names[exported] = {*metric.labels, *le}
    for name, meter in COUNTS.items():
        names[f"ray_{name}_total"] = {meter.label} - {""}
    for name, meter in LEVELS.items():
        names[f"ray_{name}"] = {meter.label} - {""}
    return names


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return list(dashboard["panels"])


def expressions() -> Iterator[tuple[str, str]]:
    for path in DASHBOARDS:
        for panel in panels(json.loads(path.read_text())):
            for target in panel.get("targets", ()):
                yield f"{path.name}: {panel['title']}", target["expr"]
    manifest = yaml.safe_load((monitoring.SOURCE / "alerts.yaml").read_text())
    for group in manifest["spec"]["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("place", "expression"), list(expressions()))
def test_every_metric_and_label_is_one_that_is_exported(place: str, expression: str) -> None:
    exported = {**ours(), **RAYS}
    names = re.findall(r"\bray_\w+", expression)
    assert names, place
    labels = {label for name in names for label in exported[name]}
    asked = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    for part in re.findall(r"\b(?:by|ignoring|on)\s*\(([^)]*)\)", expression):
        asked += [name.strip() for name in part.split(",")]
    assert set(asked) <= labels, place
    for opened, closed in ("()", "{}", "[]"):
        assert expression.count(opened) == expression.count(closed), place


def test_everything_that_the_code_counts_is_shown_somewhere() -> None:
    text = " ".join(expression for _, expression in expressions())
    names = [*METRICS, *COUNTS, *LEVELS]
    assert [name for name in names if f"ray_{name}" not in text] == []


@pytest.mark.parametrize("name", sorted(IN_BINARIES))
def test_metrics_of_ray_s_binaries_are_in_them(name: str) -> None:
    assert name.removeprefix("ray_").encode() in IN_BINARIES[name].read_bytes()


def test_histograms_reach_from_a_tenth_of_a_millisecond_to_five_seconds() -> None:
    seconds = METRICS["spt_request_seconds"].bounds
    assert (seconds[0], seconds[-1]) == (0.0001, 5.0)
    assert list(seconds) == sorted(set(seconds))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_is_one_that_grafana_draws(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"]
    assert dashboard["schemaVersion"] >= 39
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    drawn = panels(dashboard)
    assert len({panel["id"] for panel in drawn}) == len(drawn)
    for panel in drawn:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24, panel["title"]
        for target in panel.get("targets", ()):
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= variables, panel["title"]
            assert target["datasource"]["uid"] == "${datasource}"
    for one, other in combinations(drawn, 2):
        assert apart(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def apart(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    return beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_the_files_for_ones_own_prometheus_hold_the_same_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert monitoring.main([str(tmp_path), "--target", "127.0.0.1:8080"]) == 0
    assert str(tmp_path) in capsys.readouterr().out
    prometheus = yaml.safe_load((tmp_path / "prometheus.yml").read_text())
    (scraped,) = prometheus["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": ["127.0.0.1:8080"]}]
    (rules,) = prometheus["rule_files"]
    manifest = yaml.safe_load((monitoring.SOURCE / "alerts.yaml").read_text())
    assert yaml.safe_load((tmp_path / rules).read_text())["groups"] == manifest["spec"]["groups"]
    provider = yaml.safe_load((tmp_path / "grafana" / "dashboards" / "spt.yml").read_text())
    (folder,) = (one["options"]["path"] for one in provider["providers"])
    assert (Path(folder) / "spt.json").read_bytes() == DASHBOARDS[0].read_bytes()
    (source,) = yaml.safe_load((tmp_path / "grafana" / "datasources" / "spt.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://127.0.0.1:9090"


def test_without_the_manifests_there_is_nothing_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "SOURCE", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"in kuberay/monitoring, however"):
        monitoring.main([str(tmp_path)])
