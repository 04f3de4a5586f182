"""What a reviewer sees of a candidate, and who he is.

ledger + registry -> the page of one retraining; a credential -> the Principal who holds it
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from spt_core.access import covers
from spt_core.artifacts import load_artifact
from spt_core.continuous.effective_dates import effective_dates, moment_of
from spt_core.continuous.ledger import DEPLOY, Item, Ledger, Principal, Retrain, RetrainState
from spt_core.continuous.ledger.audit import stamp
from spt_core.continuous.ledger.retrain import DISCARDED
from spt_core.continuous.ledger.values import Verdict
from spt_core.continuous.retraining import text_of
from spt_core.errors import ForbiddenError, InputError, NotFoundError
from spt_core.registry import Registry

SHOWN_GOLDEN = 5


def authenticated(ledger: Ledger, shown: str) -> Principal:
    """The principal whose key this is, with the key's roles; ForbiddenError for anybody else."""
    key = ledger.holder(shown)
    if key is None:
        raise ForbiddenError(
            "the key must be one of those of a principal that are valid, however: it is not"
        )
    return Principal(name=key.principal, roles=key.roles, tasks=key.tasks)


def require_role(principal: Principal, role: str, bucket: str | None = None) -> None:
    """Return if the principal's key is for the role, and for the model of a bucket."""
    if role not in principal.roles:
        raise ForbiddenError(
            f"this needs a principal with the role {role!r}, however: {principal.name!r} has "
            f"{', '.join(principal.roles)}"
        )
    if bucket is not None and not covers(principal.tasks, bucket.replace(".", "/")):
        raise ForbiddenError(
            f"this needs a key for {bucket}, however: that of {principal.name!r} is for "
            f"{', '.join(principal.tasks)}"
        )


def listed(ledger: Ledger, state: RetrainState | None = "NEEDS_REVIEW") -> list[dict[str, Any]]:
    """One line of each retraining in a state (None: any), oldest first."""
    return [
        {
            "retrain_id": one.retrain_id,
            "state": one.state,
            "candidate_version": one.candidate_version,
            "candidate_sha": one.candidate_sha,
            "champion_before": one.champion_before,
            "reason": one.reason,
            "deadline": _stamp(one.deadline),
        }
        for one in ledger.retrains(state=state)
    ]


def page(ledger: Ledger, registry: Registry, retrain_id: str) -> dict[str, Any]:
    """Everything that a decision on the retraining's present candidate rests on."""
    retrain = ledger.retrain(retrain_id)
    items = ledger.items(trigger_id=retrain_id)
    evaluation = dict(retrain.evaluation)
    golden = evaluation.pop("golden", [])
    return {
        **{
            name: getattr(retrain, name)
            for name in (
                "retrain_id",
                "bucket",
                "state",
                "attempt",
                "reason",
                "risk_tier",
                "triggered_by",
                "candidate_version",
                "candidate_sha",
                "champion_before",
                "manifest_sha",
            )
        },
        "deadline": _stamp(retrain.deadline),
        "held_until": _stamp(_held_until(ledger, retrain_id)),
        "discarded": _discarded(ledger, retrain_id),
        "verdict": verdict_in_log(ledger, retrain),
        "publications": [publication(item) for item in items],
        "effective_dates": effective(items),
        "evaluation": evaluation,
        "golden": {
            "num_records": len(golden),
            "num_wrong": sum(not one["candidate_right"] for one in golden),
            "wrong": [one for one in golden if not one["candidate_right"]][:SHOWN_GOLDEN],
        },
        "lineage": lineage_of(registry, retrain.candidate_version),
        "cannot_approve": _involved(ledger, retrain_id),
        "decisions": [one.to_json() for one in ledger.reviews(retrain_id)],
    }


def publication(item: Item) -> dict[str, Any]:
    """A publication as a person reads of it, with its score and why; its text is elsewhere."""
    return {
        "source_id": item.source_id,
        "item_key": item.item_key,
        "rev": item.rev,
        "title": item.title,
        "url": item.url,
        "published": item.published_raw,
        "detected_at": stamp(item.detected_at),
        "content_sha": item.content_sha,
        "score": item.score,
        "explanation": json.loads(item.explanation) if item.explanation else {},
        "label": item.label,
        "label_source": item.label_source,
    }


def explained(explanation: Mapping[str, Any]) -> list[str]:
    """Why a publication has its score, in words: what was found, where, and what it adds."""
    reasons = [
        f"{one['what']} {one['name']!r} in the {one['where']} {one['adds']:+g}"
        if one["what"] != "classifier"
        else f"classifier {one['name']} ({one['where']}) {one['adds']:+g}"
        for one in explanation.get("reasons", ())
    ]
    others = explanation.get("others", 0)
    return [*reasons, f"{others} more"] if others else reasons


def effective(items: Sequence[Item]) -> list[dict[str, Any]]:
    """On which days which publication says that something takes effect, earliest first."""
    dates = [
        {"date": one.date, "phrase": one.phrase, "title": item.title, "url": item.url}
        for item in items
        for one in effective_dates(text_of(item))
    ]
    return sorted(dates, key=lambda one: (one["date"], one["title"]))


def lineage_of(registry: Registry, version: str) -> list[dict[str, Any]]:
    """The artifacts behind a version, nearest first, each with its data and its code."""
    if not version:
        return []
    artifacts: list[dict[str, Any]] = []
    for uri in registry.get(version).lineage:
        try:
            artifact = load_artifact(uri)
        except NotFoundError:  # a version outlives files that somebody has moved
            artifacts.append({"uri": uri})
            continue
        artifacts.append(
            {
                "uri": uri,
                "role": artifact.role,
                "data_fingerprint": artifact.data_fingerprint,
                "code_fingerprint": artifact.code_fingerprint,
                "splits": artifact.splits,
                "licences": list(artifact.licences),
            }
        )
    return artifacts


def verdict_in_log(ledger: Ledger, retrain: Retrain) -> Mapping[str, Any]:
    """The gate's verdict on the present candidate as the log has it; empty before there is one."""
    decision = None
    for move in ledger.transitions(retrain.retrain_id):
        is_gate_s = move.from_state == "EVALUATED" and move.key != DISCARDED
        if is_gate_s and move.to_state in get_args(Verdict):
            decision = move
        elif move.to_state in ("QUEUED", "EVALUATED"):  # another candidate, or judged anew
            decision = None
    if decision is None:
        return {}
    return next(ledger.audit(after=decision.audit_seq - 1)).body["body"]


def hold_until(text: str | None) -> float:
    """The moment before which nothing is rolled out: of an ISO date or time; 0 for none."""
    if not text:
        return 0.0
    try:
        return moment_of(text)
    except ValueError as error:
        raise InputError(
            "not-before must be a date such as 2027-01-31, or a time such as "
            f"2027-01-31T09:00+01:00, however: {text!r}"
        ) from error


def _involved(ledger: Ledger, retrain_id: str) -> dict[str, list[str]]:
    """The principals who had a part in the run, and which."""
    parts = {one.name: ledger.involved(retrain_id, one.name) for one in ledger.principals()}
    return {name: did for name, did in parts.items() if did}


def _held_until(ledger: Ledger, retrain_id: str) -> float | None:
    """The moment before which an approved candidate is not rolled out; None where nothing holds."""
    waiting = [e for e in ledger.outbox() if (e.kind, e.key) == (DEPLOY, retrain_id)]
    # Once it was tried, it is the next try's moment.
    return next((e.not_before for e in waiting if not e.tries and e.not_before), None)


def _discarded(ledger: Ledger, retrain_id: str) -> dict[str, Any] | None:
    """Who ended the retraining without a review, when and why; None where nobody did."""
    for move in ledger.transitions(retrain_id):
        if move.key == DISCARDED:
            entry = next(ledger.audit(after=move.audit_seq - 1))
            return {"by": entry.actor, "at": entry.at, "reason": entry.body["body"]["reason"]}
    return None


def _stamp(moment: float | None) -> str | None:
    return None if moment is None else stamp(moment)
