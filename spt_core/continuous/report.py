"""Where continuous training stands, in words for people, from the ledger alone.

Whoever watches may be dead, elsewhere, or cut off: what is said here needs nobody's answer.
"""

from __future__ import annotations

import datetime
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from spt_core.continuous.ledger import Leader, Ledger, OutboxEntry, Retrain, Source
from spt_core.continuous.ledger.audit import stamp
from spt_core.continuous.ledger.drive import MAX_ATTEMPTS
from spt_core.continuous.ledger.values import UNDER_WAY
from spt_core.continuous.monitoring import Monitoring
from spt_core.continuous.poll import is_adopted
from spt_core.continuous.registration import industry_of
from spt_core.continuous.triggers import counted
from spt_core.errors import SptError
from spt_core.plain import from_plain

LATE_S = 600.0
MANY_TRIES = 5  # of an effect on the outside: half a minute of backoffs
SMALL_DISK_BYTES = 100 * 2**20
RECENT = 2000  # audit entries that are looked at for a clock that went back
_ADVICE = (
    ("it is missing", "look for its new address on the publisher's site"),
    ("it limits", "set interval_s, and name a contact in fetch.user_agent"),
    ("it does not answer", "check the host's name and that this machine may reach it"),
    (
        "it must not be asked",
        "only public http(s) addresses are; an operator opens his own network",
    ),
    ("it answers with an error", "some want a contact in fetch.user_agent, or a key"),
    (
        "a web page",
        "the site blocks programs or has no feed here: name a contact, or kind html_list",
    ),
    ("its items could not be kept", "show this to a developer; the other sources go on"),
    ("our own fault", "show this to a developer; the other sources go on"),
)


def report(ledger: Ledger, *, database_url: str) -> dict[str, Any]:
    """Leader, sources, buckets and troubles, as plain JSON whose `words` are for people."""
    now_s, leader, outbox = ledger.now_s(), ledger.leader(), ledger.outbox()
    rows = ledger.sources()
    troubles = [
        *_leader_troubles(leader, rows, now_s),
        *_clock_troubles(ledger),
        *_disk_troubles(database_url),
        *_late(rows, leader, now_s),
        *_retrain_troubles(ledger, leader, now_s),
        *_effect_troubles(outbox),
        *_frozen_troubles(ledger),
    ]
    sources = [_source(row, now_s) for row in rows]
    return {
        "at": stamp(now_s),
        "leader": _leader(leader, now_s),
        "troubles": troubles,
        "num_sources_in_trouble": sum(bool(source["trouble"]) for source in sources),
        "sources": sources,
        "buckets": _buckets(ledger, rows, outbox, now_s),
        "outbox": [
            {"kind": e.kind, "key": e.key, "tries": e.tries, "error": e.error} for e in outbox
        ],
    }


def _leader(leader: Leader | None, now_s: float) -> dict[str, Any]:
    if leader is None:
        return {"is_alive": False, "words": "nobody has watched yet: `python -m jobs.watch run`"}
    host, pid, *_ = [*leader.owner.rsplit(":", 2), "", ""]
    who = f"pid {pid} on {host}" if pid else leader.owner
    if leader.is_alive:
        words = f"{who} watches since {stamp(leader.since_s)}, epoch {leader.epoch}"
    elif leader.expires_s > now_s and host == socket.gethostname():
        words = f"nobody watches: {who} is dead (epoch {leader.epoch})"
    else:
        ago = span(max(0.0, now_s - leader.expires_s))
        words = f"nobody watches for {ago}: {who} ended or lost the lease"
    return {
        "is_alive": leader.is_alive,
        "owner": leader.owner,
        "epoch": leader.epoch,
        "since": stamp(leader.since_s),
        "words": words,
    }


def _leader_troubles(leader: Leader | None, rows: Sequence[Source], now_s: float) -> list[str]:
    """That nobody watches what is to be watched."""
    if not rows or (leader is not None and leader.is_alive):
        return []
    return [_leader(leader, now_s)["words"]]


def _source(row: Source, now_s: float) -> dict[str, Any]:
    trouble = row.trouble if row.state == "DEGRADED" else ""
    advice = next((text for start, text in _ADVICE if trouble.startswith(start)), "")
    if trouble and not advice:
        advice = f"look at it: python -m jobs.watch sources check --only {row.source_id}"
    if row.redirect_target and not trouble:
        asked = "its target is asked" if is_adopted(row) else "seen, and not trusted yet"
        advice = f"it says that it moved to {row.redirect_target} ({asked}): set its url"
    return {
        "id": row.source_id,
        "industry": industry_of(row),
        "url": row.url,
        "state": row.state,
        "trouble": trouble,
        "advice": advice,
        "errors": row.errors,
        "checked_at": stamp(row.checked_at) if row.checked_at else None,
        "next_check": stamp(row.next_check) if row.next_check else None,
        "next_reason": row.next_reason,
        "words": _next(row, now_s),
    }


def _next(row: Source, now_s: float) -> str:
    if row.state == "PAUSED":
        return f"paused: {row.next_reason}"
    wait_s = row.next_check - now_s
    if wait_s <= 0 or row.checked_at > now_s + 60:
        return f"due now ({row.next_reason})"
    return f"in {span(wait_s)}: {row.next_reason}"


def _buckets(
    ledger: Ledger, rows: Sequence[Source], outbox: Sequence[OutboxEntry], now_s: float
) -> list[dict[str, Any]]:
    configured = ledger.configurations()
    retrains: dict[str, list[Retrain]] = {}
    for retrain in ledger.retrains():
        retrains.setdefault(retrain.bucket, []).append(retrain)
    frozen = ledger.frozen()
    buckets: list[dict[str, Any]] = []
    for bucket in sorted({*configured, *retrains, *frozen}):
        content = configured.get(bucket, {}).get("monitoring")
        monitoring = from_plain(Monitoring, content) if content else None
        waiting = _waiting(ledger, monitoring, rows, bucket, now_s)
        latest = retrains.get(bucket, [])[-1:]
        buckets.append(
            {
                "bucket": bucket,
                "model": monitoring.model if monitoring else None,
                **waiting,
                "frozen": frozen.get(bucket, ""),
                "obstacle": ledger.obstacle(bucket),
                "retraining": _retraining(ledger, latest[0], outbox, now_s) if latest else None,
            }
        )
    return buckets


def _waiting(
    ledger: Ledger,
    monitoring: Monitoring | None,
    rows: Sequence[Source],
    bucket: str,
    now_s: float,
) -> dict[str, Any]:
    by_source, oldest = ledger.waiting(bucket)
    if monitoring is None:
        number = sum(by_source.values())
        said = f"{number} publications wait, but the bucket is not watched any more"
        return {"num_pending": number, "words": said if number else "not watched"}
    num_sources = sum(
        industry_of(row) == monitoring.industry and row.state != "PAUSED" for row in rows
    )
    now = counted(monitoring, by_source, oldest, now_s, num_sources)
    return {**now.to_json(), "words": now.words()}


def _retraining(
    ledger: Ledger, retrain: Retrain, outbox: Sequence[OutboxEntry], now_s: float
) -> dict[str, Any]:
    return {
        "retrain_id": retrain.retrain_id,
        "state": retrain.state,
        "is_under_way": retrain.state in UNDER_WAY,
        "attempt": retrain.attempt,
        "submission_id": retrain.submission_id,
        "triggered_by": retrain.triggered_by,
        "reason": retrain.reason,
        "risk_tier": retrain.risk_tier,
        "words": _words(ledger, retrain, outbox, now_s),
    }


def _words(ledger: Ledger, retrain: Retrain, outbox: Sequence[OutboxEntry], now_s: float) -> str:
    match retrain.state:
        case "DETECTED":
            hold = ledger.hold(retrain.retrain_id)
            return f"a person must look first ({hold}): python -m jobs.watch release"
        case "QUEUED":
            entry = next((e for e in outbox if e.key == retrain.submission_id), None)
            if entry is None or not entry.error:
                return "it is about to be submitted"
            return f"submitted {entry.tries} times in vain, goes on trying: {entry.error}"
        case "SUBMITTED":
            claim = ledger.run_claim(retrain.submission_id or "")
            if claim is None:
                return "the job system has it; it has not begun to work"
            if claim.result_uri:
                return "it has its result"
            heard = f"last heard of {span(max(0.0, now_s - claim.heartbeat))} ago"
            alive = "works on it" if claim.expires > now_s else "worked on it and is silent"
            return f"{claim.host} {alive}, {heard}"
        case "FAILED":
            return f"attempt {retrain.attempt} failed: {_cause(ledger, retrain)}"
        case "NEEDS_REVIEW":
            until = f" until {stamp(retrain.deadline)}" if retrain.deadline else ""
            return f"a person must decide{until}: python -m jobs.review show {retrain.retrain_id}"
        case "TRAINED" | "EVALUATED" as state:
            waits = "to be compared with the champion" if state == "TRAINED" else "for the gate"
            return f"it waits {waits} since {stamp(_since(ledger, retrain))}"
        case state:
            return {
                "PROMOTED": "it waits to be rolled out",
                "REJECTED": "it was rejected",
                "DEPLOYED": "it serves",
                "ROLLED_BACK": "it was rolled back",
            }[state]


def _clock_troubles(ledger: Ledger) -> list[str]:
    last = ledger.audit_head().seq
    entries = [e for e in ledger.audit(after=max(0, last - RECENT)) if e.event == "clock.back"]
    if not entries:
        return []
    by_s = float(entries[-1].body["by_s"])
    return [
        f"the clock went back by {span(by_s)} at {entries[-1].at}: what was asked at a later time "
        "than now was asked again, and order is by the audit log"
    ]


def _disk_troubles(database_url: str) -> list[str]:
    url = sa.make_url(database_url)
    if url.get_backend_name() != "sqlite":
        return []
    try:
        free = shutil.disk_usage(Path(str(url.database)).parent).free
    except OSError as error:
        return [f"the database's disk cannot be looked at: {error}"]
    if free > SMALL_DISK_BYTES:
        return []
    return [f"the disk of the database is full or nearly so: {free / 2**20:.0f} MB are free"]


def _late(rows: Sequence[Source], leader: Leader | None, now_s: float) -> list[str]:
    late = [r for r in rows if r.state != "PAUSED" and 0 < r.next_check < now_s - LATE_S]
    if not late:
        return []
    longest = span(now_s - min(row.next_check for row in late))
    why = "nobody watches" if leader is None or not leader.is_alive else "its watcher is behind"
    return [f"{len(late)} sources should have been asked up to {longest} ago: {why}"]


def _retrain_troubles(ledger: Ledger, leader: Leader | None, now_s: float) -> list[str]:
    """What is wrong with the latest retraining of each bucket; one before it is history."""
    latest = {retrain.bucket: retrain for retrain in ledger.retrains()}
    watched = leader is not None and leader.is_alive
    troubles: list[str] = []
    for one in latest.values():
        if one.state == "FAILED" and one.attempt >= MAX_ATTEMPTS:
            troubles.append(
                f"{one.retrain_id} failed in all its {one.attempt} attempts and is not tried "
                f"again: {_cause(ledger, one)}; `python -m jobs.review retry` or `discard` it"
            )
        elif one.state == "SUBMITTED":
            troubles += _silence(ledger, one, now_s)
        elif one.state in ("TRAINED", "EVALUATED"):
            since_s = _since(ledger, one)
            if now_s - since_s > LATE_S:
                why = "its watcher's log says why" if watched else "nobody watches"
                troubles.append(
                    f"{one.retrain_id} is {one.state} since {stamp(since_s)} (attempt "
                    f"{one.attempt} of {MAX_ATTEMPTS}) and does not move on: {why}"
                )
    return troubles


def _cause(ledger: Ledger, retrain: Retrain) -> str:
    """Why the latest attempt failed, as the audit log has it."""
    last = ledger.transitions(retrain.retrain_id)[-1]
    entry = next(ledger.audit(after=last.audit_seq - 1))
    return str(entry.body.get("reason") or "the job's log says why")


def _silence(ledger: Ledger, retrain: Retrain, now_s: float) -> list[str]:
    """That a job has not begun, or is not heard of any more, and for how long."""
    claim = ledger.run_claim(retrain.submission_id or "")
    name = f"the job {retrain.submission_id} of {retrain.retrain_id}"
    if claim is None:
        waits_s = now_s - _since(ledger, retrain)
        return [f"{name} has not begun for {span(waits_s)}"] if waits_s > LATE_S else []
    silent_s = now_s - claim.heartbeat
    if claim.result_uri or claim.expires > now_s or silent_s < LATE_S:
        return []
    return [f"{name} is silent for {span(silent_s)}: {claim.host} was at work on it"]


def _effect_troubles(outbox: Sequence[OutboxEntry]) -> list[str]:
    return [
        f"{entry.kind} of {entry.key} was tried {entry.tries} times in vain, and goes on: "
        f"{entry.error}"
        for entry in outbox
        if entry.error and entry.tries >= MANY_TRIES
    ]


def _frozen_troubles(ledger: Ledger) -> list[str]:
    return [
        f"{bucket} is frozen ({reason}): an admin lets it go on with `python -m jobs.review thaw "
        f"{bucket}`"
        for bucket, reason in ledger.frozen().items()
    ]


def _since(ledger: Ledger, retrain: Retrain) -> float:
    """Since when the retraining is in its state."""
    last = ledger.transitions(retrain.retrain_id)[-1]
    entry = next(ledger.audit(after=last.audit_seq - 1))
    return datetime.datetime.fromisoformat(entry.at).timestamp()


def unreadable(error: SptError) -> Mapping[str, Any]:
    """The report when the database cannot be read: who watches waits for it and goes on."""
    return {
        "troubles": [
            f"the database cannot be read: {error}; whoever watches waits for it and goes on"
        ]
    }


def span(seconds: float) -> str:
    """A duration for people."""
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
