"""The durable heart of continuous training: sources, items, retrainings, reviews, audit.

A killed, frozen or doubled watcher loses nothing and does nothing twice; README.md tells how.
"""

from spt_core.continuous.ledger.drive import Driven, JobApi, JobStatus, drive
from spt_core.continuous.ledger.ingest import Decide, Ingested
from spt_core.continuous.ledger.ledger import Ledger
from spt_core.continuous.ledger.patience import patiently
from spt_core.continuous.ledger.retrain import DEPLOY, ROLL_BACK, SUBMIT
from spt_core.continuous.ledger.transaction import Fence, Leader, fence_of
from spt_core.continuous.ledger.values import (
    TRANSITIONS,
    AuditEntry,
    AuditHead,
    Decision,
    Item,
    ItemRef,
    OutboxEntry,
    Principal,
    Retrain,
    RetrainState,
    Review,
    RunClaim,
    Source,
    SourceResult,
    SourceState,
    Transition,
    Trigger,
    Verdict,
    from_json,
)

__all__ = [
    "DEPLOY",
    "ROLL_BACK",
    "SUBMIT",
    "TRANSITIONS",
    "AuditEntry",
    "AuditHead",
    "Decide",
    "Decision",
    "Driven",
    "Fence",
    "Ingested",
    "Item",
    "ItemRef",
    "JobApi",
    "JobStatus",
    "Leader",
    "Ledger",
    "OutboxEntry",
    "Principal",
    "Retrain",
    "RetrainState",
    "Review",
    "RunClaim",
    "Source",
    "SourceResult",
    "SourceState",
    "Transition",
    "Trigger",
    "Verdict",
    "drive",
    "fence_of",
    "from_json",
    "patiently",
]
