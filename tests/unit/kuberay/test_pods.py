"""What the pods may do, and what they have."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from tests.unit.kuberay.manifests import (
    FOLDERS,
    KUBERAY,
    OVERLAYS,
    clusters,
    containers,
    literals,
    pods,
    rendered,
)

SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|KEY")


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_container_is_roots_or_can_become_it(folder: str) -> None:
    for pod in pods(folder):
        assert pod.spec["securityContext"]["runAsUser"] >= 999, pod.owner
        assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "hostNetwork" not in pod.spec
        assert "hostPID" not in pod.spec
    contexts = {name: container["securityContext"] for name, container in containers(folder)}
    for owner, spec in clusters(folder).items():
        contexts[f"{owner}/autoscaler"] = spec["autoscalerOptions"]["securityContext"]
    for name, context in contexts.items():
        assert context == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_written_goes_to_volumes_with_a_size(folder: str) -> None:
    for pod in pods(folder):
        sizes = {v["name"]: v["emptyDir"]["sizeLimit"] for v in pod.spec.get("volumes", ())}
        for container in pod.spec["containers"]:
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert mounts in ({"/tmp": "tmp"}, {"/data": "data"}), pod.owner
            assert "/tmp" not in mounts or "tmp" in sizes


@pytest.mark.parametrize("folder", FOLDERS)
def test_only_heads_may_ask_kubernetes(folder: str) -> None:
    for pod in pods(folder):
        is_head = pod.labels.get("ray.io/node-type") == "head"
        assert pod.spec.get("automountServiceAccountToken") is is_head, pod.owner


@pytest.mark.parametrize("folder", FOLDERS)
def test_images_are_pinned(folder: str) -> None:
    for name, container in containers(folder):
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*", container["image"]), name


@pytest.mark.parametrize("folder", FOLDERS)
def test_secrets_are_named_and_never_written(folder: str) -> None:
    assert [m for m in rendered(folder) if m["kind"] == "Secret"] == []
    for name, container in containers(folder):
        secret = [n for n in literals(container) if SECRET.search(n)]
        assert secret == [], name


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_settings_hold_no_secret(name: str) -> None:
    for manifest in rendered(f"overlays/{name}"):
        if manifest["kind"] == "ConfigMap":
            for value in manifest["data"].values():
                assert urlsplit(value).password is None


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_secret_is_in_the_readme(folder: str) -> None:
    text = (KUBERAY / "README.md").read_text()
    for name, container in containers(folder):
        for one in container.get("env", ()):
            reference = one.get("valueFrom", {}).get("secretKeyRef")
            if reference is not None:
                line = f"create secret generic {reference['name']} "
                assert line in text, name
                assert f"{reference['key']}=" in text.partition(line)[2].partition("\n")[0]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_container_asks_for_what_it_needs_and_ends_at_its_memory(folder: str) -> None:
    for name, container in containers(folder):
        resources = container["resources"]
        assert resources["requests"].keys() >= {"cpu", "memory"}, name
        assert "memory" in resources["limits"], name


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_runs_for_long_is_probed(name: str) -> None:
    for owner, container in containers(f"overlays/{name}"):
        if not owner.startswith("CronJob/"):
            assert container.keys() >= {"livenessProbe", "readinessProbe"}, owner


@pytest.mark.parametrize("name", OVERLAYS)
def test_ray_asks_for_a_token_and_scales_by_its_second_autoscaler(name: str) -> None:
    for owner, spec in clusters(f"overlays/{name}").items():
        assert spec["authOptions"] == {"mode": "token", "secretName": "spt-ray-token"}, owner
        assert spec["enableInTreeAutoscaling"] is True
        assert spec["autoscalerOptions"]["version"] == "v2"
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            assert group["template"]["spec"]["restartPolicy"] == "Never"  # v2 asks for it


@pytest.mark.parametrize("name", ["gpu", "production"])
def test_a_drained_node_takes_one_pod_of_a_side_at_a_time(name: str) -> None:
    budgets = [m for m in rendered(f"overlays/{name}") if m["kind"] == "PodDisruptionBudget"]
    for budget in budgets:
        selector = budget["spec"]["selector"]["matchLabels"].items()
        assert [p for p in pods(f"overlays/{name}") if selector <= p.labels.items()], budget
    assert [b["spec"]["maxUnavailable"] for b in budgets] == [1, 1]
