"""The manifests as kubectl renders them, and their pods."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[3]
KUBERAY = ROOT / "kuberay"
OVERLAYS = tuple(sorted(path.name for path in (KUBERAY / "overlays").iterdir()))
FOLDERS = (*(f"overlays/{name}" for name in OVERLAYS), "job")
RENDER_S = 60

Manifest = Mapping[str, Any]


class Pod(NamedTuple):
    """A pod's template: whose it is, its labels with KubeRay's own, and what runs in it."""

    owner: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]


@functools.cache
def rendered(folder: str, above: Path = KUBERAY) -> tuple[Manifest, ...]:
    """What `kubectl apply -k` would apply; the test is skipped where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl to render the manifests with")
    ran = subprocess.run(
        [kubectl, "kustomize", str(above / folder)],
        capture_output=True,
        text=True,
        timeout=RENDER_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return tuple(yaml.load_all(ran.stdout, yaml.CSafeLoader))


def of_kind(folder: str, kind: str) -> list[Manifest]:
    return [manifest for manifest in rendered(folder) if manifest["kind"] == kind]


def only(folder: str, kind: str) -> Manifest:
    (manifest,) = of_kind(folder, kind)
    return manifest


def clusters(folder: str) -> dict[str, Mapping[str, Any]]:
    """The specifications of Ray clusters, by the kind that has each."""
    specs = {
        f"RayCluster/{m['metadata']['name']}": m["spec"] for m in of_kind(folder, "RayCluster")
    }
    for service in of_kind(folder, "RayService"):
        name = service["metadata"]["name"]
        specs[f"RayService/{name}"] = service["spec"]["rayClusterConfig"]
    return specs


def pods(folder: str) -> Iterator[Pod]:
    """Every template of a pod."""
    for owner, spec in clusters(folder).items():
        yield _ray_pod(f"{owner}/head", "head", spec["headGroupSpec"])
        for group in spec["workerGroupSpecs"]:
            yield _ray_pod(f"{owner}/{group['groupName']}", "worker", group)
    for manifest in rendered(folder):
        owner = f"{manifest['kind']}/{manifest['metadata']['name']}"
        match manifest["kind"]:
            case "StatefulSet":
                yield _pod(owner, manifest["spec"]["template"])
            case "CronJob":
                yield _pod(owner, manifest["spec"]["jobTemplate"]["spec"]["template"])
            case "RayJob":
                yield _pod(owner, manifest["spec"]["submitterPodTemplate"])
            case _:
                pass


def containers(folder: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every container, with the name of its pod."""
    for pod in pods(folder):
        for container in (*pod.spec["containers"], *pod.spec.get("initContainers", ())):
            yield f"{pod.owner}/{container['name']}", container


def literals(container: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a container whose values stand in the manifest."""
    return {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}


def _pod(owner: str, template: Mapping[str, Any]) -> Pod:
    return Pod(owner, template["metadata"]["labels"], template["spec"])


def _ray_pod(owner: str, node_type: str, group: Mapping[str, Any]) -> Pod:
    labels = {"ray.io/node-type": node_type, "ray.io/is-ray-node": "yes"}
    template = group["template"]
    return Pod(owner, {**template["metadata"]["labels"], **labels}, template["spec"])
