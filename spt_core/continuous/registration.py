"""Brings the ledger to what a sources file says; each change is in the audit log."""

from __future__ import annotations

import json

from spt_core.continuous import ledger
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.ledger import Ledger
from spt_core.continuous.sources import SourcesFile

DROPPED = "it is not in the configuration any more"


def register(store: Ledger, file: SourcesFile, *, actor: str) -> None:
    """Add and change sources, pause those that the file has no more, note what is watched for."""
    rows = [source_row(source) for source in file.sources]
    store.upsert_sources(rows, actor=actor)
    ids = {row.source_id for row in rows}
    for row in store.sources():
        is_ours = row.state == "PAUSED" and row.next_reason == DROPPED
        if row.source_id not in ids and row.state != "PAUSED":
            store.pause_source(row.source_id, paused=True, reason=DROPPED, actor=actor)
        elif row.source_id in ids and is_ours:
            back = "it is in the configuration again"
            store.pause_source(row.source_id, paused=False, reason=back, actor=actor)
    watched = {monitoring.bucket: monitoring.to_json() for monitoring in file.watched}
    configurations = store.configurations()
    for bucket in {*watched, *configurations}:
        before = configurations.get(bucket, {})
        body = before
        if before.get("monitoring") != watched.get(bucket):
            body = {**before, "monitoring": watched.get(bucket)}
        if file.delivery is not None and bucket in watched:
            body = file.delivery.configured(body)
        if body != before:
            store.configured(bucket, body, actor=actor)


def industry_of(row: ledger.Source) -> str:
    """The industry of a source that is in the ledger; "" where nobody has said."""
    try:
        return str(json.loads(row.selector)["industry"])
    except (ValueError, KeyError, TypeError):
        return ""


def source_row(source: Source) -> ledger.Source:
    """The ledger's row of a source; everything but its address is the selector."""
    content = {k: v for k, v in source.to_json().items() if k not in ("id", "kind", "url", "name")}
    return ledger.Source(
        source_id=source.id,
        kind=source.kind,
        url=source.url,
        selector=json.dumps(content, sort_keys=True),
    )
