"""The trail of a model version, from publications to deployment, as JSON and as a page.

registry + ledger -> facts that an auditor can follow; every one names where it is kept

It repeats what was recorded and adds nothing: a step that did not happen is empty, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from spt_core.continuous.ledger import AuditEntry, Ledger, Retrain
from spt_core.continuous.retraining import candidate_sha
from spt_core.continuous.review import (
    effective,
    explained,
    lineage_of,
    publication,
    verdict_in_log,
)
from spt_core.continuous.verdicts import read_result
from spt_core.errors import CorruptArtifactError, SptError
from spt_core.registry import ModelVersion, Registry, ref_of

TEMPLATE = Path(__file__).with_name("evidence.html.j2")


def collected(ledger: Ledger, registry: Registry, ref: str) -> dict[str, Any]:
    """Everything that is recorded about a version; NotFoundError for one that does not exist."""
    version = registry.get(ref)
    head = ledger.verify_audit()
    itself = registry.get(ref_of(version.name, version.version))  # a variant comes of the same
    retrain = _retrain_of(ledger, itself)
    log = list(ledger.audit()) if retrain is not None else []
    return {
        "version": version.ref,
        "task": version.exported.artifact.task,
        "audit_head": head._asdict(),
        "made_by": "a retraining" if retrain is not None else version.created_by,
        "retraining": None if retrain is None else _retraining(ledger, registry, retrain, log),
        "model": _model(registry, version),
        "serving": _serving(registry, version),
    }


def html(content: Mapping[str, Any]) -> str:
    """The page, which needs nothing else."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(TEMPLATE.read_text()).render(**content, explained=explained)


def _retrain_of(ledger: Ledger, version: ModelVersion) -> Retrain | None:
    """The latest retraining that made the version; None for one that a person has trained."""
    sha = candidate_sha(version.exported, version.policy)
    retrains = [one for one in ledger.retrains() if one.candidate_version == version.ref]
    for one in retrains:
        if one.candidate_sha != sha:
            raise CorruptArtifactError(
                f"the registered files must be those that were judged, however: {version.ref} is "
                f"not the candidate of {one.retrain_id!r} (sha {one.candidate_sha[:12]})"
            )
    return retrains[-1] if retrains else None


def _retraining(
    ledger: Ledger, registry: Registry, retrain: Retrain, log: list[AuditEntry]
) -> dict[str, Any]:
    items = ledger.items(trigger_id=retrain.retrain_id)
    sources = {one.source_id: one.url for one in ledger.sources()}
    evaluation = dict(retrain.evaluation)
    golden = evaluation.pop("golden", [])
    claim = ledger.run_claim(retrain.submission_id or "")
    return {
        "retrain_id": retrain.retrain_id,
        "bucket": retrain.bucket,
        "state": retrain.state,
        "attempt": retrain.attempt,
        "triggered_by": retrain.triggered_by,
        "reason": retrain.reason,
        "risk_tier": retrain.risk_tier,
        "candidate_sha": retrain.candidate_sha,
        "champion_before": retrain.champion_before,
        "publications": [
            {**publication(item), "source_url": sources.get(item.source_id, "")} for item in items
        ],
        "effective_dates": effective(items),
        "data": {"manifest_sha": retrain.manifest_sha, **_run_facts(retrain)},
        "configuration": dict(ledger.configuration(retrain.bucket)),
        "job": None if claim is None else {**claim.to_json(), "log": _events(log, claim)},
        "evaluation": {**evaluation, "num_golden": len(golden)},
        "verdict": dict(verdict_in_log(ledger, retrain)),
        "decisions": [one.to_json() for one in ledger.reviews(retrain.retrain_id)],
        "part_of": {
            one.name: did
            for one in ledger.principals()
            if (did := ledger.involved(retrain.retrain_id, one.name))
        },
        "moves": _moves(ledger, retrain, log),
        "deployment_id": retrain.deployment_id,
        "lineage_of_champion": lineage_of(registry, retrain.champion_before),
    }


def _run_facts(retrain: Retrain) -> dict[str, Any]:
    """What the job wrote beside its figures; why not, where its file is gone."""
    if not retrain.result_uri:
        return {"result": "", "missing": "no run has stored a result"}
    try:
        result = read_result(retrain.result_uri)
    except (SptError, OSError) as error:
        return {"result": retrain.result_uri, "missing": str(error)}
    facts = ("splits", "data_fingerprint", "code_fingerprint", "configuration", "labels")
    return {"result": retrain.result_uri, **{name: result.get(name) for name in facts}}


def _moves(ledger: Ledger, retrain: Retrain, log: list[AuditEntry]) -> list[dict[str, Any]]:
    """Every step with its moment, its actor and its place in the log."""
    entries = {entry.seq: entry for entry in log}
    begun = entries[retrain.audit_seq]
    steps: list[dict[str, Any]] = [
        {"to": "DETECTED", "at": begun.at, "actor": begun.actor, "audit_seq": begun.seq}
    ]
    for move in ledger.transitions(retrain.retrain_id):
        entry = entries[move.audit_seq]
        step = {"to": move.to_state, "at": entry.at, "actor": move.actor, "key": move.key}
        body = entry.body.get("body", {})
        reasons = body.get("reasons") or [body[k] for k in ("reason", "why") if body.get(k)]
        steps.append({**step, "audit_seq": move.audit_seq, "reasons": list(reasons)})
    return steps


def _events(log: list[AuditEntry], claim: Any) -> list[dict[str, Any]]:
    return [
        {"at": entry.at, "event": entry.event, "actor": entry.actor, "audit_seq": entry.seq}
        for entry in log
        if entry.event.startswith("run.") and entry.body.get("submission_id") == claim.submission_id
    ]


def _model(registry: Registry, version: ModelVersion) -> dict[str, Any]:
    exported = version.exported
    return {
        "exported": exported.uri,
        "files": dict(exported.files),
        "size_bytes": exported.size_bytes,
        "parity": dict(exported.parity),
        "created_at": version.created_at,
        "created_by": version.created_by,
        "policy": version.policy.to_json(),
        "licences": list(version.licences),
        "privacy": _privacy(registry, version),
        "lineage": lineage_of(registry, version.ref),
        "quality": version.report.get("quality", {}).get(version.report.get("model_name"), {}),
        "compliance": version.report.get("compliance", {}),
        "evaluation_set": version.report.get("evaluation_fingerprint", ""),
        "report": version.report_uri,
        "variants": [
            {
                "ref": variant.ref,
                "exported": variant.exported.uri,
                "files": dict(variant.exported.files),
                "size_bytes": variant.exported.size_bytes,
                "policy": variant.policy.version,
                "report": variant.report_uri,
                "created_at": variant.created_at,
                "created_by": variant.created_by,
            }
            for variant in registry.variants(version)
        ],
    }


def _privacy(registry: Registry, version: ModelVersion) -> dict[str, Any]:
    """The guarantee, and what other versions of the model have told of the same data.

    Budgets of versions add up (basic composition), and one without differential privacy has none.
    """
    own = version.exported.artifact
    if not own.privacy:
        return {}
    same = [
        one
        for one in registry.versions(version.name)
        if one.exported.artifact.data_fingerprint == own.data_fingerprint
    ]
    spent = {  # students of one teacher tell what it told once
        one.exported.artifact.privacy["release"]: one.exported.artifact.privacy
        for one in same
        if one.exported.artifact.privacy
    }
    return {
        **own.privacy,
        "all_versions_of_the_same_data": {
            "epsilon": sum(facts["epsilon"] for facts in spent.values()),
            "delta": sum(facts["delta"] for facts in spent.values()),
            "with_privacy": [one.ref for one in same if one.exported.artifact.privacy],
            "without_privacy": [one.ref for one in same if not one.exported.artifact.privacy],
        },
    }


def _serving(registry: Registry, version: ModelVersion) -> dict[str, Any]:
    """When it became or ceased to be the champion, and its deployment if it is the latest."""
    changes = [
        change.to_json()
        for change in registry.history(version.name)
        if version.version in (change.from_version, change.to_version)
    ]
    latest = [
        one.to_json()
        for one in registry.deployments()
        if (one.name, one.version) == (version.name, version.version)
    ]
    return {
        "aliases": [k for k, n in registry.aliases(version.name).items() if n == version.version],
        "history": changes,
        "deployment": latest[0] if latest else None,
    }
