"""Every overlay renders, and an API server with KubeRay would take what comes out."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path

import pytest

from tests.unit.kuberay.manifests import (
    FOLDERS,
    KUBERAY,
    OVERLAYS,
    clusters,
    of_kind,
    only,
    rendered,
)
from tests.unit.kuberay.schemas import errors, schemas_home

KUBERNETES = "1.32"
CUSTOM = ("ray.io/", "monitoring.coreos.com/")


@pytest.mark.parametrize("folder", FOLDERS)
def test_custom_resources_are_valid(folder: str) -> None:
    home = schemas_home()
    custom = [m for m in rendered(folder) if m["apiVersion"].startswith(CUSTOM)]
    assert custom
    assert [error for manifest in custom for error in errors(home, manifest)] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything_else_is_valid(folder: str) -> None:
    core = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for manifest in rendered(folder):
        if not manifest["apiVersion"].startswith(CUSTOM):
            core.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("headGroupSpecs", {}, "headGroupSpecs"),
        ("enableInTreeAutoscaling", "yes", "'yes' is not of type 'boolean'"),
        ("autoscalerOptions", {"version": "v3"}, "'v3' is not one of"),
        ("workerGroupSpecs", [{"groupName": "cpu"}], "'template' is a required property"),
    ],
)
def test_the_schemas_would_find_a_mistake(place: str, value: object, fault: str) -> None:
    home = schemas_home()
    manifest = copy.deepcopy(only("overlays/production", "RayCluster"))
    manifest["spec"][place] = value
    assert [error for error in errors(home, manifest) if fault in error]


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything_is_in_the_projects_namespace(folder: str) -> None:
    outside = [
        m["metadata"]["name"]
        for m in rendered(folder)
        if m["kind"] != "Namespace" and m["metadata"].get("namespace") != "spt"
    ]
    assert outside == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_other_settings_are_other_pods(name: str) -> None:
    settings = only(f"overlays/{name}", "ConfigMap")["metadata"]["name"]
    assert re.fullmatch(r"spt-settings-\w{10}", settings)
    for owner, spec in clusters(f"overlays/{name}").items():
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            (container,) = group["template"]["spec"]["containers"]
            assert container["envFrom"][0] == {"configMapRef": {"name": settings}}, owner


def test_only_production_needs_the_prometheus_operator_and_a_memory_of_heads() -> None:
    def kinds(name: str) -> set[str]:
        return {manifest["kind"] for manifest in rendered(f"overlays/{name}")}

    assert {"ServiceMonitor", "PodMonitor", "PrometheusRule", "StatefulSet"} <= kinds("production")
    assert kinds("development") == {
        *("Namespace", "ServiceAccount", "ConfigMap", "NetworkPolicy"),
        *("RayCluster", "RayService", "CronJob"),
    }
    has_memory = {
        name: {"gcsFaultToleranceOptions" in spec for spec in clusters(f"overlays/{name}").values()}
        for name in OVERLAYS
    }
    assert has_memory == {"development": {False}, "gpu": {True}, "production": {True}}


def test_graphics_processors_are_for_jobs_and_come_when_asked_for() -> None:
    (spec,) = (m["spec"] for m in of_kind("overlays/gpu", "RayCluster"))
    (group,) = (g for g in spec["workerGroupSpecs"] if g["groupName"] == "gpu")
    (container,) = group["template"]["spec"]["containers"]
    assert (group["minReplicas"], container["image"].partition(":")[0]) == (0, "spt-gpu")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_any_job_is_the_one_template_with_another_command_line(tmp_path: Path) -> None:
    shutil.copytree(KUBERAY / "job", tmp_path / "job")
    shutil.copytree(KUBERAY / "image", tmp_path / "image")
    command = "python -m jobs.predict financial_services/fraud_detection --data s3://b/new.parquet"
    (tmp_path / "job" / "job.env").write_text(f"name=score-2026-11\nentrypoint={command}\n")
    (job,) = rendered("job", tmp_path)
    assert (job["metadata"]["name"], job["spec"]["entrypoint"]) == ("score-2026-11", command)
