"""The running service as jobs see it: rolled out to, asked, and kept up until Ctrl-C."""

from __future__ import annotations

import http.client
import json
import re
import signal
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from cluster.lifecycle import announce, require_free_ports, start_serve
from cluster.settings import Settings, api_key, is_authenticated, tls_files
from cluster.state import database_digest
from jobs.access import entitled, noted
from jobs.console import Screen
from spt_core.errors import InputError, MachineError
from spt_core.registry import DEFAULT_MODEL_NAME, Deployment, ModelVersion, Registry
from spt_core.rollout import NumReplicas, promote, replicas_within, resume, route
from spt_core.task import example_record, find


def require_service(settings: Settings) -> None:
    """InputError where nothing could be deployed here; ask before anything long starts.

    A service follows one registry: what another one says would take its models away.
    """
    if not settings.serves:
        raise InputError(
            "a model is taken into service where the service is, however: this cluster has none "
            "(SPT_SERVICE=elsewhere); run this command there"
        )
    entitled(settings, "operator", "a deployment")
    local = settings.local
    if local is None:
        require_free_ports(settings)
    elif local.database != database_digest(settings.database_url):
        raise InputError(
            f"a service follows one registry, however: the one at {address(settings)} follows "
            f"that of {local.storage}; name that storage (--storage, SPT_STORAGE), or set another "
            "SPT_HTTP_PORT for a service of your own"
        )


def rolled_out(
    screen: Screen,
    settings: Settings,
    registry: Registry,
    version: ModelVersion,
    *,
    num_replicas: NumReplicas | None = None,
    reason: str = "",
) -> Deployment:
    """The version's live deployment, beside everything else that the registry says should serve.

    A service that this process has started can be changed by others from then on.
    """
    by = entitled(settings, "operator", "a deployment", path=version.name)
    otherwise = {task: replicas_within(*bounds) for task, bounds in settings.replicas.items()}
    with screen.stage("deploy") as stage:
        stage.say("starting the service")
        is_new = start_serve(settings)
        if is_new and not settings.is_named and registry.serving():
            stage.say("bringing up what served before")
            for deployment in resume(registry, otherwise=otherwise):
                if deployment.error:
                    screen.warn("  not served", f": {deployment.ref}: {deployment.error}")
        stage.say(f"rolling out {version.ref}")
        deployment = promote(
            registry,
            version,
            actor=by,
            reason=reason,
            num_replicas=num_replicas,
            otherwise=otherwise,
        )
        noted(settings, by, "deployment.made", deployment.to_json())
        if settings.ray_address is None:
            announce(settings)
        stage.say(f"{version.ref} serves at {route(version)}")
    return deployment


def asked(settings: Settings, version: ModelVersion) -> dict[str, Any]:
    """One question over HTTP to a deployed version, and its answer."""
    artifact = version.exported.artifact
    record = example_record(find(artifact.task), artifact.signature)
    url = f"{address(settings)}{route(version)}"
    body = json.dumps(record).encode()
    headers, key = {"content-type": "application/json"}, api_key()
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30, context=_tls()) as response:
            answer = json.loads(response.read())
    except urllib.error.HTTPError as error:
        content = error.read().decode(errors="replace")
        if error.code not in (401, 403):
            raise MachineError(
                f"the service must answer a record of {version.ref}, however: it said {error.code} "
                f"{error.reason}: {content[:300]}"
            ) from None
        answer = {"refused": json.loads(content)["detail"]}  # an operator need be no client
    except (OSError, http.client.HTTPException) as error:
        raise MachineError(
            f"the service must answer a record of {version.ref}, however: {error}"
        ) from None
    is_image = any(field.kind == "image" for field in artifact.signature.fields)
    drawn = is_image and not version.report["synthetic"]
    return {"url": url, "record": record, "answer": answer, "drawn": drawn}


def address(settings: Settings) -> str:
    """Where this machine asks the service: on loopback where that listens on every address."""
    host = "127.0.0.1" if settings.http_host in ("0.0.0.0", "::") else settings.http_host
    return f"{'http' if tls_files() is None else 'https'}://{host}:{settings.http_port}"


def _tls() -> ssl.SSLContext | None:
    """Trusts the very certificate that the service was given, whatever name it is for."""
    files = tls_files()
    if files is None:
        return None
    context = ssl.create_default_context(cafile=files[0])
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def elsewhere(version: ModelVersion) -> str:
    """How the service of another cluster takes a version that was registered here."""
    name = version.name.rpartition("/")
    model = "" if name[2] == DEFAULT_MODEL_NAME else f" --name {name[2]}"
    variant = f" --variant {version.variant}" if version.variant else ""
    return f"python -m jobs.deploy {name[0]}{model} --version {version.version}{variant}"


def shown(question: Mapping[str, Any]) -> str:
    """The question that `asked` asked, as a command line, and its answer as JSON."""
    answer = json.dumps(question["answer"], indent=1)
    # A map of an image has hundreds of numbers: each line of it is one.
    answer = re.sub(r"\[[-+.\de,\s]+\]", lambda of: re.sub(r"\s+", " ", of[0]), answer)
    lines = [_curl(question), answer]
    if question["drawn"]:
        lines.append("The image was drawn: it is none of your data.")
    return "\n\n".join(lines)


def _curl(question: Mapping[str, Any]) -> str:
    record = json.dumps(question["record"])
    key = ' -H "authorization: Bearer $SPT_API_KEY"' if is_authenticated() else ""
    kind = "-H 'content-type: application/json'"
    return f"curl -s {question['url']}{key} {kind} \\\n  -d '{record}'"


def serve_until_interrupted(screen: Screen, settings: Settings) -> None:
    """Keep the embedded service up; Ctrl-C or SIGTERM ends it."""
    import ray  # runs by now

    here = address(settings)
    screen.say(
        f"serving at {here} (models: {here}/v1/models); Ctrl-C ends; jobs.deploy from another "
        "terminal changes it"
    )
    ports = {node["MetricsExportPort"] for node in ray.nodes() if node["Alive"]}
    metrics = ", ".join(f"http://127.0.0.1:{port}/metrics" for port in sorted(ports))
    screen.say(f"metrics: {metrics} (python -m cluster.monitoring)")
    for sent in (signal.SIGINT, signal.SIGTERM):  # both end the loop, whoever handled them before
        signal.signal(sent, signal.default_int_handler)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        screen.say("stopping")
